#include "flame/base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace flame {
namespace {

// One word says everything a worker must know: how many workers are inside the current job, whether the job may still
// be entered, and which job it is. A worker enters by counting itself in while the job is open, so the caller never
// waits for a worker that the system has not woken in time. The job's number may wrap: a worker that misses a job is
// not missed.
constexpr std::uint32_t kActiveMask = 0xffU;
constexpr std::uint32_t kOpen = 0x100U;
constexpr std::uint32_t kJobStep = 0x200U;
constexpr std::uint32_t kJobMask = ~(kJobStep - 1U);
constexpr std::size_t kMaxThreads = kActiveMask;

// Every thread begins with a share of the work that is its own, the same in every call: it reads memory in one long
// run, and finds again in its caches what it left there. It takes its share from the front, in about so many ranges; a
// thread that is done takes half of what another has left, from the back.
constexpr std::size_t kRangesOfShare = 8;

// About fifty microseconds: longer than the serial code between two kernels, deciding what to load included, and far
// shorter than the sleep and the wake-up that it spares.
constexpr int kSpins = 1500;
constexpr int kSpinsPerYield = 50;

thread_local bool inside_parallel_for = false;

void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns when `word` is no longer `old`: first looks again and again, then sleeps.
void wait_for_change(const std::atomic<std::uint32_t>& word, std::uint32_t old) {
  for (int spin = 1; spin <= kSpins; ++spin) {
    if (word.load(std::memory_order_acquire) != old) return;
    pause_briefly();
    if (spin % kSpinsPerYield == 0) sched_yield();
  }
  word.wait(old, std::memory_order_acquire);
}

std::size_t usable_processors() {
  cpu_set_t processors;
  if (sched_getaffinity(0, sizeof(processors), &processors) == 0) {
    return static_cast<std::size_t>(std::max(1, CPU_COUNT(&processors)));
  }
  return std::max(1U, std::thread::hardware_concurrency());
}

// What is left of a thread's share, in grains: [begin, end), in one word.
class alignas(64) Share {
 public:
  static constexpr std::size_t kMost = std::size_t{1} << 31;

  // Before the job is open.
  void assign(std::size_t begin, std::size_t end) {
    rest_.store(packed(begin, end), std::memory_order_relaxed);
    range_ = (end - begin - 1) / kRangesOfShare + 1;
  }

  // The owner's next range; false when nothing is left.
  bool take_front(std::size_t& begin, std::size_t& end) {
    return take([this](std::size_t left) { return std::min(range_, left); }, true, begin, end);
  }

  // Half of what is left, for another thread.
  bool take_back(std::size_t& begin, std::size_t& end) {
    return take([](std::size_t left) { return (left + 1) / 2; }, false, begin, end);
  }

 private:
  static std::uint64_t packed(std::size_t begin, std::size_t end) { return std::uint64_t{begin} << 32 | end; }

  template <typename Size>
  bool take(Size size, bool front, std::size_t& begin, std::size_t& end) {
    std::uint64_t rest = rest_.load(std::memory_order_relaxed);
    while (true) {
      begin = static_cast<std::size_t>(rest >> 32);
      end = static_cast<std::size_t>(rest & 0xffffffffU);
      if (begin >= end) return false;
      const std::size_t taken = size(end - begin);
      const std::size_t cut = front ? begin + taken : end - taken;
      const std::uint64_t left = front ? packed(cut, end) : packed(begin, cut);
      if (!rest_.compare_exchange_weak(rest, left, std::memory_order_relaxed)) continue;
      (front ? end : begin) = cut;
      return true;
    }
  }

  std::atomic<std::uint64_t> rest_{0};
  std::size_t range_ = 1;
};

class Pool {
 public:
  explicit Pool(std::size_t threads) : shares_(threads) {
    workers_.reserve(threads - 1);
    for (std::size_t i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  }

  ~Pool() {
    stop_.store(true, std::memory_order_relaxed);
    state_.fetch_add(kJobStep, std::memory_order_release);
    state_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  [[nodiscard]] std::size_t threads() const { return workers_.size() + 1; }

  void run(std::size_t count, std::size_t grain, const ThreadPool::Body& body) {
    grain *= (count - 1) / grain / Share::kMost + 1;
    const std::size_t grains = (count - 1) / grain + 1;
    body_ = &body;
    count_ = count;
    grain_ = grain;
    for (std::size_t i = 0; i < threads(); ++i) {
      shares_[i].assign(i * grains / threads(), (i + 1) * grains / threads());
    }
    failed_.store(false, std::memory_order_relaxed);
    const std::uint32_t job = (state_.load(std::memory_order_relaxed) & kJobMask) + kJobStep;
    state_.store(job | kOpen, std::memory_order_release);
    state_.notify_all();

    inside_parallel_for = true;
    take_ranges(0);
    inside_parallel_for = false;

    std::uint32_t state = state_.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
    while ((state & kActiveMask) != 0) {
      wait_for_change(state_, state);
      state = state_.load(std::memory_order_acquire);
    }
    if (failed_.load(std::memory_order_relaxed)) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  void work(std::size_t thread) {
    inside_parallel_for = true;
    std::uint32_t seen = 0;
    while (true) {
      std::uint32_t state = state_.load(std::memory_order_acquire);
      if (stop_.load(std::memory_order_relaxed)) return;
      if ((state & kJobMask) == seen || (state & kOpen) == 0) {
        wait_for_change(state_, state);
        continue;
      }
      if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) continue;
      seen = state & kJobMask;
      take_ranges(thread);
      const std::uint32_t before = state_.fetch_sub(1, std::memory_order_acq_rel);
      if ((before & kOpen) == 0 && (before & kActiveMask) == 1) state_.notify_all();
    }
  }

  void take_ranges(std::size_t thread) {
    std::size_t begin = 0;
    std::size_t end = 0;
    while (shares_[thread].take_front(begin, end) && run_range(begin, end)) {
    }
    for (std::size_t i = 1; i < threads(); ++i) {
      Share& other = shares_[(thread + i) % threads()];
      while (other.take_back(begin, end) && run_range(begin, end)) {
      }
    }
  }

  // False when the job has failed: what has not begun is left undone.
  bool run_range(std::size_t begin, std::size_t end) {
    if (failed_.load(std::memory_order_relaxed)) return false;
    try {
      (*body_)(begin * grain_, std::min(end * grain_, count_));
    } catch (...) {
      if (!failed_.exchange(true, std::memory_order_relaxed)) failure_ = std::current_exception();
      return false;
    }
    return true;
  }

  alignas(64) std::atomic<std::uint32_t> state_{0};
  std::atomic<bool> failed_{false};
  std::atomic<bool> stop_{false};
  // The job: written while no worker is inside, published by the store to state_.
  const ThreadPool::Body* body_ = nullptr;
  std::size_t count_ = 0;
  std::size_t grain_ = 0;
  std::vector<Share> shares_;   // one a thread, the caller's first
  std::exception_ptr failure_;  // written by the one thread that set failed_, read after all have left
  std::vector<std::thread> workers_;
};

struct Global {
  std::mutex calls;  // held for the length of a call: one job at a time
  std::unique_ptr<Pool> pool;
  std::atomic<std::size_t> threads{usable_processors()};
};

Global& global() {
  static Global instance;
  return instance;
}

}  // namespace

void ThreadPool::set_threads(std::size_t threads) {
  Global& state = global();
  const std::lock_guard lock(state.calls);
  const std::size_t wanted = std::min(threads == 0 ? usable_processors() : threads, kMaxThreads);
  if (wanted == state.threads.load(std::memory_order_relaxed)) return;
  state.pool.reset();
  state.threads.store(wanted, std::memory_order_relaxed);
}

std::size_t ThreadPool::threads() { return global().threads.load(std::memory_order_relaxed); }

void ThreadPool::parallel_for(std::size_t count, std::size_t grain, Body body) {
  if (count == 0) return;
  grain = std::max<std::size_t>(grain, 1);
  Global& state = global();
  if (inside_parallel_for || count <= grain || state.threads.load(std::memory_order_relaxed) == 1) {
    body(0, count);
    return;
  }
  const std::lock_guard lock(state.calls);
  if (state.pool == nullptr) {
    state.pool = std::make_unique<Pool>(state.threads.load(std::memory_order_relaxed));
  }
  state.pool->run(count, grain, body);
}

}  // namespace flame
