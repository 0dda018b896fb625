#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "flame/accel/memory_timing.h"
#include "flame/accel/rtl_kernel.h"

namespace flame::accel {

/// Bytes of one DDR bank and the time they take. Addresses are relative to the bank.
class MemoryBank {
 public:
  /// `capacity` bytes at most are reserved at a time; by default those of a DDR4 bank of the U200.
  explicit MemoryBank(std::unique_ptr<MemoryTiming> timing, std::uint64_t capacity = std::uint64_t{16} << 30)
      : capacity_(capacity), timing_(std::move(timing)) {}

  /// Reserves `bytes` (rounded up to 4 KiB), zeroed. Result: the offset in the bank. Throws DeviceError where no gap is
  /// large enough.
  std::uint64_t allocate(std::size_t bytes);
  /// Gives back what allocate() reserved at `offset`.
  void release(std::uint64_t offset) { reservations_.erase(offset); }
  /// All reservations lie within so many bytes.
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  [[nodiscard]] std::span<std::uint8_t> bytes() { return bytes_; }
  [[nodiscard]] MemoryTiming& timing() { return *timing_; }

  /// Round-robin between the ports of a bank, a burst at a time: whether port `number` may send one in `cycle`. A port
  /// that is refused is remembered as waiting.
  bool grant(std::size_t number, std::uint64_t cycle);

 private:
  std::uint32_t waiting_ = 0;  // bit per port
  std::size_t last_granted_ = 0;
  std::uint64_t capacity_;
  std::map<std::uint64_t, std::uint64_t> reservations_;  // offset, bytes
  std::vector<std::uint8_t> bytes_;
  std::unique_ptr<MemoryTiming> timing_;
};

/// How often, out of 256 cycles, a handshake of the memory side is withheld although it could go on.
struct StallRates {
  unsigned ar = 0, r = 0, aw = 0, w = 0, b = 0;
};

/// Told of what passes through the ports, in the order of the cycles. Addresses are the kernel's.
class AxiObserver {
 public:
  virtual ~AxiObserver() = default;
  virtual void read_requested(std::size_t port, std::uint64_t address, std::uint64_t cycle) = 0;
  virtual void beat_read(std::size_t port, std::uint64_t address, std::uint64_t cycle) = 0;
  /// A write burst was answered.
  virtual void written(std::size_t port, std::uint64_t address, std::uint64_t cycle) = 0;
};

/// The memory side of one AXI4 port of the kernel, and a monitor of both sides' protocol: a broken rule throws
/// DeviceError that names port, rule and cycle. Rules: once valid, payload and valid hold until ready; no burst crosses
/// 4 KiB or leaves the memory; as many write beats as announced, the last one marked; no write data before its address;
/// no response before its data.
class AxiPort {
 public:
  /// `bank` outlives the port. Bank-relative addresses are those of the kernel minus `base`. A beat has `beat_bytes`;
  /// the memory behind serves lines of 64 bytes, so that the beats of one line cost one access.
  AxiPort(std::size_t number, MemoryBank& bank, std::uint64_t base, std::size_t beat_bytes = sizeof(Beat))
      : number_(number), bank_(bank), base_(base), beat_bytes_(beat_bytes) {}

  void set_stalls(const StallRates& rates, std::uint64_t seed);
  /// Reads that touch [first, last) answer SLVERR.
  void inject_read_error(std::uint64_t first, std::uint64_t last);

  /// `observer` may be null, and outlives the port.
  void set_observer(AxiObserver* observer) { observer_ = observer; }

  /// Looks at what the kernel drives in cycle `cycle` and decides what the memory drives in the same cycle.
  void respond(const AxiMasterSignals& kernel, std::uint64_t cycle, AxiSlaveSignals& memory);

  /// Requests accepted and not yet answered in full.
  [[nodiscard]] bool busy() const { return !reads_.empty() || !writes_.empty(); }

 private:
  struct ReadBeat {
    std::uint64_t address, ready;
    bool last;
  };
  struct WriteBurst {
    std::uint64_t address;
    unsigned beats, done;
    std::uint64_t response = 0;
  };

  [[noreturn]] void fail(const char* rule, std::uint64_t cycle) const;
  bool withhold(unsigned rate);
  void check_burst(std::uint64_t address, unsigned beats, const char* what, std::uint64_t cycle) const;

  std::size_t number_;
  MemoryBank& bank_;
  std::uint64_t base_;
  std::size_t beat_bytes_;
  AxiObserver* observer_ = nullptr;
  StallRates stalls_;
  std::mt19937_64 random_;
  std::uint64_t error_first_ = 0, error_last_ = 0;
  std::deque<ReadBeat> reads_;
  std::deque<WriteBurst> writes_;
  AxiMasterSignals before_;
  AxiSlaveSignals answered_;
  Beat before_data_{};
  bool r_held_ = false, b_held_ = false;
};

}  // namespace flame::accel
