#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "flame/experts/loader.h"

namespace flame::experts {

/// How long things take in simulated time, in seconds.
struct StorageTimes {
  double load = 0.0;   ///< one expert, when the storage has nothing else to do
  double chunk = 0.0;  ///< of a load: a prefetch under way holds up a demand load so long at most
};

/// A storage in simulated time: one server that reads one chunk after the other, demand before prefetch, among
/// prefetches by rank, otherwise first come, first served. Time passes only by advance() and wait().
class SimulatedLoader final : public ExpertLoader {
 public:
  SimulatedLoader(std::size_t slots, std::uint64_t expert_bytes, const StorageTimes& times);

  void advance(double seconds);
  /// Time goes on until the load into `slot` has ended.
  void finish(SlotIndex slot);

  [[nodiscard]] double now() override { return now_; }
  void start(SlotIndex slot, ExpertIndex expert, io::ReadPriority priority, std::uint64_t rank) override;
  void set_rank(SlotIndex slot, std::uint64_t rank) override { loads_[slot].rank = rank; }
  void promote(SlotIndex slot) override;
  void cancel(SlotIndex slot) override;
  [[nodiscard]] double progress(SlotIndex slot) override;
  std::optional<LoadEnd> poll() override;
  void wait() override;
  [[noreturn]] void fail(SlotIndex slot, ExpertIndex expert) override;

  /// Seconds in which the storage was reading.
  [[nodiscard]] double busy_seconds() const { return busy_; }

 private:
  struct Load {
    bool active = false;
    bool cancelled = false;  ///< ends with the chunk it is in
    io::ReadPriority priority = io::ReadPriority::kDemand;
    std::uint64_t rank = 0;
    std::uint64_t order = 0;
    double done = 0.0;  ///< seconds of the load that are over
    double begin = 0.0;
    double times = 0.0;  ///< seconds it had the storage
  };

  [[nodiscard]] SlotIndex most_urgent() const;
  /// Seconds that `slot`'s load takes to the end of its chunk (cancelled) or to its own end.
  [[nodiscard]] double seconds_left(SlotIndex slot) const;
  [[nodiscard]] double chunk_rest(const Load& load) const;
  void run(SlotIndex slot, double seconds);
  void end(SlotIndex slot, LoadEnd::Outcome outcome);
  /// Runs the storage up to `time` at most, or until a load ends when `to_next_end`.
  void run_until(double time, bool to_next_end);

  std::uint64_t expert_bytes_;
  StorageTimes times_;
  std::vector<Load> loads_;  ///< [slots]
  std::vector<SlotIndex> active_;
  std::vector<LoadEnd> ended_;
  SlotIndex current_;  ///< whose chunk is being read; slots when none is
  double now_ = 0.0;
  double busy_ = 0.0;
  std::uint64_t next_order_ = 0;
};

}  // namespace flame::experts
