#include "flame/base/byte_size.h"

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "flame/base/error.h"

namespace flame {
namespace {

struct Suffix {
  std::string_view name;  // lower case
  double factor;
};

constexpr std::array<Suffix, 18> kSuffixes = {{{"", 1},
                                               {"b", 1},
                                               {"k", 0x1p10},
                                               {"ki", 0x1p10},
                                               {"kib", 0x1p10},
                                               {"kb", 1e3},
                                               {"m", 0x1p20},
                                               {"mi", 0x1p20},
                                               {"mib", 0x1p20},
                                               {"mb", 1e6},
                                               {"g", 0x1p30},
                                               {"gi", 0x1p30},
                                               {"gib", 0x1p30},
                                               {"gb", 1e9},
                                               {"t", 0x1p40},
                                               {"ti", 0x1p40},
                                               {"tib", 0x1p40},
                                               {"tb", 1e12}}};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

}  // namespace

std::uint64_t parse_byte_size(std::string_view text, std::string_view option) {
  const auto refuse = [&](std::string_view why) {
    throw UsageError(fmt::format("{}: \"{}\" {}; write for example 4096, 16MiB, 500MB or 2GiB", option, text, why));
  };
  const std::string_view whole = trimmed(text);
  const char* const end = whole.data() + whole.size();
  std::string_view suffix_text;
  std::uint64_t integer = 0;
  double number = 0.0;
  // Whole numbers keep all their digits; only a fraction goes through floating point.
  const auto as_integer = std::from_chars(whole.data(), end, integer);
  if (as_integer.ec == std::errc() && (as_integer.ptr == end || *as_integer.ptr != '.')) {
    number = static_cast<double>(integer);
    suffix_text = std::string_view(as_integer.ptr, static_cast<std::size_t>(end - as_integer.ptr));
  } else {
    if (!whole.empty() && whole.front() == '-') refuse("is negative");
    const auto as_number = std::from_chars(whole.data(), end, number, std::chars_format::fixed);
    if (as_number.ec != std::errc() || !std::isfinite(number)) refuse("is not a size");
    suffix_text = std::string_view(as_number.ptr, static_cast<std::size_t>(end - as_number.ptr));
    integer = 0;
  }
  std::string suffix(trimmed(suffix_text));
  for (char& c : suffix) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const Suffix& candidate : kSuffixes) {
    if (candidate.name != suffix) continue;
    const double bytes = number * candidate.factor;
    if (!(bytes < 0x1p63)) refuse("is too large");
    if (integer != 0) return integer * static_cast<std::uint64_t>(candidate.factor);
    return static_cast<std::uint64_t>(bytes);
  }
  refuse(fmt::format("ends in an unknown unit \"{}\"", trimmed(suffix_text)));
  return 0;
}

double parse_bandwidth(std::string_view text, std::string_view option) {
  std::string_view size = text;
  if (size.ends_with("/s")) size.remove_suffix(2);
  const std::uint64_t bytes = parse_byte_size(size, option);
  if (bytes == 0) throw UsageError(fmt::format("{}: expected more than 0 bytes a second, found \"{}\"", option, text));
  return static_cast<double>(bytes);
}

std::uint64_t parse_byte_budget(std::string_view text, std::uint64_t whole, std::string_view option) {
  if (!text.ends_with('%')) {
    const std::uint64_t bytes = parse_byte_size(text, option);
    if (bytes == 0) throw UsageError(fmt::format("{}: expected more than 0 bytes, found \"{}\"", option, text));
    return bytes;
  }
  const char* const end = text.data() + text.size() - 1;
  double percent = 0.0;
  const auto read = std::from_chars(text.data(), end, percent, std::chars_format::fixed);
  if (read.ec != std::errc() || read.ptr != end || !(percent > 0.0 && percent <= 100.0)) {
    throw UsageError(
        fmt::format("{}: \"{}\" is neither a share from above 0% to 100% nor a size; write for example "
                    "25% or 64MiB",
                    option, text));
  }
  return static_cast<std::uint64_t>(percent / 100.0 * static_cast<double>(whole) + 0.5);
}

std::string format_byte_size(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 5> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double amount = static_cast<double>(bytes) / 1024.0;
  std::size_t unit = 0;
  while (amount >= 1023.95 && unit + 1 < kUnits.size()) {  // 1023.95 would be printed as 1024.0
    amount /= 1024.0;
    ++unit;
  }
  return amount < 10.0 ? fmt::format("{:.2f} {}", amount, kUnits[unit])
                       : fmt::format("{:.1f} {}", amount, kUnits[unit]);
}

}  // namespace flame
