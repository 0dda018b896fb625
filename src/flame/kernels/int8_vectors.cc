#include "flame/kernels/int8_vectors.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "flame/kernels/vector_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "flame/kernels/int8_vectors.cc"  // this file once for each instruction set
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// All functions here work on whole vectors and return how many elements they did; the caller does the rest plainly.

// codes[i] = x[i] * inverse, rounded half to even.
std::size_t round_codes(std::span<const float> x, float inverse, std::int8_t* codes) {
  const hn::ScalableTag<float> df;
  const hn::RebindToSigned<decltype(df)> d32;
  const hn::Rebind<std::int8_t, decltype(df)> d8;
  const auto factor = hn::Set(df, inverse);
  const auto limit = hn::Set(df, 127.0F);
  std::size_t i = 0;
  for (; i + hn::Lanes(df) <= x.size(); i += hn::Lanes(df)) {
    const auto rounded = hn::Round(hn::Mul(hn::LoadU(df, x.data() + i), factor));
    const auto clamped = hn::Min(hn::Max(rounded, hn::Neg(limit)), limit);
    hn::StoreU(hn::DemoteTo(d8, hn::ConvertTo(d32, clamped)), d8, codes + i);
  }
  return i;
}

std::size_t round_multipliers(std::span<const float> scales, double unit, std::uint16_t* multipliers) {
  const hn::ScalableTag<double> df64;
  const hn::Rebind<float, decltype(df64)> df;
  const hn::Rebind<std::int32_t, decltype(df64)> d32;
  const hn::Rebind<std::uint16_t, decltype(df64)> d16;
  const auto divisor = hn::Set(df64, unit);
  const auto factor = hn::Set(df64, static_cast<double>(kUnitMultiplier));
  std::size_t i = 0;
  for (; i + hn::Lanes(df64) <= scales.size(); i += hn::Lanes(df64)) {
    const auto ratio = hn::Div(hn::PromoteTo(df64, hn::LoadU(df, scales.data() + i)), divisor);
    const auto rounded = hn::DemoteTo(d32, hn::Round(hn::Mul(ratio, factor)));
    hn::StoreU(hn::DemoteTo(d16, rounded), d16, multipliers + i);
  }
  return i;
}

std::size_t scale_hidden(std::span<const std::int32_t> sums, const std::uint16_t* multipliers, std::uint32_t* hidden,
                         std::uint32_t* largest) {
#if HWY_TARGET == HWY_SCALAR
  static_cast<void>(sums), static_cast<void>(multipliers), static_cast<void>(hidden), static_cast<void>(largest);
  return 0;
#else
  const hn::ScalableTag<std::int32_t> d32;
  const hn::RebindToUnsigned<decltype(d32)> du32;
  const hn::RepartitionToWide<decltype(du32)> du64;
  const hn::Rebind<std::uint16_t, decltype(d32)> d16;
  const auto half = hn::Set(du64, std::uint64_t{kUnitMultiplier >> 1});
  auto maximum = hn::Zero(du32);
  std::size_t i = 0;
  for (; i + hn::Lanes(d32) <= sums.size(); i += hn::Lanes(d32)) {
    const auto positive = hn::BitCast(du32, hn::Max(hn::LoadU(d32, sums.data() + i), hn::Zero(d32)));
    const auto multiplier = hn::PromoteTo(du32, hn::LoadU(d16, multipliers + i));
    // Products of 64 bits, the even lanes' and the odd lanes'; each result fits its 32 bits again.
    const auto odd_positive = hn::BitCast(du32, hn::ShiftRight<32>(hn::BitCast(du64, positive)));
    const auto odd_multiplier = hn::BitCast(du32, hn::ShiftRight<32>(hn::BitCast(du64, multiplier)));
    const auto even = hn::ShiftRight<15>(hn::Add(hn::MulEven(positive, multiplier), half));
    const auto odd = hn::ShiftRight<15>(hn::Add(hn::MulEven(odd_positive, odd_multiplier), half));
    const auto both = hn::BitCast(du32, hn::Or(even, hn::ShiftLeft<32>(odd)));
    maximum = hn::Max(maximum, both);
    hn::StoreU(both, du32, hidden + i);
  }
  *largest = hn::GetLane(hn::MaxOfLanes(du32, maximum));
  return i;
#endif
}

// A normalised value is below 2^16, so is the reciprocal, and their product with the rounding is below 2^32.
std::size_t requantise_hidden(std::span<const std::uint32_t> hidden, int bits, std::uint32_t reciprocal,
                              std::int8_t* codes) {
  const hn::ScalableTag<std::uint32_t> du32;
  const hn::RebindToSigned<decltype(du32)> d32;
  const hn::Rebind<std::int8_t, decltype(d32)> d8;
  const auto factor = hn::Set(du32, reciprocal);
  const auto half = hn::Set(du32, std::uint32_t{1} << 23);
  std::size_t i = 0;
  for (; i + hn::Lanes(du32) <= hidden.size(); i += hn::Lanes(du32)) {
    const auto value = hn::LoadU(du32, hidden.data() + i);
    const auto normalised = bits >= 16 ? hn::ShiftRightSame(value, bits - 16) : hn::ShiftLeftSame(value, 16 - bits);
    const auto code = hn::ShiftRight<24>(hn::Add(hn::Mul(normalised, factor), half));
    hn::StoreU(hn::DemoteTo(d8, hn::BitCast(d32, code)), d8, codes + i);
  }
  return i;
}

}  // namespace flame::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace flame::kernels {
namespace {

HWY_EXPORT(round_codes);
HWY_EXPORT(round_multipliers);
HWY_EXPORT(scale_hidden);
HWY_EXPORT(requantise_hidden);

}  // namespace

float quantise_symmetric_fast(std::span<const float> x, std::span<std::int8_t> codes) {
  assert(codes.size() == x.size());
  const float largest = max_abs(x);
  const float inverse = static_cast<float>(kInt8Limit) / largest;
  if (largest == 0.0F || !std::isfinite(inverse)) return quantise_symmetric(x, codes);
  const std::size_t done = HWY_DYNAMIC_DISPATCH(round_codes)(x, inverse, codes.data());
  for (std::size_t i = done; i < x.size(); ++i) {
    codes[i] = static_cast<std::int8_t>(std::clamp(std::nearbyint(x[i] * inverse), -127.0F, 127.0F));
  }
  return largest / static_cast<float>(kInt8Limit);
}

float row_multipliers(std::span<const float> row_scales, std::span<std::uint16_t> multipliers) {
  assert(multipliers.size() == row_scales.size());
  const float unit = max_abs(row_scales);
  if (unit == 0.0F) {
    std::ranges::fill(multipliers, std::uint16_t{0});
    return unit;
  }
  const std::size_t done = HWY_DYNAMIC_DISPATCH(round_multipliers)(row_scales, unit, multipliers.data());
  for (std::size_t r = done; r < row_scales.size(); ++r) {
    const double ratio = static_cast<double>(row_scales[r]) / static_cast<double>(unit);
    multipliers[r] = static_cast<std::uint16_t>(std::nearbyint(ratio * kUnitMultiplier));
  }
  return unit;
}

std::uint32_t hidden_values(std::span<const std::int32_t> sums, std::span<const std::uint16_t> multipliers,
                            std::span<std::uint32_t> hidden) {
  assert(multipliers.size() == sums.size() && hidden.size() == sums.size());
  std::uint32_t largest = 0;
  const std::size_t done = HWY_DYNAMIC_DISPATCH(scale_hidden)(sums, multipliers.data(), hidden.data(), &largest);
  for (std::size_t r = done; r < sums.size(); ++r) {
    hidden[r] = hidden_value(sums[r], multipliers[r]);
    largest = std::max(largest, hidden[r]);
  }
  return largest;
}

void requantise_all(std::span<const std::uint32_t> hidden, HiddenScale scale, std::span<std::int8_t> codes) {
  assert(codes.size() == hidden.size());
  if (scale.bits == 0) return static_cast<void>(std::ranges::fill(codes, std::int8_t{0}));
  const std::size_t done = HWY_DYNAMIC_DISPATCH(requantise_hidden)(hidden, scale.bits, scale.reciprocal, codes.data());
  for (std::size_t r = done; r < hidden.size(); ++r) codes[r] = requantise(hidden[r], scale);
}

}  // namespace flame::kernels
#endif  // HWY_ONCE
