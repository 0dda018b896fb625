#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "flame/experts/buffer_options.h"
#include "flame/experts/bundle.h"
#include "flame/experts/cost_model.h"
#include "flame/experts/loader.h"
#include "flame/experts/slot_memory.h"
#include "flame/experts/timeline.h"
#include "flame/io/read_queue.h"

namespace flame::experts {

/// Loads experts of a bundle from storage into slots, each block's XXH3 checked as it arrives.
class StoredLoader final : public ExpertLoader {
 public:
  /// `timeline` must outlive the loader. `bundle` and `memory` are kept, also beyond its end by reads that a dead
  /// storage never gives back (io::ReadQueue).
  StoredLoader(std::shared_ptr<const Bundle> bundle, std::shared_ptr<const SlotMemory> memory,
               std::unique_ptr<io::AsyncReader> reader, const BufferOptions& options, Timeline& timeline);
  /// Draws what is left to draw, also where an error ended the run.
  ~StoredLoader() override { draw_rest(); }
  StoredLoader(const StoredLoader&) = delete;
  StoredLoader& operator=(const StoredLoader&) = delete;

  [[nodiscard]] double now() override;
  void start(SlotIndex slot, ExpertIndex expert, io::ReadPriority priority, std::uint64_t rank) override;
  void set_rank(SlotIndex slot, std::uint64_t rank) override { queue_.set_rank(slot, rank); }
  void promote(SlotIndex slot) override;
  void cancel(SlotIndex slot) override;
  [[nodiscard]] double progress(SlotIndex slot) override { return queue_.progress(slot); }
  std::optional<LoadEnd> poll() override;
  void wait() override;
  [[noreturn]] void fail(SlotIndex slot, ExpertIndex expert) override;

  /// Blocks until the first `bytes` bytes of the expert that is loading into `slot` are there and checked; returns how
  /// many are. Throws DeviceError when the load fails, or is waited for longer than the time allowed, all waits
  /// together.
  std::uint64_t wait_for_bytes(SlotIndex slot, ExpertIndex expert, std::uint64_t bytes);

  /// Draws the loads that poll() has not told of: those that have ended as what they are, those under way as far as
  /// they have come. After this the timeline has every load begun. Nothing is told of them.
  void draw_rest();

  [[nodiscard]] io::ReadQueueStatistics statistics() const { return queue_.statistics(); }
  [[nodiscard]] std::string describe() const;

  /// What a prefetch may hold demand up by: the chunks that are in flight at most.
  [[nodiscard]] static ChunkBytes chunk_bytes();

 private:
  [[nodiscard]] std::string name_of(ExpertIndex expert) const;
  void read(SlotIndex slot, io::ReadPriority priority, std::uint64_t rank);
  /// The read into `slot` has failed: true when it has been begun again.
  [[nodiscard]] bool try_again(SlotIndex slot);
  [[nodiscard]] bool read_before(SlotIndex slot) const { return before_[slot].begin != io::Clock::time_point{}; }
  /// The slot's load, from its first chunk on, that of an earlier read included; one that had none yet is a moment.
  void draw(SlotIndex slot, io::ReadState state);

  /// `wait_until(time)` is called with ever later times until it is true, which Ctrl-C can end. False at the deadline,
  /// which moves on by the time in which the process itself was stopped (Ctrl-Z): that is not the storage's.
  template <typename WaitUntil>
  [[nodiscard]] static bool wait_in_time(io::Clock::time_point& deadline, const WaitUntil& wait_until);

  std::shared_ptr<const Bundle> bundle_;
  std::shared_ptr<const SlotMemory> memory_;
  bool verify_;
  bool wait_for_loads_;
  double timeout_seconds_;
  io::Clock::duration timeout_;
  Timeline& timeline_;
  std::vector<SlotIndex> active_;
  std::vector<ExpertIndex> expert_in_;  ///< [slots]
  std::vector<bool> cancelled_;         ///< [slots]: cancel() was called for its load
  /// [slots]: what is waited for now was begun before anybody did. Its attempts may be over by then, or nearly: where
  /// they fail, it is read anew, on demand.
  std::vector<bool> read_again_;
  std::vector<io::ReadQueue::Delivery> before_;  ///< [slots]: of the load's first read, where it was read again
  std::vector<io::Clock::duration> patience_;    ///< [slots]: that is left for the load
  std::uint64_t told_ = 0;                       ///< ends that poll() has given out
  io::Clock::time_point epoch_ = io::Clock::now();
  io::ReadQueue queue_;  ///< last: its thread ends before the rest goes
};

}  // namespace flame::experts
