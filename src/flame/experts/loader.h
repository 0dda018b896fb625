#pragma once

#include <cstdint>
#include <optional>

#include "flame/experts/expert_grid.h"
#include "flame/experts/slot_pool.h"
#include "flame/io/read_queue.h"

namespace flame::experts {

/// A load that has ended.
struct LoadEnd {
  enum class Outcome : std::uint8_t { kWhole, kCancelled, kFailed };
  SlotIndex slot = 0;
  Outcome outcome = Outcome::kWhole;
  std::uint64_t bytes = 0;  ///< that the storage delivered for it, in all its attempts
  double seconds = 0.0;     ///< it took, when nothing overtook it and it was read once; else 0
};

/// Brings experts into slots: from storage in the live device, in simulated time in the replay. The pipeline decides
/// what to load; a loader only does it. One thread calls it.
class ExpertLoader {
 public:
  virtual ~ExpertLoader() = default;

  /// Seconds since some fixed moment; in the replay, simulated ones.
  [[nodiscard]] virtual double now() = 0;

  /// Begins to load `expert` into `slot`. Demand goes before prefetch, prefetches of lower `rank` before others, then
  /// first come, first served. Does not block.
  virtual void start(SlotIndex slot, ExpertIndex expert, io::ReadPriority priority, std::uint64_t rank) = 0;
  /// Another rank for a prefetch under way.
  virtual void set_rank(SlotIndex slot, std::uint64_t rank) = 0;
  /// The compute thread waits for this prefetch now.
  virtual void promote(SlotIndex slot) = 0;
  /// The load ends soon, cancelled (or whole, when it was nearly done). Does not block.
  virtual void cancel(SlotIndex slot) = 0;

  /// The share of the load that has arrived, 0 to 1.
  [[nodiscard]] virtual double progress(SlotIndex slot) = 0;

  /// The next load that has ended and was not told of yet. Every start() is answered by exactly one end.
  virtual std::optional<LoadEnd> poll() = 0;
  /// Blocks until poll() has something to tell. Throws DeviceError when nothing ends within the time allowed.
  virtual void wait() = 0;
  /// Throws DeviceError that says why the load into `slot` failed, naming expert and offset.
  [[noreturn]] virtual void fail(SlotIndex slot, ExpertIndex expert) = 0;
};

}  // namespace flame::experts
