#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "flame/accel/accelerator_device.h"
#include "flame/accel/rtl_kernel.h"
#include "flame/engine/engine.h"

namespace CLI {
class App;
}

namespace flame::cli {

/// Where the MoE layers run: --device and what belongs to the accelerator. `cpu` leaves everything to the engine.
struct DeviceOptions {
  std::string device = "cpu";
  std::string lanes = "64";                 ///< of the simulated array: 64 (one memory channel) or 256 (four)
  std::uint64_t dense_cycles = 0;           ///< modelled time between MoE layers
  std::size_t prefetches = 2;               ///< ranked experts loaded ahead
  std::string waveform;                     ///< FST file
  std::uint64_t waveform_start = 0;         ///< its first cycle
  std::uint64_t waveform_cycles = 200'000;  ///< its length
  std::string binary;                       ///< .xclbin of --device fpga
};

void add_device_options(CLI::App& command, DeviceOptions& options);
/// Throws UsageError for options that have no effect with the device chosen.
void check_device_options(const CLI::App& command, const DeviceOptions& options);
/// What --lanes names.
[[nodiscard]] accel::RtlConfiguration configuration_of(const std::string& lanes);
[[nodiscard]] bool on_accelerator(const DeviceOptions& options);
/// The factory for EngineOptions::make_device. `bundle` is the model at `path`, null where that is none; of `buffer`
/// the slots and the predictor count.
[[nodiscard]] engine::DeviceFactory accelerator_factory(const std::string& path,
                                                        std::shared_ptr<const experts::Bundle> bundle,
                                                        const DeviceOptions& options,
                                                        const experts::BufferOptions& buffer);
/// The engine's device, where that is an accelerator; else null.
[[nodiscard]] const accel::AcceleratorDevice* accelerator_of(const engine::Engine& engine);

}  // namespace flame::cli
