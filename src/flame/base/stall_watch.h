#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

namespace flame {

/// Bounds waits that cannot be called back, such as page faults on a dead disk: a thread looks whether work that was
/// begun goes on for too long while the process computes nothing. Time in which the process computes, is stopped or the
/// machine sleeps does not count.
class StallWatch {
 public:
  /// `on_stall` is called once at most, from the watch's thread, when work has stood still for `seconds`.
  StallWatch(double seconds, std::function<void()> on_stall);
  ~StallWatch();
  StallWatch(const StallWatch&) = delete;
  StallWatch& operator=(const StallWatch&) = delete;

  /// By one thread, in turns. Costs one atomic store.
  void begin() { step_.fetch_add(1, std::memory_order_relaxed); }
  void end() { step_.fetch_add(1, std::memory_order_relaxed); }

 private:
  void run(double seconds);

  std::atomic<std::uint64_t> step_ = 0;  ///< odd: work is under way
  std::function<void()> on_stall_;
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace flame
