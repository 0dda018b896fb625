#include "flame/base/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <utility>

#include "flame/base/byte_size.h"
#include "flame/base/utf8.h"

namespace flame {
namespace {

constexpr auto kDrawInterval = std::chrono::milliseconds(100);

std::atomic<bool> quiet = false;

std::string amount_text(ProgressUnit unit, double amount) {
  if (unit == ProgressUnit::kBytes) return format_byte_size(static_cast<std::uint64_t>(amount));
  return amount < 100.0 && amount != static_cast<double>(static_cast<std::uint64_t>(amount))
             ? fmt::format("{:.1f}", amount)
             : fmt::format("{:.0f}", amount);
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::uint64_t>(seconds + 0.5);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

std::size_t terminal_columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

}  // namespace

std::string progress_line(const std::string& label, ProgressUnit unit, std::uint64_t done, std::uint64_t total,
                          double seconds, std::size_t columns) {
  std::string line = label;
  if (total > 0) {
    const double share = static_cast<double>(std::min(done, total)) / static_cast<double>(total);
    line += fmt::format("  {:3.0f}%  {} of {}", 100.0 * share, amount_text(unit, static_cast<double>(done)),
                        amount_text(unit, static_cast<double>(total)));
  } else {
    line += fmt::format("  {}", amount_text(unit, static_cast<double>(done)));
  }
  if (done > 0 && seconds > 0.0) {
    const double rate = static_cast<double>(done) / seconds;
    line += fmt::format("  {}/s", amount_text(unit, rate));
    if (total > done) line += fmt::format("  {} left", duration_text(static_cast<double>(total - done) / rate));
  }
  if (line.size() > columns) line.resize(complete_utf8_length(std::string_view(line).substr(0, columns)));
  return line;
}

Progress::Progress(std::string label, std::uint64_t total, ProgressUnit unit)
    : label_(std::move(label)),
      total_(total),
      unit_(unit),
      visible_(!quiet && isatty(STDERR_FILENO) != 0),
      start_(Clock::now()),
      next_draw_(start_ + kDrawInterval) {}

Progress::~Progress() { finish(); }

void Progress::advance(std::uint64_t amount) {
  done_.fetch_add(amount, std::memory_order_relaxed);
  if (visible_) draw_if_due();
}

void Progress::set(std::uint64_t done) {
  done_.store(done, std::memory_order_relaxed);
  if (visible_) draw_if_due();
}

void Progress::finish() {
  if (visible_ && drawn_) std::fputs("\r\033[K", stderr);
  visible_ = false;
}

void Progress::set_quiet(bool value) { quiet = value; }

void Progress::draw_if_due() {
  const Clock::time_point now = Clock::now();
  if (now < next_draw_) return;
  next_draw_ = now + kDrawInterval;
  drawn_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  // The last column stays free: some terminals wrap as soon as it is written.
  const std::string line = progress_line(label_, unit_, done(), total_, seconds, terminal_columns() - 1);
  fmt::print(stderr, "\r{}\033[K", line);
  std::fflush(stderr);
}

}  // namespace flame
