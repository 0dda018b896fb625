#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>

namespace flame::accel {

/// When a memory channel answers. One object a channel; calls come in the order in which the controller accepts
/// requests.
class MemoryTiming {
 public:
  virtual ~MemoryTiming() = default;

  /// One 64-byte access that reaches the channel in kernel cycle `cycle` (never earlier than in the call before).
  /// Result: the kernel cycle in which its data beat can be on the bus, later than that of the access before it.
  virtual std::uint64_t schedule(std::uint64_t address, bool write, std::uint64_t cycle) = 0;

  /// Whether the controller takes another burst in kernel cycle `cycle`, or has enough waiting: so ports that share a
  /// channel take turns burst by burst, and a long queue of one does not hold up the other.
  [[nodiscard]] virtual bool accepts(std::uint64_t cycle) const = 0;
};

/// Every beat takes the same time: the bound that a real memory is held against.
struct FixedBandwidthParameters {
  double bytes_per_cycle = 64.0;
  std::uint64_t latency_cycles = 30;
};
std::unique_ptr<MemoryTiming> make_fixed_bandwidth_timing(const FixedBandwidthParameters& parameters);

/// One DDR4 channel, 64 bits wide. Times are in DRAM clocks (tCK); defaults are DDR4-2400, 8 Gb x8 devices (DRAMsim3's
/// DDR4_8Gb_x8_2400). The two last values are calibrated or assumed, not from a data sheet (docs/accelerator.md).
struct Ddr4Parameters {
  double clock_mhz = 1200.0;        ///< data moves on both edges
  double kernel_clock_mhz = 300.0;  ///< assumption: the kernel closes timing there
  unsigned cl = 17, cwl = 12, t_rcd = 17, t_rp = 17, t_ras = 39, t_rfc = 420, t_refi = 9360;
  unsigned t_rrd_s = 4, t_rrd_l = 6, t_ccd_s = 4, t_ccd_l = 6, t_faw = 26, t_wr = 18, t_wtr_s = 3, t_wtr_l = 9,
           t_rtp = 9;
  unsigned bank_group_bits = 2, bank_bits = 2, column_bits = 7;  ///< column bits count 64-byte bursts: 1 Ki columns
  bool bank_groups_lowest = true;  ///< else column bits are: a sequential stream stays in one bank group
  unsigned queue = 16;             ///< requests the controller looks ahead to open rows
  unsigned overhead_per_64_beats =
      20;  ///< calibrated: clocks lost per 4 KiB, so that long sequential reads reach 88 % of peak
  double interface_latency_ns = 100.0;  ///< assumption: controller, clock crossing and interconnect, both ways
};

/// In-order DDR4 channel with open-page banks: row misses, tCCD, tRRD, tFAW, bus turn-round and refresh cost what they
/// cost.
class Ddr4Timing final : public MemoryTiming {
 public:
  explicit Ddr4Timing(const Ddr4Parameters& parameters);
  std::uint64_t schedule(std::uint64_t address, bool write, std::uint64_t cycle) override;
  [[nodiscard]] bool accepts(std::uint64_t cycle) const override;

  [[nodiscard]] std::uint64_t refreshes() const { return refreshes_; }

 private:
  struct Bank {
    std::int64_t open_row = -1;
    double activated = -1e9;       // time of the last ACT
    double precharge_ready = 0.0;  // earliest PRE after the last column command
  };

  void refresh_until(double time);
  [[nodiscard]] double arrival(std::uint64_t cycle) const;

  Ddr4Parameters p_;
  double clocks_per_cycle_;
  std::array<Bank, 64> banks_;
  std::array<double, 4> recent_activations_;
  std::array<double, 8> group_column_;      // last column command per bank group
  std::array<double, 8> group_activation_;  // last ACT per bank group
  std::array<double, 8> group_write_end_;   // end of the last write burst per bank group
  std::deque<double> queue_;                // column times of the requests still looked ahead over
  double last_column_ = -1e9;
  double last_activation_ = -1e9;
  double write_end_ = -1e9;
  double read_end_ = -1e9;
  double next_refresh_;
  double blocked_until_ = 0.0;
  double last_done_ = 0.0;
  unsigned beats_since_overhead_ = 0;
  std::uint64_t refreshes_ = 0;
};

}  // namespace flame::accel
