#include "flame/base/data_type.h"

#include <array>
#include <cassert>

namespace flame {
namespace {

struct Entry {
  DataType type;
  std::string_view name;
  std::size_t size;
};

constexpr std::array<Entry, 13> kTypes = {{{DataType::kBool, "BOOL", 1},
                                           {DataType::kU8, "U8", 1},
                                           {DataType::kI8, "I8", 1},
                                           {DataType::kU16, "U16", 2},
                                           {DataType::kI16, "I16", 2},
                                           {DataType::kU32, "U32", 4},
                                           {DataType::kI32, "I32", 4},
                                           {DataType::kU64, "U64", 8},
                                           {DataType::kI64, "I64", 8},
                                           {DataType::kF16, "F16", 2},
                                           {DataType::kBF16, "BF16", 2},
                                           {DataType::kF32, "F32", 4},
                                           {DataType::kF64, "F64", 8}}};

const Entry& entry_of(DataType type) {
  const Entry& entry = kTypes[static_cast<std::size_t>(type)];
  assert(entry.type == type);
  return entry;
}

}  // namespace

std::size_t size_of(DataType type) { return entry_of(type).size; }

std::string_view name_of(DataType type) { return entry_of(type).name; }

bool parse_data_type(std::string_view name, DataType& type) {
  for (const Entry& entry : kTypes) {
    if (entry.name == name) {
      type = entry.type;
      return true;
    }
  }
  return false;
}

Float16 Float16::from_float(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return {static_cast<std::uint16_t>(sign | 0x7e00U)};
  if (magnitude >= 0x477ff000U) return {static_cast<std::uint16_t>(sign | 0x7c00U)};  // rounds past 65504
  if (magnitude < 0x38800000U) {
    // Subnormal half: adding 0.5 puts the wanted bits, rounded to even, at the end of the float's mantissa.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return {static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000U))};
  }
  const std::uint32_t rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U) - 0x38000000U;
  return {static_cast<std::uint16_t>(sign | (rounded >> 13))};
}

float Float16::to_float() const {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fU;
  const std::uint32_t mantissa = bits & 0x3ffU;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
}

}  // namespace flame
