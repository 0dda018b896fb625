#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "flame/experts/expert_grid.h"

namespace flame::experts {

using SlotIndex = std::uint32_t;

enum class SlotState : std::uint8_t {
  kFree,
  kLoading,   ///< an expert's bytes are on their way
  kReady,     ///< the expert is whole
  kDraining,  ///< its load was cancelled, but the storage may still write to it
};

class SlotPool;

/// A slot in use: while it lives, the slot is neither evicted nor cancelled. Move-only; released when it goes.
/// Must not outlive its pool.
class SlotPin {
 public:
  SlotPin() = default;
  SlotPin(SlotPin&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), slot_(other.slot_) {}
  SlotPin& operator=(SlotPin&& other) noexcept;
  ~SlotPin() { reset(); }

  [[nodiscard]] explicit operator bool() const { return pool_ != nullptr; }
  [[nodiscard]] SlotIndex slot() const { return slot_; }
  void reset();

 private:
  friend class SlotPool;
  SlotPin(SlotPool& pool, SlotIndex slot) : pool_(&pool), slot_(slot) {}
  SlotPool* pool_ = nullptr;
  SlotIndex slot_ = 0;
};

/// Which expert is in which slot (PA-BUF): pure bookkeeping, without memory, time or input and output, so that the live
/// device and the replay of a trace share it. An expert is in at most one slot.
///
///   free --begin_load--> loading --finish_load--> ready --evict--> free
///                        loading --begin_drain--> draining --finish_drain--> free
class SlotPool {
 public:
  /// Throws UsageError when there is no slot.
  SlotPool(std::size_t slots, const ExpertGrid& grid);

  [[nodiscard]] std::size_t slots() const { return slots_.size(); }
  [[nodiscard]] const ExpertGrid& grid() const { return grid_; }

  [[nodiscard]] SlotState state(SlotIndex slot) const { return slots_[slot].state; }
  [[nodiscard]] bool pinned(SlotIndex slot) const { return slots_[slot].pins != 0; }
  /// The expert that is loading into or ready in the slot; the one that was, for a draining slot.
  [[nodiscard]] ExpertIndex expert_in(SlotIndex slot) const { return slots_[slot].expert; }

  /// The slot in which the expert is loading or ready.
  [[nodiscard]] std::optional<SlotIndex> find(ExpertIndex expert) const {
    assert(expert < slot_of_.size());
    if (slot_of_[expert] == kNone) return std::nullopt;
    return slot_of_[expert];
  }
  /// All experts that have such a slot, rising.
  [[nodiscard]] std::vector<ExpertIndex> experts() const;
  [[nodiscard]] std::optional<SlotIndex> find_free() const;
  /// The slots that an expert is loading into, rising. Changes with the next call that is not const.
  [[nodiscard]] std::span<const SlotIndex> loading() const { return loading_; }
  [[nodiscard]] std::size_t count(SlotState state) const { return counts_[static_cast<std::size_t>(state)]; }

  void begin_load(SlotIndex slot, ExpertIndex expert);  ///< of a free slot and an expert that has none
  void finish_load(SlotIndex slot);                     ///< of a loading slot
  void begin_drain(SlotIndex slot);                     ///< of a loading slot without pins
  void finish_drain(SlotIndex slot);                    ///< of a draining slot
  void evict(SlotIndex slot);                           ///< of a ready slot without pins

  /// Of a loading or ready slot. A slot may be pinned several times.
  [[nodiscard]] SlotPin pin(SlotIndex slot);

 private:
  friend class SlotPin;
  static constexpr std::uint32_t kNone = 0xffffffffU;
  struct Slot {
    SlotState state = SlotState::kFree;
    std::uint32_t pins = 0;
    ExpertIndex expert = kNone;
  };
  void change(SlotIndex slot, SlotState from, SlotState to);

  ExpertGrid grid_;
  std::vector<Slot> slots_;
  std::vector<SlotIndex> slot_of_;  ///< [experts of the grid]: kNone where absent
  std::vector<SlotIndex> free_;
  std::vector<SlotIndex> loading_;
  std::size_t counts_[4] = {};
};

}  // namespace flame::experts
