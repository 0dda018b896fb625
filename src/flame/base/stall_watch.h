#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace flame {

/// Bounds waits that cannot be called back: page faults on a disk that is dead. A thread looks whether some thread of
/// the process waits for a device while nothing is computed and no page comes. Time in which the process is stopped or
/// the machine sleeps does not count, nor what a process waits for that can be interrupted.
class StallWatch {
 public:
  /// `on_stall` is called once at most, from the watch's thread, when that has lasted for `seconds`.
  StallWatch(double seconds, std::function<void()> on_stall);
  ~StallWatch();
  StallWatch(const StallWatch&) = delete;
  StallWatch& operator=(const StallWatch&) = delete;

 private:
  void run(double seconds);

  std::function<void()> on_stall_;
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace flame
