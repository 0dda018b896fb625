#pragma once

#include <cstdint>

namespace flame {

/// The lowest `bits` bits of `value`, all of them for 64 or more.
[[nodiscard]] constexpr std::uint64_t low_bits(std::uint64_t value, std::uint32_t bits) {
  return bits >= 64 ? value : value & ((std::uint64_t{1} << bits) - 1);
}

}  // namespace flame
