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
  std::uint64_t weight_bank_bytes = std::uint64_t{16} << 30;  ///< of each weight port: a DDR4 bank of the U200
  std::uint64_t host_bank_bytes = std::uint64_t{2}
                                  << 20;            ///< of the host port: a PLRAM as rtl/vitis/plram.tcl makes it
  StallRates stalls;                                ///< on every port
  std::uint64_t seed = 0;                           ///< of stalls and of registers before reset
  std::string trace_path;                           ///< a waveform, where not empty
  std::uint64_t trace_start = 0;                    ///< its first cycle; 0: the reset is there too
  std::uint64_t trace_cycles = 200'000;             ///< its length, some hundreds of bytes a cycle
  std::shared_ptr<AxiObserver> observer = nullptr;  ///< of every port; may be null
  std::uint64_t cycle_limit = 2'000'000'000;        ///< of one run
};

/// A card made of the RTL under Verilator and modelled memory: a DDR4 bank for each weight port, and for the host port
/// an on-chip memory of its own, as the U200's PLRAM is (one beat a cycle, `host_latency_cycles`: an assumption).
class SimulatedCard final : public KernelBackend {
 public:
  explicit SimulatedCard(const SimulatedCardOptions& options);

  std::uint64_t allocate(std::size_t bytes, std::size_t port) override;
  void release(std::uint64_t address) override;
  void upload(std::uint64_t address, std::span<const std::uint8_t> bytes) override;
  void download(std::uint64_t address, std::span<std::uint8_t> bytes) override;
  void write_register(std::uint32_t offset, std::uint32_t value) override;
  std::uint32_t read_register(std::uint32_t offset) override;
  void run() override;
  void let_pass(std::uint64_t cycles) override;
  std::string finish() override;
  [[nodiscard]] double clock_mhz() const override { return options_.ddr4.kernel_clock_mhz; }
  [[nodiscard]] std::string describe() const override;

  [[nodiscard]] std::uint64_t cycles() const { return cycle_; }
  [[nodiscard]] bool interrupt() const { return outputs_.interrupt; }
  [[nodiscard]] AxiPort& port(std::size_t number) { return *ports_[number]; }

 private:
  void step();
  void start_or_end_trace();
  MemoryBank& bank_of(std::uint64_t address, std::uint64_t& offset);

  SimulatedCardOptions options_;
  std::unique_ptr<RtlKernel> kernel_;
  std::vector<std::unique_ptr<MemoryBank>> banks_;
  std::array<std::unique_ptr<AxiPort>, kPorts> ports_;
  RtlKernel::Inputs inputs_;
  RtlKernel::Outputs outputs_;
  std::uint64_t cycle_ = 0;
  std::uint64_t trace_change_;  ///< the cycle in which the waveform starts, or ends; ~0 where neither is to come
};

}  // namespace flame::accel
