#include "flame/kernels/vector_ops.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numbers>
#include <utility>

#include "flame/base/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "flame/kernels/vector_ops.cc"  // this file once for each instruction set
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// after highway.h
#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

const hn::ScalableTag<float> kFloats;
using Floats = hn::Vec<decltype(kFloats)>;

// The `count` values from `position` on in the first lanes, `filler` in the others.
HWY_INLINE Floats load_tail(const float* position, std::size_t count, float filler) {
  HWY_ALIGN float tail[HWY_MAX_BYTES / sizeof(float)];
  std::fill(std::begin(tail), std::end(tail), filler);
  std::copy_n(position, count, tail);
  return hn::Load(kFloats, tail);
}

// Calls step(vector) for all of `values`, with `filler` in the last vector's unused lanes.
template <typename Step>
HWY_INLINE void for_each_vector(std::span<const float> values, float filler, Step&& step) {
  const std::size_t lanes = hn::Lanes(kFloats);
  std::size_t i = 0;
  for (; i + lanes <= values.size(); i += lanes) step(hn::LoadU(kFloats, values.data() + i));
  if (i < values.size()) step(load_tail(values.data() + i, values.size() - i, filler));
}

}  // namespace

float dot(std::span<const float> a, std::span<const float> b) {
  const std::size_t lanes = hn::Lanes(kFloats);
  Floats sum0 = hn::Zero(kFloats);
  Floats sum1 = sum0;
  std::size_t i = 0;
  for (; i + 2 * lanes <= a.size(); i += 2 * lanes) {
    sum0 = hn::MulAdd(hn::LoadU(kFloats, a.data() + i), hn::LoadU(kFloats, b.data() + i), sum0);
    sum1 = hn::MulAdd(hn::LoadU(kFloats, a.data() + i + lanes), hn::LoadU(kFloats, b.data() + i + lanes), sum1);
  }
  for (; i < a.size(); i += lanes) {
    const std::size_t count = std::min(lanes, a.size() - i);
    sum0 = hn::MulAdd(load_tail(a.data() + i, count, 0.0F), load_tail(b.data() + i, count, 0.0F), sum0);
  }
  return hn::GetLane(hn::SumOfLanes(kFloats, hn::Add(sum0, sum1)));
}

void rms_norm_row(std::span<const float> input, std::span<const float> weight, float epsilon, std::span<float> output) {
  const float mean = dot(input, input) / static_cast<float>(input.size());
  const float factor = 1.0F / std::sqrt(mean + epsilon);
  for (std::size_t i = 0; i < input.size(); ++i) output[i] = weight[i] * (input[i] * factor);
}

float max_abs(std::span<const float> values) {
  Floats largest = hn::Zero(kFloats);
  for_each_vector(values, 0.0F, [&](Floats v) HWY_ATTR { largest = hn::Max(largest, hn::Abs(v)); });
  return hn::GetLane(hn::MaxOfLanes(kFloats, largest));
}

// The largest value that is a number, minus infinity when there is none.
float max_number(std::span<const float> values) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  Floats largest = hn::Set(kFloats, kNone);
  for_each_vector(values, kNone, [&](Floats v) HWY_ATTR { largest = hn::IfThenElse(hn::Gt(v, largest), v, largest); });
  return hn::GetLane(hn::MaxOfLanes(kFloats, largest));
}

void softmax(std::span<float> values) {
  if (values.empty()) return;
  const Floats largest = hn::Set(kFloats, max_number(values));
  const std::size_t lanes = hn::Lanes(kFloats);
  Floats sums = hn::Zero(kFloats);
  std::size_t i = 0;
  for (; i + lanes <= values.size(); i += lanes) {
    const Floats e = hn::Exp(kFloats, hn::Sub(hn::LoadU(kFloats, values.data() + i), largest));
    sums = hn::Add(sums, e);
    hn::StoreU(e, kFloats, values.data() + i);
  }
  if (i < values.size()) {
    HWY_ALIGN float tail[HWY_MAX_BYTES / sizeof(float)];
    hn::Store(hn::Exp(kFloats, hn::Sub(load_tail(values.data() + i, values.size() - i, 0.0F), largest)), kFloats, tail);
    std::fill(tail + (values.size() - i), std::end(tail), 0.0F);
    sums = hn::Add(sums, hn::Load(kFloats, tail));
    std::copy_n(tail, values.size() - i, values.data() + i);
  }
  const float factor = 1.0F / hn::GetLane(hn::SumOfLanes(kFloats, sums));
  for (float& value : values) value *= factor;
}

void round_to_bf16(std::span<const float> values, std::span<BFloat16> output) {
  std::size_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::RebindToUnsigned<decltype(kFloats)> d32;
  const hn::RebindToSigned<decltype(kFloats)> signed32;
  const hn::Rebind<std::uint16_t, decltype(kFloats)> d16;
  const std::size_t lanes = hn::Lanes(kFloats);
  for (; i + lanes <= values.size(); i += lanes) {
    const Floats v = hn::LoadU(kFloats, values.data() + i);
    const auto bits = hn::BitCast(d32, v);
    const auto upper = hn::ShiftRight<16>(bits);
    const auto odd = hn::And(upper, hn::Set(d32, 1U));
    const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(d32, 0x7fffU))));
    const auto quiet = hn::Or(upper, hn::Set(d32, 0x40U));
    const auto narrow = hn::IfThenElse(hn::RebindMask(d32, hn::IsNaN(v)), quiet, rounded);
    hn::StoreU(hn::DemoteTo(d16, hn::BitCast(signed32, narrow)), d16,
               reinterpret_cast<std::uint16_t*>(output.data() + i));
  }
#endif
  for (; i < values.size(); ++i) output[i] = BFloat16::from_float(values[i]);
}

}  // namespace flame::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace flame::kernels {
namespace {

HWY_EXPORT(dot);
HWY_EXPORT(rms_norm_row);
HWY_EXPORT(max_abs);
HWY_EXPORT(max_number);
HWY_EXPORT(softmax);
HWY_EXPORT(round_to_bf16);

constexpr std::array<std::pair<std::string_view, Activation>, 6> kActivations = {
    {{"relu", Activation::kRelu},
     {"gelu", Activation::kGelu},
     {"gelu_new", Activation::kGeluNew},
     {"silu", Activation::kSilu},
     {"gelu_pytorch_tanh", Activation::kGeluNew},
     {"swish", Activation::kSilu}}};

float gelu(float x) { return 0.5F * x * (1.0F + std::erf(x * static_cast<float>(1.0 / std::numbers::sqrt2))); }

float gelu_new(float x) {
  constexpr float kFactor = 0.797884560802865356F;  // sqrt(2 / pi)
  return 0.5F * x * (1.0F + std::tanh(kFactor * (x + 0.044715F * x * x * x)));
}

float silu(float x) { return x / (1.0F + std::exp(-x)); }

// Rows of a norm worth handing to another thread.
constexpr std::size_t kNormGrain = 16;

}  // namespace

bool parse_activation(std::string_view name, Activation& activation) {
  for (const auto& [known, value] : kActivations) {
    if (known == name) {
      activation = value;
      return true;
    }
  }
  return false;
}

std::string_view name_of(Activation activation) {
  for (const auto& [name, value] : kActivations) {
    if (value == activation) return name;
  }
  return "";
}

void activate(Activation activation, std::span<float> values) {
  switch (activation) {
    case Activation::kRelu:
      for (float& value : values) value = value < 0.0F ? 0.0F : value;
      return;
    case Activation::kGelu:
      return static_cast<void>(std::ranges::transform(values, values.begin(), gelu));
    case Activation::kGeluNew:
      return static_cast<void>(std::ranges::transform(values, values.begin(), gelu_new));
    case Activation::kSilu:
      return static_cast<void>(std::ranges::transform(values, values.begin(), silu));
  }
}

void rms_norm(MatrixView<const float> input, std::span<const float> weight, float epsilon, MatrixView<float> output) {
  assert(weight.size() == input.columns() && output.columns() == input.columns() && output.rows() == input.rows());
  const auto norm_row = HWY_DYNAMIC_DISPATCH(rms_norm_row);
  ThreadPool::parallel_for(input.rows(), kNormGrain, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) norm_row(input.row(t), weight, epsilon, output.row(t));
  });
}

void softmax(std::span<float> values) { HWY_DYNAMIC_DISPATCH(softmax)(values); }

void add(std::span<const float> addend, std::span<float> accumulator) {
  assert(addend.size() == accumulator.size());
  for (std::size_t i = 0; i < addend.size(); ++i) accumulator[i] += addend[i];
}

void add_scaled(float factor, std::span<const float> addend, std::span<float> accumulator) {
  assert(addend.size() == accumulator.size());
  for (std::size_t i = 0; i < addend.size(); ++i) accumulator[i] += factor * addend[i];
}

void scale(float factor, std::span<float> values) {
  for (float& value : values) value *= factor;
}

void multiply(std::span<const float> factors, std::span<float> values) {
  assert(factors.size() == values.size());
  for (std::size_t i = 0; i < factors.size(); ++i) values[i] *= factors[i];
}

float dot(std::span<const float> a, std::span<const float> b) {
  assert(a.size() == b.size());
  return HWY_DYNAMIC_DISPATCH(dot)(a, b);
}

float max_abs(std::span<const float> values) { return HWY_DYNAMIC_DISPATCH(max_abs)(values); }

void store(std::span<const float> values, DataType type, std::byte* output) {
  assert(type == DataType::kF32 || type == DataType::kBF16);
  if (type == DataType::kBF16) return round_to_bf16(values, {reinterpret_cast<BFloat16*>(output), values.size()});
  std::memcpy(output, values.data(), values.size_bytes());
}

void round_to_bf16(std::span<const float> values, std::span<BFloat16> output) {
  assert(values.size() == output.size());
  HWY_DYNAMIC_DISPATCH(round_to_bf16)(values, output);
}

std::size_t argmax(std::span<const float> values) {
  assert(!values.empty());
  const float largest = HWY_DYNAMIC_DISPATCH(max_number)(values);
  const auto found = std::ranges::find(values, largest);
  return found == values.end() ? 0 : static_cast<std::size_t>(found - values.begin());
}

}  // namespace flame::kernels
#endif  // HWY_ONCE
