#pragma once

#include <memory>
#include <string>

#include "flame/accel/kernel_backend.h"

namespace flame::accel {

struct XrtOptions {
  std::string binary;   ///< .xclbin made by rtl/vitis
  unsigned device = 0;  ///< index of the card
  std::string kernel = "flame_kernel";
  double clock_mhz = 300.0;     ///< of the link; cycle counts are read with it (assumption until xbutil says otherwise)
  unsigned timeout_ms = 60000;  ///< of one run
};

/// flame_kernel on a card, through XRT. Throws DeviceError when flame was built without XRT, there is no such card, or
/// the binary does not load. It has been compiled against XRT 2022.1, and has not met a card.
std::unique_ptr<KernelBackend> make_xrt_backend(const XrtOptions& options);

}  // namespace flame::accel
