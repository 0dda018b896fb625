#include "flame/base/duration.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "flame/base/error.h"

namespace flame {
namespace {

constexpr double kLongest = 1e6;  ///< clocks count nanoseconds in 64 bits, and nobody waits for eleven days

}  // namespace

double parse_duration(std::string_view text, std::string_view option) {
  double value = -1.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  unit.remove_prefix(std::min(unit.find_first_not_of(' '), unit.size()));
  const double scale = unit == "us" ? 1e-6 : unit == "ms" ? 1e-3 : unit == "s" ? 1.0 : 0.0;
  if (error != std::errc() || !std::isfinite(value) || value < 0.0 || scale == 0.0) {
    throw UsageError(fmt::format("{}: expected a time such as 100us, 2ms or 0.5s, found \"{}\"", option, text));
  }
  if (value * scale > kLongest) {
    throw UsageError(fmt::format("{}: {} is too long: at most {:.0f} s", option, text, kLongest));
  }
  return value * scale;
}

}  // namespace flame
