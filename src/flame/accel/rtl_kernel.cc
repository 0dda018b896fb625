#include "flame/accel/rtl_kernel.h"

#include "flame/base/error.h"

namespace flame::accel {

std::string describe(RtlConfiguration configuration) {
  return configuration == RtlConfiguration::kLanes64 ? "64 lanes, 1 channel" : "256 lanes, 4 channels";
}

#ifndef FLAME_WITH_VERILATOR
std::unique_ptr<RtlKernel> make_rtl_kernel(RtlConfiguration, std::uint64_t) {
  throw DeviceError(
      "this flame was built without Verilator, so it cannot simulate the accelerator; install verilator and build "
      "again with -DFLAME_WITH_VERILATOR=ON");
}
#endif

}  // namespace flame::accel
