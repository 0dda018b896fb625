// Loads of stored weights as vectors of float, for kernel sources: included once for each instruction set.
#if defined(FLAME_KERNELS_WIDEN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLAME_KERNELS_WIDEN_INL_H_
#undef FLAME_KERNELS_WIDEN_INL_H_
#else
#define FLAME_KERNELS_WIDEN_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "flame/base/data_type.h"

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {
namespace {

// One vector of weights from `position`, which needs no alignment.
#if HWY_TARGET == HWY_SCALAR

template <class DF, typename Element>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<DF> load_widened(DF df, const Element* position) {
  Element element;
  std::memcpy(&element, position, sizeof(element));  // Highway's plain code would read through the pointer
  if constexpr (std::is_same_v<Element, float>) {
    return hwy::HWY_NAMESPACE::Set(df, element);
  } else {
    return hwy::HWY_NAMESPACE::Set(df, element.to_float());
  }
}

#else

template <class DF>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<DF> load_widened(DF df, const float* position) {
  return hwy::HWY_NAMESPACE::LoadU(df, position);
}

template <class DF>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<DF> load_widened(DF df, const BFloat16* position) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToUnsigned<DF> d32;
  const hn::Rebind<std::uint16_t, DF> d16;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const std::uint16_t*>(position));
  return hn::BitCast(df, hn::ShiftLeft<16>(hn::PromoteTo(d32, bits)));
}

template <class DF>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<DF> load_widened(DF df, const Float16* position) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Rebind<hwy::float16_t, DF> d16;
  return hn::PromoteTo(df, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(position)));
}

#endif  // SCALAR

}  // namespace
}  // namespace flame::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
