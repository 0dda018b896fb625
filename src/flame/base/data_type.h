#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace flame {

/// Element types of tensors in files and in memory, named as the safetensors format names them.
enum class DataType : std::uint8_t { kBool, kU8, kI8, kU16, kI16, kU32, kI32, kU64, kI64, kF16, kBF16, kF32, kF64 };

/// Bytes of one element.
[[nodiscard]] std::size_t size_of(DataType type);

/// The safetensors name: "F32", "BF16", "U8", ….
[[nodiscard]] std::string_view name_of(DataType type);

/// The type that a safetensors name stands for. Returns false for a name that is not one of ours.
[[nodiscard]] bool parse_data_type(std::string_view name, DataType& type);

/// bfloat16: the upper half of an IEEE binary32. Storage only: arithmetic is done in float.
struct BFloat16 {
  std::uint16_t bits = 0;

  /// Rounds to nearest, ties to even; NaN stays NaN.
  [[nodiscard]] static constexpr BFloat16 from_float(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7fffffffU) > 0x7f800000U) return {static_cast<std::uint16_t>((bits >> 16) | 0x40U)};
    return {static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16)};
  }
  [[nodiscard]] constexpr float to_float() const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
  friend constexpr bool operator==(BFloat16, BFloat16) = default;
};

/// IEEE binary16. Storage only.
struct Float16 {
  std::uint16_t bits = 0;

  /// Rounds to nearest, ties to even; overflow gives infinity; NaN stays NaN.
  [[nodiscard]] static Float16 from_float(float value);
  [[nodiscard]] float to_float() const;
  friend constexpr bool operator==(Float16, Float16) = default;
};

}  // namespace flame
