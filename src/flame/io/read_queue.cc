#include "flame/io/read_queue.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include "flame/base/checksum.h"

namespace flame::io {

namespace {

/// A storage's speed is what it has delivered last: of so much at least.
constexpr std::uint64_t kRateBytes = std::uint64_t{16} << 20;

/// Lets this thread run as soon as it wakes: the storage stands still until it asks for more, while the threads that
/// compute do not mind the few microseconds. Linux from 6.12 on lets a thread ask for short turns that come early;
/// older kernels know nothing of it, and wake sleepers early in any case.
void ask_for_short_turns() {
  struct Attributes {  // struct sched_attr, which this C library does not declare
    std::uint32_t size = sizeof(Attributes);
    std::uint32_t policy = 0;
    std::uint64_t flags = 0;
    std::int32_t nice = 0;
    std::uint32_t priority = 0;
    std::uint64_t runtime = 0;  ///< of a thread of the ordinary kind: its turn in nanoseconds
    std::uint64_t deadline = 0;
    std::uint64_t period = 0;
  } attributes;
  constexpr std::uint64_t kTurn = 100'000;
  if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0 || attributes.policy != SCHED_OTHER) {
    return;
  }
  attributes.flags = 0;
  attributes.runtime = kTurn;
  ::syscall(SYS_sched_setattr, 0, &attributes, 0);
}

}  // namespace

std::string ReadFailure::message() const {
  switch (reason) {
    case Reason::kNone:
      return "no failure";
    case Reason::kSystem:
      return fmt::format("reading at offset {} failed: {}", offset, std::strerror(error_number));
    case Reason::kEndOfFile:
      return fmt::format("the file ends before offset {}: it has been cut", offset);
    case Reason::kChecksum:
      return fmt::format("the checksum of the bytes at offset {} is wrong: the file is damaged", offset);
  }
  return "unknown failure";
}

class ReadQueue::Worker {
 public:
  Worker(std::unique_ptr<AsyncReader> reader, std::size_t entries, const ReadQueueOptions& options,
         std::shared_ptr<const void> memory)
      : memory_(std::move(memory)),
        reader_(std::move(reader)),
        options_(options),
        entries_(entries),
        chunks_(reader_->depth()) {
    assert(options.demand_chunk_bytes % options.block_bytes == 0);
    assert(options.prefetch_chunk_bytes % options.block_bytes == 0);
    assert(options.fast_prefetch_chunk_bytes % options.block_bytes == 0);
    for (std::size_t i = 0; i < chunks_.size(); ++i) idle_chunks_.push_back(i);
    completions_.resize(chunks_.size());
  }
  ~Worker() = default;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// The thread: returns after stop(), when the reader has given everything back.
  void run() {
    // The kernel's default slack of 50 us would show in every throttled or retried read.
    ::prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
    ask_for_short_turns();
    std::unique_lock lock(mutex_);
    bool called_back = false;
    while (true) {
      retry_due_chunks();
      submit_chunks();
      if (stopping_ && idle_chunks_.size() == chunks_.size()) break;
      if (stopping_ && !std::exchange(called_back, true)) call_back_chunks();
      const Clock::time_point deadline = next_deadline();
      lock.unlock();
      const std::size_t count = reader_->wait(deadline, completions_);
      for (std::size_t i = 0; i < count; ++i) complete(completions_[i], lock);
      if (!lock.owns_lock()) lock.lock();
    }
    finished_ = true;
    progress_.notify_all();
  }

  /// Cancels everything. False: at the deadline some reads had not come back.
  bool stop(Clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    for (Entry& entry : entries_) {
      if (entry.state == ReadState::kReading) cancel_locked(entry);
    }
    reader_->wake();
    return progress_.wait_until(lock, deadline, [this] { return finished_; });
  }

  void start(std::size_t index, const ReadRequest& request, ReadPriority priority) {
    {
      const std::lock_guard lock(mutex_);
      Entry& entry = entries_[index];
      assert(entry.state != ReadState::kReading);
      assert(request.bytes > 0 && request.bytes % kReadAlignment == 0 && request.offset % kReadAlignment == 0);
      entry.request = request;
      entry.priority = priority;
      entry.order = next_order_++;
      entry.asked_at = Clock::now();
      if (open_++ == 0) open_since_ = entry.asked_at;
      entry.next = 0;
      entry.in_flight = 0;
      entry.cancelled = false;
      entry.failure = {};
      entry.delivery = {};
      entry.begun = false;
      entry.alone = true;
      entry.arrived = 0;
      const std::size_t blocks =
          static_cast<std::size_t>((request.bytes + options_.block_bytes - 1) / options_.block_bytes);
      assert(request.checksums.empty() || request.checksums.size() == blocks);
      entry.block_ready.assign(blocks, 0);
      entry.ready_bytes.store(0, std::memory_order_relaxed);
      entry.state.store(ReadState::kReading, std::memory_order_release);
    }
    reader_->wake();
  }

  void promote(std::size_t index) {
    {
      const std::lock_guard lock(mutex_);
      Entry& entry = entries_[index];
      if (entry.state != ReadState::kReading || entry.priority == ReadPriority::kDemand) return;
      entry.priority = ReadPriority::kDemand;
      entry.order = next_order_++;
      for (Chunk& chunk : chunks_) {
        if (chunk.entry != index) continue;
        chunk.attempts = 0;
        chunk.retry_at = {};  // it need not wait for its turn either
      }
    }
    reader_->wake();
  }

  void set_rank(std::size_t index, std::uint64_t rank) {
    const std::lock_guard lock(mutex_);
    entries_[index].request.rank = rank;
  }

  void cancel(std::size_t index) {
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_[index];
    if (entry.state == ReadState::kReading) cancel_locked(entry);
  }

  [[nodiscard]] ReadState state(std::size_t index) const {
    return entries_[index].state.load(std::memory_order_acquire);
  }
  [[nodiscard]] std::uint64_t ready_bytes(std::size_t index) const {
    return entries_[index].ready_bytes.load(std::memory_order_acquire);
  }
  [[nodiscard]] std::uint64_t ended() const { return ended_.load(std::memory_order_acquire); }

  ReadState wait(std::size_t index, std::uint64_t bytes, Clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    Entry& entry = entries_[index];
    progress_.wait_until(lock, deadline, [&] {
      return entry.state != ReadState::kReading || entry.ready_bytes.load(std::memory_order_relaxed) >= bytes;
    });
    return entry.state;
  }

  std::uint64_t wait_for_end(std::uint64_t seen, Clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    progress_.wait_until(lock, deadline, [&] { return ended_.load(std::memory_order_relaxed) != seen; });
    return ended_.load(std::memory_order_relaxed);
  }

  [[nodiscard]] ReadFailure failure(std::size_t index) const {
    const std::lock_guard lock(mutex_);
    return entries_[index].failure;
  }
  [[nodiscard]] Delivery delivery(std::size_t index) const {
    const std::lock_guard lock(mutex_);
    return entries_[index].delivery;
  }
  [[nodiscard]] double progress(std::size_t index) const {
    const std::lock_guard lock(mutex_);
    const Entry& entry = entries_[index];
    if (entry.state == ReadState::kDone) return 1.0;
    return entry.request.bytes == 0 ? 0.0
                                    : static_cast<double>(entry.arrived) / static_cast<double>(entry.request.bytes);
  }
  [[nodiscard]] ReadQueueStatistics statistics() const {
    const std::lock_guard lock(mutex_);
    return statistics_;
  }
  [[nodiscard]] std::string describe() const { return reader_->describe(); }

 private:
  struct Entry {
    std::atomic<ReadState> state = ReadState::kIdle;
    std::atomic<std::uint64_t> ready_bytes = 0;
    ReadRequest request;
    ReadPriority priority = ReadPriority::kDemand;
    Clock::time_point asked_at;
    std::uint64_t order = 0;    ///< first come, first served within a priority
    std::uint64_t next = 0;     ///< the first byte that no chunk was made for
    std::size_t in_flight = 0;  ///< chunks
    bool cancelled = false;     ///< no further chunks
    bool begun = false;         ///< a chunk was submitted
    bool alone = true;          ///< no chunk of another entry was submitted since
    std::uint64_t arrived = 0;  ///< bytes
    ReadFailure failure;
    Delivery delivery;
    std::vector<std::uint8_t> block_ready;
  };

  struct Chunk {
    std::size_t entry = 0;
    std::uint64_t begin = 0;  ///< in the request
    std::uint64_t bytes = 0;
    std::uint64_t done = 0;  ///< bytes that short reads have brought, a multiple of kReadAlignment
    int attempts = 0;
    Clock::time_point retry_at;
    bool waiting_for_retry = false;
  };

  /// Of chunks that are not idle, when none waits to be tried again.
  void call_back_chunks() {
    for (std::size_t number = 0; number < chunks_.size(); ++number) {
      if (std::find(idle_chunks_.begin(), idle_chunks_.end(), number) == idle_chunks_.end()) reader_->cancel(number);
    }
  }

  [[nodiscard]] Clock::time_point next_deadline() const {
    Clock::time_point deadline = Clock::now() + std::chrono::seconds(1);
    for (const Chunk& chunk : chunks_) {
      if (chunk.waiting_for_retry) deadline = std::min(deadline, chunk.retry_at);
    }
    return deadline;
  }

  static std::tuple<ReadPriority, std::uint64_t, std::uint64_t> rank_of(const Entry& entry) {
    const bool demand = entry.priority == ReadPriority::kDemand;
    return {entry.priority, demand ? 0 : entry.request.rank, entry.order};
  }

  Entry* most_urgent() {
    Entry* best = nullptr;
    for (Entry& entry : entries_) {
      if (entry.state != ReadState::kReading || entry.cancelled || entry.next == entry.request.bytes) continue;
      if (entry.priority == ReadPriority::kPrefetch && prefetch_chunks_ >= options_.prefetch_depth) continue;
      if (best == nullptr || rank_of(entry) < rank_of(*best)) best = &entry;
    }
    return best;
  }

  /// By the last kRateBytes to twice as many: a storage may become slower.
  [[nodiscard]] double bytes_per_second() {
    const Delivered now{statistics_.bytes,
                        statistics_.busy_seconds + (in_flight_ > 0 ? seconds(Clock::now() - busy_since_) : 0.0)};
    if (now.bytes - rate_middle_.bytes >= kRateBytes) {
      rate_begin_ = rate_middle_;
      rate_middle_ = now;
    }
    const double busy = now.busy_seconds - rate_begin_.busy_seconds;
    return busy > 0.0 ? static_cast<double>(now.bytes - rate_begin_.bytes) / busy : 0.0;
  }

  void submit_chunks() {
    while (!idle_chunks_.empty()) {
      Entry* entry = most_urgent();
      if (entry == nullptr) return;
      const std::size_t number = idle_chunks_.back();
      idle_chunks_.pop_back();
      Chunk& chunk = chunks_[number];
      const std::uint64_t limit = entry->priority == ReadPriority::kDemand
                                      ? options_.demand_chunk_bytes
                                      : options_.prefetch_chunk_at(bytes_per_second());
      chunk = {};
      chunk.entry = static_cast<std::size_t>(entry - entries_.data());
      chunk.begin = entry->next;
      chunk.bytes = std::min(limit, entry->request.bytes - entry->next);
      entry->next += chunk.bytes;
      ++entry->in_flight;
      note_begin(*entry, chunk.entry);
      submit(number);
    }
  }

  void note_begin(Entry& entry, std::size_t index) {
    const Clock::time_point now = Clock::now();
    if (!entry.begun) {
      entry.begun = true;
      entry.delivery.begin = now;
      entry.alone = in_flight_ == 0;
    }
    if (last_entry_ != index) {
      // Whoever was under way shares the storage from here on.
      for (Entry& other : entries_) {
        if (&other != &entry && other.state == ReadState::kReading && other.begun) other.alone = entry.alone = false;
      }
      last_entry_ = index;
    }
  }

  void submit(std::size_t number) {
    const Chunk& chunk = chunks_[number];
    const Entry& entry = entries_[chunk.entry];
    if (in_flight_ == 0) busy_since_ = Clock::now();
    ++in_flight_;
    if (entry.priority == ReadPriority::kPrefetch) ++prefetch_chunks_;
    ++statistics_.chunks;
    // A promoted read's chunks that are in flight already were counted as prefetch: remember how each was counted.
    counted_as_prefetch(number) = entry.priority == ReadPriority::kPrefetch;
    const std::uint64_t at = chunk.begin + chunk.done;
    reader_->submit({number, entry.request.offset + at, static_cast<std::uint32_t>(chunk.bytes - chunk.done),
                     entry.request.destination + at});
  }

  void retry_due_chunks() {
    const Clock::time_point now = Clock::now();
    for (std::size_t number = 0; number < chunks_.size(); ++number) {
      Chunk& chunk = chunks_[number];
      if (!chunk.waiting_for_retry || (chunk.retry_at > now && !entries_[chunk.entry].cancelled)) continue;
      chunk.waiting_for_retry = false;
      if (entries_[chunk.entry].cancelled) {
        retire(number);
      } else {
        ++statistics_.retries;
        submit(number);
      }
    }
  }

  /// Called without the lock, which it takes for all but the checksums; leaves it taken.
  void complete(const ReadCompletion& completion, std::unique_lock<std::mutex>& lock) {
    const auto number = static_cast<std::size_t>(completion.tag);
    if (!lock.owns_lock()) lock.lock();
    --in_flight_;
    if (counted_as_prefetch(number) != 0) --prefetch_chunks_;
    if (in_flight_ == 0) statistics_.busy_seconds += seconds(Clock::now() - busy_since_);
    Chunk& chunk = chunks_[number];
    Entry& entry = entries_[chunk.entry];
    if (completion.result < 0) {
      failed(number, {ReadFailure::Reason::kSystem, static_cast<int>(-completion.result),
                      entry.request.offset + chunk.begin + chunk.done});
      return;
    }
    const auto delivered = static_cast<std::uint64_t>(completion.result);
    statistics_.bytes += delivered;
    entry.delivery.bytes += delivered;
    if (delivered < chunk.bytes - chunk.done) {
      // A short read: go on from its end, at the alignment that O_DIRECT needs.
      const std::uint64_t whole = delivered / kReadAlignment * kReadAlignment;
      chunk.done += whole;
      if (whole == 0) {
        failed(number,
               {ReadFailure::Reason::kEndOfFile, 0, entry.request.offset + chunk.begin + chunk.done + delivered + 1});
      } else if (entry.cancelled) {
        retire(number);
      } else {
        submit(number);
      }
      return;
    }
    const ReadRequest request = entry.request;
    const Chunk range = chunk;
    lock.unlock();
    const std::uint64_t damaged = first_damaged_block(request, range);
    lock.lock();
    if (damaged != kNoBlock) {
      chunk.done = 0;
      failed(number, {ReadFailure::Reason::kChecksum, 0, request.offset + damaged});
      return;
    }
    entry.arrived += chunk.bytes;
    mark_ready(entry, chunk);
    retire(number);
  }

  static constexpr std::uint64_t kNoBlock = ~std::uint64_t{0};

  [[nodiscard]] std::uint64_t first_damaged_block(const ReadRequest& request, const Chunk& chunk) const {
    if (request.checksums.empty()) return kNoBlock;
    for (std::uint64_t at = chunk.begin; at < chunk.begin + chunk.bytes; at += options_.block_bytes) {
      const std::uint64_t bytes = std::min<std::uint64_t>(options_.block_bytes, request.bytes - at);
      const std::span<const std::byte> block(request.destination + at, bytes);
      if (checksum_of(block) != request.checksums[at / options_.block_bytes]) return at;
    }
    return kNoBlock;
  }

  void mark_ready(Entry& entry, const Chunk& chunk) {
    for (std::uint64_t at = chunk.begin; at < chunk.begin + chunk.bytes; at += options_.block_bytes) {
      entry.block_ready[at / options_.block_bytes] = 1;
    }
    std::uint64_t ready = entry.ready_bytes.load(std::memory_order_relaxed);
    while (ready < entry.request.bytes && entry.block_ready[ready / options_.block_bytes] != 0) {
      ready = std::min(ready + options_.block_bytes, entry.request.bytes);
    }
    entry.ready_bytes.store(ready, std::memory_order_release);
    progress_.notify_all();
  }

  void failed(std::size_t number, const ReadFailure& failure) {
    Chunk& chunk = chunks_[number];
    Entry& entry = entries_[chunk.entry];
    if (!entry.cancelled && ++chunk.attempts < options_.attempts) {
      retry_later(number);
      return;
    }
    if (!entry.cancelled) entry.failure = failure;
    entry.cancelled = true;
    retire(number);
  }

  void retry_later(std::size_t number) {
    Chunk& chunk = chunks_[number];
    // A disk that is reset or a network that hiccups needs more than a moment.
    Clock::duration delay = options_.retry_delay;
    for (int attempt = 1; attempt < chunk.attempts; ++attempt) delay *= 4;
    chunk.retry_at = Clock::now() + delay;
    chunk.waiting_for_retry = true;
  }

  /// The chunk is over, in whatever way. Ends its entry when it was the last.
  void retire(std::size_t number) {
    Entry& entry = entries_[chunks_[number].entry];
    --entry.in_flight;
    idle_chunks_.push_back(number);
    if (entry.in_flight > 0) return;
    if (entry.arrived == entry.request.bytes) {
      end(entry, ReadState::kDone);
    } else if (entry.cancelled) {
      end(entry, entry.failure.reason == ReadFailure::Reason::kNone ? ReadState::kCancelled : ReadState::kFailed);
    }
  }

  void cancel_locked(Entry& entry) {
    entry.cancelled = true;
    if (entry.in_flight == 0) end(entry, ReadState::kCancelled);
  }

  void end(Entry& entry, ReadState state) {
    entry.delivery.end = Clock::now();
    statistics_.read_seconds += seconds(entry.delivery.end - entry.asked_at);
    if (--open_ == 0) statistics_.open_seconds += seconds(entry.delivery.end - open_since_);
    if (state == ReadState::kDone && entry.alone) {
      entry.delivery.seconds = seconds(entry.delivery.end - entry.delivery.begin);
    }
    entry.state.store(state, std::memory_order_release);
    ended_.fetch_add(1, std::memory_order_release);
    progress_.notify_all();
  }

  static double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }
  std::uint8_t& counted_as_prefetch(std::size_t number) { return counted_as_prefetch_[number]; }

  std::shared_ptr<const void> memory_;
  std::unique_ptr<AsyncReader> reader_;
  ReadQueueOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable progress_;
  std::vector<Entry> entries_;
  std::vector<Chunk> chunks_;
  std::vector<std::uint8_t> counted_as_prefetch_ = std::vector<std::uint8_t>(chunks_.size());
  std::vector<std::size_t> idle_chunks_;
  std::vector<ReadCompletion> completions_;
  std::size_t in_flight_ = 0;
  std::size_t prefetch_chunks_ = 0;
  std::size_t open_ = 0;  ///< reads that were started and have not ended
  Clock::time_point open_since_;
  std::size_t last_entry_ = ~std::size_t{0};
  std::uint64_t next_order_ = 0;
  std::atomic<std::uint64_t> ended_ = 0;
  Clock::time_point busy_since_;
  struct Delivered {
    std::uint64_t bytes = 0;
    double busy_seconds = 0.0;
  };
  Delivered rate_begin_;
  Delivered rate_middle_;
  ReadQueueStatistics statistics_;
  bool stopping_ = false;
  bool finished_ = false;
};

ReadQueue::ReadQueue(std::unique_ptr<AsyncReader> reader, std::size_t entries, const ReadQueueOptions& options,
                     std::shared_ptr<const void> memory)
    : worker_(std::make_shared<Worker>(std::move(reader), entries, options, std::move(memory))),
      farewell_(options.farewell),
      thread_([worker = worker_] { worker->run(); }) {}

ReadQueue::~ReadQueue() {
  if (worker_->stop(Clock::now() + farewell_)) {
    thread_.join();
  } else {
    thread_.detach();
  }
}

void ReadQueue::start(std::size_t entry, const ReadRequest& request, ReadPriority priority) {
  worker_->start(entry, request, priority);
}
void ReadQueue::promote(std::size_t entry) { worker_->promote(entry); }
void ReadQueue::set_rank(std::size_t entry, std::uint64_t rank) { worker_->set_rank(entry, rank); }
void ReadQueue::cancel(std::size_t entry) { worker_->cancel(entry); }
ReadState ReadQueue::state(std::size_t entry) const { return worker_->state(entry); }
std::uint64_t ReadQueue::ready_bytes(std::size_t entry) const { return worker_->ready_bytes(entry); }
ReadState ReadQueue::wait(std::size_t entry, std::uint64_t bytes, Clock::time_point deadline) {
  return worker_->wait(entry, bytes, deadline);
}
std::uint64_t ReadQueue::ended() const { return worker_->ended(); }
std::uint64_t ReadQueue::wait_for_end(std::uint64_t seen, Clock::time_point deadline) {
  return worker_->wait_for_end(seen, deadline);
}
ReadFailure ReadQueue::failure(std::size_t entry) const { return worker_->failure(entry); }
ReadQueue::Delivery ReadQueue::delivery(std::size_t entry) const { return worker_->delivery(entry); }
double ReadQueue::progress(std::size_t entry) const { return worker_->progress(entry); }
ReadQueueStatistics ReadQueue::statistics() const { return worker_->statistics(); }
std::string ReadQueue::describe() const { return worker_->describe(); }

}  // namespace flame::io
