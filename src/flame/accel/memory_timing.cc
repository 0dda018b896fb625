#include "flame/accel/memory_timing.h"

#include <algorithm>
#include <cmath>

namespace flame::accel {

namespace {

constexpr double kBurstClocks = 4.0;     // BL8 on both edges
constexpr double kWaitingAccesses = 16;  // what a controller queues before it stops taking bursts

class FixedBandwidthTiming final : public MemoryTiming {
 public:
  explicit FixedBandwidthTiming(const FixedBandwidthParameters& parameters) : p_(parameters) {}

  std::uint64_t schedule(std::uint64_t /*address*/, bool /*write*/, std::uint64_t cycle) override {
    free_ = std::max(free_, static_cast<double>(cycle)) + 64.0 / p_.bytes_per_cycle;
    return static_cast<std::uint64_t>(std::ceil(free_)) + p_.latency_cycles;
  }

  [[nodiscard]] bool accepts(std::uint64_t cycle) const override {
    return free_ - static_cast<double>(cycle) <= kWaitingAccesses * 64.0 / p_.bytes_per_cycle;
  }

 private:
  FixedBandwidthParameters p_;
  double free_ = 0.0;
};

}  // namespace

std::unique_ptr<MemoryTiming> make_fixed_bandwidth_timing(const FixedBandwidthParameters& parameters) {
  return std::make_unique<FixedBandwidthTiming>(parameters);
}

Ddr4Timing::Ddr4Timing(const Ddr4Parameters& parameters)
    : p_(parameters),
      clocks_per_cycle_(parameters.clock_mhz / parameters.kernel_clock_mhz),
      next_refresh_(static_cast<double>(parameters.t_refi)) {
  recent_activations_.fill(-1e9);
  group_column_.fill(-1e9);
  group_activation_.fill(-1e9);
  group_write_end_.fill(-1e9);
}

void Ddr4Timing::refresh_until(double time) {
  while (time >= next_refresh_) {
    // All banks are closed, then the device is busy for tRFC.
    double closed = std::max(next_refresh_, last_column_ + kBurstClocks);
    for (Bank& bank : banks_) {
      if (bank.open_row < 0) continue;
      closed = std::max(closed, std::max(bank.precharge_ready, bank.activated + p_.t_ras));
      bank.open_row = -1;
    }
    blocked_until_ = closed + p_.t_rp + p_.t_rfc;
    next_refresh_ += p_.t_refi;
    ++refreshes_;
  }
}

double Ddr4Timing::arrival(std::uint64_t cycle) const {
  return static_cast<double>(cycle) * clocks_per_cycle_ + p_.interface_latency_ns * 1e-3 * p_.clock_mhz / 2.0;
}

bool Ddr4Timing::accepts(std::uint64_t cycle) const {
  return last_column_ - arrival(cycle) <= kWaitingAccesses * kBurstClocks;
}

std::uint64_t Ddr4Timing::schedule(std::uint64_t address, bool write, std::uint64_t cycle) {
  const std::uint64_t burst = address / 64;
  const std::uint64_t groups = 1ULL << p_.bank_group_bits;
  const std::uint64_t columns = 1ULL << p_.column_bits;
  std::uint64_t rest = burst;
  std::uint64_t group = 0;
  if (p_.bank_groups_lowest) {
    group = rest % groups;
    rest /= groups * columns;
  } else {
    rest /= columns;
    group = rest % groups;
    rest /= groups;
  }
  const std::uint64_t bank_in_group = rest % (1ULL << p_.bank_bits);
  const auto row = static_cast<std::int64_t>(rest >> p_.bank_bits);
  Bank& bank = banks_[group << p_.bank_bits | bank_in_group];

  // A request is seen by the controller once the one `queue` places before it has been served.
  double seen = arrival(cycle);
  if (queue_.size() >= p_.queue) {
    seen = std::max(seen, queue_.front());
    queue_.pop_front();
  }

  refresh_until(std::max(seen, last_column_));
  double column = std::max(seen, blocked_until_);
  if (bank.open_row != row) {
    double activate = std::max(seen, blocked_until_);
    if (bank.open_row >= 0) {
      activate = std::max({activate, bank.precharge_ready + p_.t_rp, bank.activated + p_.t_ras + p_.t_rp});
    }
    activate = std::max({activate, last_activation_ + p_.t_rrd_s, group_activation_[group] + p_.t_rrd_l,
                         recent_activations_[0] + p_.t_faw});
    std::rotate(recent_activations_.begin(), recent_activations_.begin() + 1, recent_activations_.end());
    recent_activations_.back() = activate;
    last_activation_ = std::max(last_activation_, activate);
    group_activation_[group] = activate;
    bank.open_row = row;
    bank.activated = activate;
    column = std::max(column, activate + p_.t_rcd);
  }
  column = std::max({column, last_column_ + p_.t_ccd_s, group_column_[group] + p_.t_ccd_l});
  if (write) {
    // The bus turns from reading to writing: the last read's data leave before the first write's come.
    column = std::max(column, read_end_ + 2.0 - p_.cwl);
  } else {
    column = std::max({column, write_end_ + p_.t_wtr_s, group_write_end_[group] + p_.t_wtr_l});
  }
  if (++beats_since_overhead_ == 64) {
    column += p_.overhead_per_64_beats;
    beats_since_overhead_ = 0;
  }
  last_column_ = column;
  group_column_[group] = column;
  queue_.push_back(column);

  double data_end = 0.0;
  if (write) {
    data_end = column + p_.cwl + kBurstClocks;
    write_end_ = data_end;
    group_write_end_[group] = data_end;
    bank.precharge_ready = std::max(bank.precharge_ready, data_end + p_.t_wr);
  } else {
    data_end = column + p_.cl + kBurstClocks;
    read_end_ = data_end;
    bank.precharge_ready = std::max(bank.precharge_ready, column + p_.t_rtp);
  }
  last_done_ = std::max(last_done_ + kBurstClocks, data_end + p_.interface_latency_ns * 1e-3 * p_.clock_mhz / 2.0);
  return static_cast<std::uint64_t>(std::ceil(last_done_ / clocks_per_cycle_));
}

}  // namespace flame::accel
