#include "flame/device_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "flame/accel/accelerator_device.h"
#include "flame/accel/simulated_card.h"
#include "flame/accel/xrt_backend.h"
#include "flame/base/error.h"
#include "flame/experts/bundle.h"
#include "flame/experts/predictor_choice.h"
#include "flame/options.h"

namespace flame::cli {

namespace {
const char* const kGroup = "Accelerator";
}

void add_device_options(CLI::App& command, DeviceOptions& options) {
  command
      .add_option("--device", options.device,
                  "Where the MoE layers run: cpu, fpga-sim (RTL under Verilator) or fpga (XRT)")
      ->check(CLI::IsMember({"cpu", "fpga-sim", "fpga"}))
      ->capture_default_str()
      ->group(kGroup);
  command
      .add_option("--lanes", options.lanes,
                  "fpga-sim: multipliers of the array, 64 (one DDR4 channel) or 256 (four), or 16 (one channel of 128 "
                  "bits: the kernel that fits an ECP5, for small models)")
      ->check(CLI::IsMember({"16", "64", "256"}))
      ->capture_default_str()
      ->group(kGroup);
  command
      .add_option("--dense-cycles", options.dense_cycles,
                  "fpga-sim: kernel cycles that the dense layers between two MoE layers are taken to last")
      ->check(CLI::Range(std::uint64_t{0}, std::uint64_t{1'000'000'000}))
      ->capture_default_str()
      ->group(kGroup);
  command.add_option("--prefetches", options.prefetches, "fpga-sim, fpga: ranked experts that are loaded ahead")
      ->check(CLI::Range(0, 4))
      ->capture_default_str()
      ->group(kGroup);
  command.add_option("--vcd", options.waveform, "fpga-sim: write a waveform of every signal (FST, for GTKWave)")
      ->group(kGroup);
  command.add_option("--vcd-start", options.waveform_start, "fpga-sim: first cycle of the waveform")
      ->capture_default_str()
      ->group(kGroup);
  command
      .add_option("--vcd-cycles", options.waveform_cycles,
                  "fpga-sim: cycles that the waveform lasts, some hundreds of bytes each")
      ->check(above_zero())
      ->capture_default_str()
      ->group(kGroup);
  command.add_option("--xclbin", options.binary, "fpga: the kernel's binary")->group(kGroup);
}

accel::RtlConfiguration configuration_of(const std::string& lanes) {
  if (lanes == "16") return accel::RtlConfiguration::kLanes16;
  return lanes == "64" ? accel::RtlConfiguration::kLanes64 : accel::RtlConfiguration::kLanes256;
}

bool on_accelerator(const DeviceOptions& options) { return options.device != "cpu"; }

void check_device_options(const CLI::App& command, const DeviceOptions& options) {
  const auto only = [&](const char* flag, bool allowed) {
    if (command.count(flag) > 0 && !allowed) {
      throw UsageError(fmt::format("{} has no effect with --device {}", flag, options.device));
    }
  };
  const bool simulated = options.device == "fpga-sim";
  only("--lanes", simulated);
  only("--dense-cycles", simulated);
  only("--vcd", simulated);
  if (command.count("--vcd") > 0 && options.waveform.empty()) throw UsageError("--vcd: expected the name of a file");
  for (const char* flag : {"--vcd-start", "--vcd-cycles"}) {
    if (command.count(flag) > 0 && options.waveform.empty()) {
      throw UsageError(fmt::format("{} has no effect without --vcd FILE", flag));
    }
  }
  only("--prefetches", on_accelerator(options));
  only("--xclbin", options.device == "fpga");
  for (const char* flag : {"--replacement", "--storage", "--storage-bandwidth", "--storage-latency",
                           "--storage-timeout", "--mapped", "--no-prefetch", "--no-verify"}) {
    only(flag, !on_accelerator(options));
  }
  only("--timeline", options.device != "fpga");
  if (options.device == "fpga" && options.binary.empty()) throw UsageError("--device fpga needs --xclbin FILE");
}

engine::DeviceFactory accelerator_factory(const std::string& path, std::shared_ptr<const experts::Bundle> bundle,
                                          const DeviceOptions& options, const experts::BufferOptions& buffer) {
  if (bundle == nullptr) {
    throw UsageError(fmt::format("{}: --device {} runs bundles; make one with `flame pack {} --dtype int8 -o BUNDLE`",
                                 path, options.device, path));
  }
  if (buffer.predictor != "auto" && buffer.predictor != "cepr" && buffer.predictor != "none") {
    throw UsageError(fmt::format("the accelerator predicts with cepr (or none), not {}", buffer.predictor));
  }
  return [=](const model::SwitchConfig& config, const model::DenseWeights& dense) -> std::unique_ptr<model::MoeDevice> {
    std::optional<routing::Profile> profile;
    if (buffer.predictor != "none" && bundle->has_profile()) profile = bundle->profile();
    std::unique_ptr<accel::KernelBackend> backend;
    accel::AcceleratorOptions accelerator;
    if (options.device == "fpga-sim") {
      accel::SimulatedCardOptions card;
      card.configuration = configuration_of(options.lanes);
      card.trace_path = options.waveform;
      card.trace_start = options.waveform_start;
      card.trace_cycles = options.waveform_cycles;
      if (!buffer.timeline.empty()) {
        accelerator.timeline = std::make_shared<accel::CardTimeline>(buffer.timeline, card.ddr4.kernel_clock_mhz);
        card.observer = accelerator.timeline;
      }
      backend = std::make_unique<accel::SimulatedCard>(card);
    } else {
      backend = accel::make_xrt_backend({.binary = options.binary});
    }
    accelerator.budget_bytes = buffer.budget_bytes;
    accelerator.slots = buffer.slots;
    if (profile) accelerator.order = experts::context_of(buffer.context, *profile);
    accelerator.prefetch_count = options.prefetches;
    accelerator.dense_cycles = options.dense_cycles;
    return std::make_unique<accel::AcceleratorDevice>(config, dense, *bundle, profile ? &*profile : nullptr,
                                                      std::move(backend), accelerator);
  };
}

const accel::AcceleratorDevice* accelerator_of(const engine::Engine& engine) {
  return dynamic_cast<const accel::AcceleratorDevice*>(&engine.device());
}

}  // namespace flame::cli
