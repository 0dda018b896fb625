#include "flame/accel/simulated_card.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "flame/accel/kernel_limits.h"
#include "flame/accel/registers.h"
#include "flame/accel/waveform_file.h"
#include "flame/base/error.h"
#include "flame/base/interrupt.h"

namespace flame::accel {

namespace {
// Like the U200's banks: 16 GiB each, one behind the other.
constexpr unsigned kBankShift = 34;
constexpr std::uint64_t kRegisterTimeout = 1000;
constexpr std::uint64_t kNever = ~std::uint64_t{0};
constexpr std::uint64_t kInterruptCycles = 1 << 14;  // some hundredths of a second
}  // namespace

SimulatedCard::SimulatedCard(const SimulatedCardOptions& options)
    : options_(options),
      kernel_(make_rtl_kernel(options.configuration, options.seed)),
      trace_change_(options.trace_path.empty() ? kNever : options.trace_start) {
  if (!options_.trace_path.empty()) prepare_waveform(options_.trace_path);
  if (trace_change_ == 0) start_or_end_trace();
  for (std::size_t bank = 0; bank < kWeightPorts; ++bank) {
    std::unique_ptr<MemoryTiming> timing;
    if (options_.fixed_bandwidth) {
      timing = make_fixed_bandwidth_timing(*options_.fixed_bandwidth);
    } else {
      timing = std::make_unique<Ddr4Timing>(options_.ddr4);
    }
    banks_.push_back(std::make_unique<MemoryBank>(std::move(timing), options_.weight_bank_bytes));
  }
  banks_.push_back(std::make_unique<MemoryBank>(
      make_fixed_bandwidth_timing({.bytes_per_cycle = 64.0, .latency_cycles = options.host_latency_cycles}),
      options_.host_bank_bytes));
  for (std::size_t port = 0; port < kPorts; ++port) {
    ports_[port] = std::make_unique<AxiPort>(port, *banks_[port], std::uint64_t{port} << kBankShift,
                                             limits_of(options_.configuration).axi_bytes);
    ports_[port]->set_stalls(options_.stalls, options_.seed * kPorts + port + 1);
    ports_[port]->set_observer(options_.observer.get());
  }
  inputs_.reset_n = false;
  for (int i = 0; i < 8; ++i) kernel_->cycle(inputs_, outputs_);
  inputs_.reset_n = true;
  // The expert buffer clears its map after reset.
  for (int i = 0; i < 300; ++i) step();
}

void SimulatedCard::start_or_end_trace() {
  if (trace_change_ == options_.trace_start) {
    kernel_->trace(options_.trace_path);
    trace_change_ += std::min(options_.trace_cycles, kNever - trace_change_);
  } else {
    kernel_->end_trace();
    trace_change_ = kNever;
  }
}

void SimulatedCard::step() {
  if (cycle_ == trace_change_) start_or_end_trace();
  if (cycle_ % kInterruptCycles == 0) throw_if_interrupted();
  for (std::size_t port = 0; port < kPorts; ++port) {
    const AxiMasterSignals& kernel = outputs_.memory[port];
    // An idle port has nothing to say and is told nothing.
    if (kernel.ar_valid || kernel.aw_valid || kernel.w_valid || ports_[port]->busy() || inputs_.memory[port].r_valid ||
        inputs_.memory[port].b_valid) {
      ports_[port]->respond(kernel, cycle_, inputs_.memory[port]);
    }
  }
  kernel_->cycle(inputs_, outputs_);
  ++cycle_;
}

MemoryBank& SimulatedCard::bank_of(std::uint64_t address, std::uint64_t& offset) {
  const std::uint64_t bank = address >> kBankShift;
  offset = address & ((std::uint64_t{1} << kBankShift) - 1);
  if (bank >= banks_.size()) throw DeviceError(fmt::format("device address {:#x} is in no bank", address));
  return *banks_[bank];
}

std::uint64_t SimulatedCard::allocate(std::size_t bytes, std::size_t port) {
  return (std::uint64_t{port} << kBankShift) + banks_[port]->allocate(bytes);
}

void SimulatedCard::release(std::uint64_t address) {
  std::uint64_t offset = 0;
  bank_of(address, offset).release(offset);
}

void SimulatedCard::upload(std::uint64_t address, std::span<const std::uint8_t> bytes) {
  std::uint64_t offset = 0;
  MemoryBank& bank = bank_of(address, offset);
  if (offset > bank.size() || bank.size() - offset < bytes.size()) throw DeviceError("upload past the end of a bank");
  std::memcpy(bank.bytes().data() + offset, bytes.data(), bytes.size());
}

void SimulatedCard::download(std::uint64_t address, std::span<std::uint8_t> bytes) {
  std::uint64_t offset = 0;
  MemoryBank& bank = bank_of(address, offset);
  if (offset > bank.size() || bank.size() - offset < bytes.size()) throw DeviceError("download past the end of a bank");
  std::memcpy(bytes.data(), bank.bytes().data() + offset, bytes.size());
}

void SimulatedCard::write_register(std::uint32_t offset, std::uint32_t value) {
  LiteMasterSignals& control = inputs_.control;
  control.aw_valid = true;
  control.aw_address = static_cast<std::uint16_t>(offset);
  control.w_valid = true;
  control.w_data = value;
  control.b_ready = true;
  for (std::uint64_t i = 0; i < kRegisterTimeout; ++i) {
    const bool address_taken = control.aw_valid && outputs_.control.aw_ready;
    const bool data_taken = control.w_valid && outputs_.control.w_ready;
    const bool answered = outputs_.control.b_valid;
    step();
    if (address_taken) control.aw_valid = false;
    if (data_taken) control.w_valid = false;
    if (answered) {
      control.b_ready = false;
      return;
    }
  }
  throw DeviceError(fmt::format("the kernel did not take a write of register {:#x}", offset));
}

std::uint32_t SimulatedCard::read_register(std::uint32_t offset) {
  LiteMasterSignals& control = inputs_.control;
  control.ar_valid = true;
  control.ar_address = static_cast<std::uint16_t>(offset);
  control.r_ready = true;
  for (std::uint64_t i = 0; i < kRegisterTimeout; ++i) {
    const bool address_taken = control.ar_valid && outputs_.control.ar_ready;
    const bool answered = outputs_.control.r_valid;
    const std::uint32_t value = outputs_.control.r_data;
    step();
    if (address_taken) control.ar_valid = false;
    if (answered) {
      control.r_ready = false;
      return value;
    }
  }
  throw DeviceError(fmt::format("the kernel did not answer a read of register {:#x}", offset));
}

void SimulatedCard::run() {
  // The interrupt tells the end, as it would on a card: polling registers would cost simulated cycles.
  write_register(registers::kGlobalInterruptEnable, 1);
  write_register(registers::kInterruptEnable, 1);
  write_register(registers::kControl, registers::kControlStart);
  const std::uint64_t limit = cycle_ + options_.cycle_limit;
  while (!outputs_.interrupt) {
    if (cycle_ >= limit) {
      throw DeviceError(fmt::format("the simulated kernel was not done after {} cycles (command {})",
                                    options_.cycle_limit, read_register(registers::kStatus) >> 8));
    }
    step();
  }
  write_register(registers::kInterruptStatus, 1);
  read_register(registers::kControl);
}

void SimulatedCard::let_pass(std::uint64_t cycles) {
  for (std::uint64_t i = 0; i < cycles; ++i) step();
}

std::string SimulatedCard::finish() {
  if (options_.trace_path.empty()) return {};
  if (cycle_ <= options_.trace_start) {
    throw DeviceError(fmt::format("{}: the waveform was to start in cycle {}, and the run ended in cycle {}",
                                  options_.trace_path, options_.trace_start, cycle_));
  }
  kernel_->end_trace();
  check_waveform(options_.trace_path);
  const std::uint64_t end = std::min(cycle_, options_.trace_start + std::min(options_.trace_cycles, cycle_));
  return fmt::format("{}: cycles {} to {} of {}", options_.trace_path, options_.trace_start, end, cycle_);
}

std::string SimulatedCard::describe() const {
  return fmt::format("RTL under Verilator ({}), {}", accel::describe(options_.configuration),
                     options_.fixed_bandwidth ? "fixed-bandwidth memory" : "DDR4-2400 model");
}

}  // namespace flame::accel
