#include "flame/kernels/packed_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "flame/kernels/packed_kernels.cc"  // this file once for each instruction set
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "flame/kernels/packed_avx512-inl.h"
#include "flame/kernels/packed_avx512_int4-inl.h"
#include "flame/kernels/packed_float-inl.h"
#include "flame/kernels/packed_generic-inl.h"
#include "flame/kernels/packed_int8-inl.h"

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {

// The kernel written for the format, or null.
BlockKernel fast_kernel(const PackedFormat& format) {
  switch (format.type) {
    case PackedType::kF32:
      return float_kernel<float>(format);
    case PackedType::kBF16:
      return float_kernel<BFloat16>(format);
    case PackedType::kInt8:
#if HWY_TARGET == HWY_AVX3_DL
      return vnni_int8_kernel(format);
#else
      return int8_kernel(format);
#endif
    case PackedType::kInt4:
#if HWY_TARGET == HWY_AVX3_DL
      return vnni_int4_kernel(format);
#else
      return int4_kernel(format);
#endif
  }
  return nullptr;
}

BlockKernel any_kernel(const PackedFormat& format) {
  const BlockKernel fast = fast_kernel(format);
  return fast != nullptr ? fast : generic_kernel(format.type);
}

}  // namespace flame::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace flame::kernels {
namespace {

HWY_EXPORT(fast_kernel);
HWY_EXPORT(any_kernel);

}  // namespace

BlockKernel choose_block_kernel(const PackedFormat& format) { return HWY_DYNAMIC_DISPATCH(any_kernel)(format); }

bool has_fast_block_kernel(const PackedFormat& format) { return HWY_DYNAMIC_DISPATCH(fast_kernel)(format) != nullptr; }

}  // namespace flame::kernels
#endif  // HWY_ONCE
