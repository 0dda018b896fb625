#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "flame/accel/axi_memory.h"
#include "flame/accel/kernel_backend.h"
#include "flame/accel/rtl_kernel.h"

namespace flame::accel {

struct SimulatedCardOptions {
  RtlConfiguration configuration = RtlConfiguration::kLanes64;
  /// Memory of each channel: DDR4, or a plain pipe where set.
  Ddr4Parameters ddr4;
  std::optional<FixedBandwidthParameters> fixed_bandwidth;
  std::uint64_t host_latency_cycles = 30;
  StallRates stalls;                                ///< on every port
  std::uint64_t seed = 0;                           ///< of stalls and of registers before reset
  std::string trace_path;                           ///< a waveform from the first cycle on, where not empty
  std::shared_ptr<AxiObserver> observer = nullptr;  ///< of every port; may be null
  std::uint64_t cycle_limit = 2'000'000'000;        ///< of one run
};

/// A card made of the RTL under Verilator and modelled memory: a DDR4 bank for each weight port, and for the host port
/// an on-chip memory of its own, as the U200's PLRAM is (one beat a cycle, `host_latency_cycles`: an assumption).
class SimulatedCard final : public KernelBackend {
 public:
  explicit SimulatedCard(const SimulatedCardOptions& options);

  std::uint64_t allocate(std::size_t bytes, std::size_t port) override;
  void upload(std::uint64_t address, std::span<const std::uint8_t> bytes) override;
  void download(std::uint64_t address, std::span<std::uint8_t> bytes) override;
  void write_register(std::uint32_t offset, std::uint32_t value) override;
  std::uint32_t read_register(std::uint32_t offset) override;
  void run() override;
  void let_pass(std::uint64_t cycles) override;
  void finish() override;
  [[nodiscard]] double clock_mhz() const override { return options_.ddr4.kernel_clock_mhz; }
  [[nodiscard]] std::string describe() const override;

  [[nodiscard]] std::uint64_t cycles() const { return cycle_; }
  [[nodiscard]] bool interrupt() const { return outputs_.interrupt; }
  [[nodiscard]] AxiPort& port(std::size_t number) { return *ports_[number]; }

 private:
  void step();
  MemoryBank& bank_of(std::uint64_t address, std::uint64_t& offset);

  SimulatedCardOptions options_;
  std::unique_ptr<RtlKernel> kernel_;
  std::vector<std::unique_ptr<MemoryBank>> banks_;
  std::array<std::unique_ptr<AxiPort>, kPorts> ports_;
  RtlKernel::Inputs inputs_;
  RtlKernel::Outputs outputs_;
  std::uint64_t cycle_ = 0;
};

}  // namespace flame::accel
