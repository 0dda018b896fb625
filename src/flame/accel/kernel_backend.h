#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace flame::accel {

/// What the driver needs of a card: memory banks, the kernel's register file, and a way to run it. Implemented by the
/// simulated card and by XRT; everything above it is the same code for both.
class KernelBackend {
 public:
  virtual ~KernelBackend() = default;

  /// Reserves device memory, 4 KiB aligned. `port` is the kernel port that will reach it: 0 .. 3 for weights, 4 for
  /// commands, tokens and results. Result: the address as the kernel sees it. Throws DeviceError when the bank is full.
  virtual std::uint64_t allocate(std::size_t bytes, std::size_t port) = 0;
  /// Gives back what allocate() reserved; a back end may keep it until its end.
  virtual void release(std::uint64_t /*address*/) {}
  /// Copies between the host and memory reserved before; the range must lie within one reservation.
  virtual void upload(std::uint64_t address, std::span<const std::uint8_t> bytes) = 0;
  virtual void download(std::uint64_t address, std::span<std::uint8_t> bytes) = 0;

  virtual void write_register(std::uint32_t offset, std::uint32_t value) = 0;
  virtual std::uint32_t read_register(std::uint32_t offset) = 0;

  /// Starts the kernel and waits until it is done. Throws DeviceError when it is not within a generous bound.
  virtual void run() = 0;

  /// Lets `cycles` of kernel time pass while the kernel is idle but its loads go on; nothing where time passes by
  /// itself.
  virtual void let_pass(std::uint64_t cycles) = 0;

  /// Ends what is written beside the results, a simulation's waveform; nothing runs afterwards. Result: what has been
  /// written, in a phrase; empty for nothing. Throws FileError where it is not whole, DeviceError where the run ended
  /// before it was to start.
  virtual std::string finish() { return {}; }

  /// The clock that cycle counts are to be read with.
  [[nodiscard]] virtual double clock_mhz() const = 0;
  [[nodiscard]] virtual std::string describe() const = 0;
};

}  // namespace flame::accel
