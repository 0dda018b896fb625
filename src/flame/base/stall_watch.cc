#include "flame/base/stall_watch.h"

#include <chrono>
#include <ctime>
#include <utility>

namespace flame {
namespace {

constexpr double kLooks = 20.0;  ///< in the time allowed
/// A process that uses more of a processor than this computes; threads that wait for one another spin for a moment.
constexpr double kComputing = 0.1;

double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

StallWatch::StallWatch(double seconds, std::function<void()> on_stall)
    : on_stall_(std::move(on_stall)), thread_([this, seconds] { run(seconds); }) {}

StallWatch::~StallWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  thread_.join();
}

void StallWatch::run(double seconds) {
  const std::chrono::duration<double> look(seconds / kLooks);
  std::uint64_t last_step = 0;
  double last_processor = processor_seconds();
  int stood_still = 0;
  std::unique_lock lock(mutex_);
  while (!stop_.wait_for(lock, look, [this] { return stopping_; })) {
    const std::uint64_t step = step_.load(std::memory_order_relaxed);
    const double processor = processor_seconds();
    const bool working = step % 2 == 1;
    if (!working || step != last_step) {
      stood_still = 0;
    } else if (processor - last_processor < kComputing * look.count() && ++stood_still >= static_cast<int>(kLooks)) {
      on_stall_();
      return;
    }
    last_step = step;
    last_processor = processor;
  }
}

}  // namespace flame
