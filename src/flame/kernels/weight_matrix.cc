#include "flame/kernels/weight_matrix.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "flame/kernels/weight_matrix.cc"  // this file once for each instruction set
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "flame/kernels/widen-inl.h"

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {
namespace {

template <typename Element>
void widen_elements(const std::byte* data, std::span<float> output) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<float> df;
  const std::size_t lanes = hn::Lanes(df);
  const auto* elements = reinterpret_cast<const Element*>(data);
  std::size_t i = 0;
  for (; i + lanes <= output.size(); i += lanes) hn::StoreU(load_widened(df, elements + i), df, output.data() + i);
  if (i == output.size()) return;
  HWY_ALIGN Element tail[HWY_MAX_BYTES / sizeof(float)] = {};
  HWY_ALIGN float widened[HWY_MAX_BYTES / sizeof(float)];
  std::copy_n(elements + i, output.size() - i, tail);
  hn::Store(load_widened(df, tail), df, widened);
  std::copy_n(widened, output.size() - i, output.data() + i);
}

}  // namespace

void widen_any(DataType type, const std::byte* data, std::span<float> output) {
  switch (type) {
    case DataType::kBF16:
      return widen_elements<BFloat16>(data, output);
    case DataType::kF16:
      return widen_elements<Float16>(data, output);
    default:
      return widen_elements<float>(data, output);
  }
}

}  // namespace flame::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace flame::kernels {
namespace {

HWY_EXPORT(widen_any);

template <typename Element>
Element element_at(const WeightMatrix& weight, std::size_t index) {
  Element element;
  std::memcpy(&element, weight.data + index * sizeof(Element), sizeof(Element));
  return element;
}

}  // namespace

float weight_at(const WeightMatrix& weight, std::size_t row, std::size_t column) {
  assert(row < weight.rows && column < weight.columns);
  const std::size_t index = row * weight.columns + column;
  switch (weight.type) {
    case DataType::kBF16:
      return element_at<BFloat16>(weight, index).to_float();
    case DataType::kF16:
      return element_at<Float16>(weight, index).to_float();
    default:
      return element_at<float>(weight, index);
  }
}

void widen_row(const WeightMatrix& weight, std::size_t row, std::span<float> output) {
  widen(weight.rows_from(row, 1), output);
}

void widen(const WeightMatrix& weight, std::span<float> output) {
  assert(output.size() == weight.rows * weight.columns);
  assert(weight.type == DataType::kF32 || weight.type == DataType::kBF16 || weight.type == DataType::kF16);
  HWY_DYNAMIC_DISPATCH(widen_any)(weight.type, weight.data, output);
}

}  // namespace flame::kernels
#endif  // HWY_ONCE
