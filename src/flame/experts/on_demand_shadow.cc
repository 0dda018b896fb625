#include "flame/experts/on_demand_shadow.h"

#include <algorithm>
#include <utility>

namespace flame::experts {

OnDemandShadow::OnDemandShadow(const ExpertGrid& grid, std::size_t slots, std::unique_ptr<ReplacementPolicy> policy,
                               std::span<const float> popularity)
    : outlook_(grid, popularity),
      policy_(std::move(policy)),
      slots_(slots),
      held_(grid.size()),
      pending_(grid.size()),
      begun_(grid.experts) {
  expert_in_.reserve(slots);
  candidates_.reserve(slots);
  candidate_slots_.reserve(slots);
}

std::uint32_t OnDemandShadow::visit(LayerIndex layer, std::span<const ExpertIndex> used,
                                    std::span<const ExpertIndex> order) {
  for (const ExpertIndex expert : used) policy_->used(expert);
  outlook_.visit(layer, used);
  std::uint32_t missing = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    begun_[i] = held_[order[i]];
    pending_[order[i]] = 1;
    missing += begun_[i] == 0 ? 1 : 0;
  }
  if (missing == 0) {
    for (const ExpertIndex expert : order) pending_[expert] = 0;
    return 0;
  }
  load(order);
  // Whoever has been computed makes room for those that had none.
  for (std::size_t computed = 0; computed < order.size(); ++computed) {
    std::size_t next = 0;
    while (begun_[next] == 0 || pending_[order[next]] == 0) ++next;
    pending_[order[next]] = 0;
    load(order);
  }
  return missing;
}

void OnDemandShadow::load(std::span<const ExpertIndex> order) {
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (begun_[i] != 0) continue;
    if (!make_room()) return;
    expert_in_[free_slot_] = order[i];
    held_[order[i]] = 1;
    begun_[i] = 1;
    policy_->loaded(order[i]);
  }
}

bool OnDemandShadow::make_room() {
  if (expert_in_.size() < slots_) {
    free_slot_ = expert_in_.size();
    expert_in_.push_back(0);
    return true;
  }
  candidates_.clear();
  candidate_slots_.clear();
  for (std::size_t slot = 0; slot < expert_in_.size(); ++slot) {
    if (pending_[expert_in_[slot]] != 0) continue;
    candidates_.push_back(expert_in_[slot]);
    candidate_slots_.push_back(slot);
  }
  if (candidates_.empty()) return false;
  free_slot_ = candidate_slots_[policy_->weakest(candidates_, outlook_)];
  held_[expert_in_[free_slot_]] = 0;
  return true;
}

}  // namespace flame::experts
