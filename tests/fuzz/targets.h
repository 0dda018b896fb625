#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace flame::fuzz {

/// Everything that reads bytes from outside, as a function of those bytes. A target returns for good input and for
/// input refused by a flame::Error; anything else (another exception, a sanitizer's report) is a bug.
struct Target {
  std::string_view name;  ///< of its corpus: tests/fuzz/corpus/<name>
  void (*run)(std::span<const std::byte> input);
};

[[nodiscard]] std::span<const Target> targets();

}  // namespace flame::fuzz
