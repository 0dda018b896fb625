#include "flame/accel/rtl_kernel.h"

#include "flame/base/error.h"

namespace flame::accel {

std::string describe(RtlConfiguration configuration) {
  switch (configuration) {
    case RtlConfiguration::kLanes16:
      return "16 lanes, 1 channel of 128 bits";
    case RtlConfiguration::kLanes64:
      return "64 lanes, 1 channel";
    case RtlConfiguration::kLanes256:
      break;
  }
  return "256 lanes, 4 channels";
}

#ifndef FLAME_WITH_VERILATOR
std::unique_ptr<RtlKernel> make_rtl_kernel(RtlConfiguration, std::uint64_t) {
  throw DeviceError(
      "this flame was built without Verilator, so it cannot simulate the accelerator; install verilator and build "
      "again with -DFLAME_WITH_VERILATOR=ON");
}
#endif

}  // namespace flame::accel
