#include "flame/accel/rtl_kernel.h"

#include "flame/base/error.h"

namespace flame::accel {

std::string describe(RtlConfiguration configuration) {
  return configuration == RtlConfiguration::kLanes64 ? "64 lanes, 1 channel" : "256 lanes, 4 channels";
}

RtlShape shape_of(RtlConfiguration configuration) {
  constexpr std::size_t kWords = 425984;  // 26 MiB
  constexpr std::size_t kExperts = 16;
  if (configuration == RtlConfiguration::kLanes64) return {1, 1, kWords, 64, kExperts};
  return {4, 4, kWords / 4, 64, kExperts};
}

#ifndef FLAME_WITH_VERILATOR
std::unique_ptr<RtlKernel> make_rtl_kernel(RtlConfiguration, std::uint64_t) {
  throw DeviceError(
      "this flame was built without Verilator, so it cannot simulate the accelerator; install verilator and build "
      "again with -DFLAME_WITH_VERILATOR=ON");
}
#endif

}  // namespace flame::accel
