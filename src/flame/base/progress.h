#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace flame {

enum class ProgressUnit : std::uint8_t { kItems, kBytes };

/// The text of a progress line: label, percentage, amount, rate and time left. `total` 0 means that it is unknown.
/// At most `columns` characters; for example "packing  42%  1.1 GiB of 2.5 GiB  310.2 MiB/s  5 s left".
[[nodiscard]] std::string progress_line(const std::string& label, ProgressUnit unit, std::uint64_t done,
                                        std::uint64_t total, double seconds, std::size_t columns);

/// A progress line on stderr for work that takes long. It is drawn only when stderr is a terminal and set_quiet(true)
/// has not been called, at most ten times a second, and is wiped when the object goes, so that it never mixes with
/// results. One thread creates, finishes and destroys it; advance() and set() may come from any one thread at a time.
class Progress {
 public:
  Progress(std::string label, std::uint64_t total, ProgressUnit unit = ProgressUnit::kItems);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(std::uint64_t amount = 1);
  void set(std::uint64_t done);
  /// Wipes the line. Nothing is drawn afterwards.
  void finish();

  [[nodiscard]] std::uint64_t done() const { return done_.load(std::memory_order_relaxed); }

  /// For the whole process: -q. Called by the command line before any work begins.
  static void set_quiet(bool quiet);

 private:
  using Clock = std::chrono::steady_clock;
  void draw_if_due();

  std::string label_;
  std::uint64_t total_;
  ProgressUnit unit_;
  bool visible_;
  bool drawn_ = false;
  std::atomic<std::uint64_t> done_ = 0;
  Clock::time_point start_;
  Clock::time_point next_draw_;
};

}  // namespace flame
