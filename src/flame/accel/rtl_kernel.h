#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace flame::accel {

using Beat =
    std::array<std::uint32_t, 16>;  ///< little endian; of a narrower port the first KernelLimits::axi_bytes count

/// What the kernel drives on one AXI4 port; sizes, burst types and IDs are constants of the kernel.
struct AxiMasterSignals {
  bool ar_valid = false, r_ready = false, aw_valid = false, w_valid = false, w_last = false, b_ready = false;
  std::uint8_t ar_length = 0, aw_length = 0;  ///< beats - 1
  std::uint64_t ar_address = 0, aw_address = 0;
  const Beat* w_data = nullptr;  ///< valid while w_valid, until the next cycle()
};

/// What the memory drives on one AXI4 port.
struct AxiSlaveSignals {
  bool ar_ready = false, r_valid = false, r_last = false, aw_ready = false, w_ready = false, b_valid = false;
  std::uint8_t r_response = 0, b_response = 0;
  Beat r_data{};
};

/// AXI4-Lite, host side.
struct LiteMasterSignals {
  bool aw_valid = false, w_valid = false, b_ready = false, ar_valid = false, r_ready = false;
  std::uint16_t aw_address = 0, ar_address = 0;
  std::uint32_t w_data = 0;
};
struct LiteSlaveSignals {
  bool aw_ready = false, w_ready = false, b_valid = false, ar_ready = false, r_valid = false;
  std::uint32_t r_data = 0;
};

inline constexpr std::size_t kWeightPorts = 4;
inline constexpr std::size_t kHostPort = 4;
inline constexpr std::size_t kPorts = 5;

/// The pins of flame_kernel, cycle by cycle. Every output is a function of registers only, so an environment may answer
/// in the same cycle.
class RtlKernel {
 public:
  virtual ~RtlKernel() = default;

  /// Sets the inputs of this cycle and takes the clock edge; the outputs of the next cycle are then in `outputs`.
  struct Inputs {
    bool reset_n = true;
    LiteMasterSignals control;
    std::array<AxiSlaveSignals, kPorts> memory;
  };
  struct Outputs {
    bool interrupt = false;
    LiteSlaveSignals control;
    std::array<AxiMasterSignals, kPorts> memory;
  };
  virtual void cycle(const Inputs& inputs, Outputs& outputs) = 0;

  /// Writes a waveform of every signal from here on, until end_trace() or the kernel's end. Throws FileError where the
  /// file cannot be opened; later failures show in the file only (check_waveform).
  virtual void trace(const std::string& path) = 0;
  /// Closes the waveform; nothing where there is none.
  virtual void end_trace() = 0;
};

/// The synthesis configurations that were built for simulation.
enum class RtlConfiguration : std::uint8_t {
  kLanes16,   ///< 16 rows x 1 position, one memory channel of 128 bits: what fits an ECP5, for small models
  kLanes64,   ///< 64 rows x 1 position, one memory channel
  kLanes256,  ///< 64 rows x 4 positions, four memory channels: sized for the U200
};

/// Names of the RTL configurations ("64 lanes, 1 channel").
std::string describe(RtlConfiguration configuration);

/// The RTL under Verilator. Throws DeviceError when FLAME was built without Verilator.
std::unique_ptr<RtlKernel> make_rtl_kernel(RtlConfiguration configuration, std::uint64_t seed = 0);

}  // namespace flame::accel
