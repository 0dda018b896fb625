#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "flame/experts/expert_grid.h"
#include "flame/experts/outlook.h"
#include "flame/experts/replacement.h"

namespace flame::experts {

/// What loading on demand alone would hold by now: as many slots, the same lookups, the same replacement, nothing known
/// ahead. Bookkeeping only: no bytes, no time; each load has ended when the next expert is computed. Allocates nothing
/// after its construction.
class OnDemandShadow {
 public:
  /// `policy` as it is before the first use; `popularity` as in Outlook.
  OnDemandShadow(const ExpertGrid& grid, std::size_t slots, std::unique_ptr<ReplacementPolicy> policy,
                 std::span<const float> popularity);

  void begin_example() { outlook_.begin_example(); }
  /// One pass through `layer`: `used` are its distinct experts, rising, and `order` the same in the order in which they
  /// would be loaded. Gives the number of them that were in no slot.
  std::uint32_t visit(LayerIndex layer, std::span<const ExpertIndex> used, std::span<const ExpertIndex> order);

  [[nodiscard]] bool holds(ExpertIndex expert) const { return held_[expert] != 0; }
  [[nodiscard]] std::size_t slots() const { return slots_; }
  [[nodiscard]] const Outlook& outlook() const { return outlook_; }

 private:
  /// Loads what is not there and not begun, as far as there are slots that nobody wants.
  void load(std::span<const ExpertIndex> order);
  /// A slot for one expert more; false: every slot is wanted.
  bool make_room();

  Outlook outlook_;
  std::unique_ptr<ReplacementPolicy> policy_;
  std::size_t slots_;
  std::vector<ExpertIndex> expert_in_;   ///< [slots that have been taken]
  std::size_t free_slot_ = 0;            ///< of expert_in_, after make_room()
  std::vector<std::uint8_t> held_;       ///< [experts of the grid]
  std::vector<std::uint8_t> pending_;    ///< [experts of the grid]: of the present pass, not computed
  std::vector<std::uint8_t> begun_;      ///< [experts of the pass]: was in a slot at first, or has been loaded
  std::vector<ExpertIndex> candidates_;  ///< scratch
  std::vector<std::size_t> candidate_slots_;
};

}  // namespace flame::experts
