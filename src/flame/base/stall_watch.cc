#include "flame/base/stall_watch.h"

#include <sys/resource.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

namespace flame {
namespace {

constexpr int kLooks = 20;  ///< in the time allowed
/// A process that uses more of a processor than this computes; threads that wait for one another spin for a moment.
constexpr double kComputing = 0.1;

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

/// Some thread sleeps as only those do that wait for a device ("D" in proc(5)).
bool waits_for_device() {
  std::error_code gone;  // threads may end meanwhile
  for (std::filesystem::directory_iterator task("/proc/self/task", gone), end; !gone && task != end;
       task.increment(gone)) {
    std::ifstream file(task->path() / "stat");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const std::size_t name_end = text.rfind(')');  // the name before it may hold anything
    if (name_end != std::string::npos && text.compare(name_end, 3, ") D") == 0) return true;
  }
  return false;
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
  double last_processor = 0.0;
  long last_faults = 0;
  int stood_still = 0;
  std::unique_lock lock(mutex_);
  while (!stop_.wait_for(lock, look, [this] { return stopping_; })) {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const double processor = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
    const bool computes = processor - last_processor > kComputing * look.count();
    const bool goes_on = computes || usage.ru_majflt != last_faults || !waits_for_device();
    stood_still = goes_on ? 0 : stood_still + 1;
    if (stood_still == kLooks) {
      on_stall_();
      return;
    }
    last_processor = processor;
    last_faults = usage.ru_majflt;
  }
}

}  // namespace flame
