#include "flame/experts/slot_pool.h"

#include <algorithm>

#include "flame/base/error.h"

namespace flame::experts {

SlotPin& SlotPin::operator=(SlotPin&& other) noexcept {
  if (this != &other) {
    reset();
    pool_ = std::exchange(other.pool_, nullptr);
    slot_ = other.slot_;
  }
  return *this;
}

void SlotPin::reset() {
  if (pool_ == nullptr) return;
  assert(pool_->slots_[slot_].pins > 0);
  --pool_->slots_[slot_].pins;
  pool_ = nullptr;
}

SlotPool::SlotPool(std::size_t slots, const ExpertGrid& grid)
    : grid_(grid), slots_(slots), slot_of_(grid.size(), kNone) {
  if (slots == 0) throw UsageError("an expert buffer needs at least one slot");
  free_.reserve(slots);
  loading_.reserve(slots);
  for (std::size_t i = slots; i > 0; --i) free_.push_back(static_cast<SlotIndex>(i - 1));
  counts_[static_cast<std::size_t>(SlotState::kFree)] = slots;
}

std::vector<ExpertIndex> SlotPool::experts() const {
  std::vector<ExpertIndex> experts;
  for (ExpertIndex expert = 0; expert < slot_of_.size(); ++expert) {
    if (slot_of_[expert] != kNone) experts.push_back(expert);
  }
  return experts;
}

std::optional<SlotIndex> SlotPool::find_free() const {
  if (free_.empty()) return std::nullopt;
  return free_.back();
}

void SlotPool::begin_load(SlotIndex slot, ExpertIndex expert) {
  assert(slot_of_[expert] == kNone);
  assert(!free_.empty() && free_.back() == slot);  // the slot that find_free() named
  free_.pop_back();
  change(slot, SlotState::kFree, SlotState::kLoading);
  slots_[slot].expert = expert;
  slot_of_[expert] = slot;
}

void SlotPool::finish_load(SlotIndex slot) { change(slot, SlotState::kLoading, SlotState::kReady); }

void SlotPool::begin_drain(SlotIndex slot) {
  assert(slots_[slot].pins == 0);
  change(slot, SlotState::kLoading, SlotState::kDraining);
  slot_of_[slots_[slot].expert] = kNone;
}

void SlotPool::finish_drain(SlotIndex slot) {
  change(slot, SlotState::kDraining, SlotState::kFree);
  free_.push_back(slot);
}

void SlotPool::evict(SlotIndex slot) {
  assert(slots_[slot].pins == 0);
  change(slot, SlotState::kReady, SlotState::kFree);
  slot_of_[slots_[slot].expert] = kNone;
  free_.push_back(slot);
}

SlotPin SlotPool::pin(SlotIndex slot) {
  assert(slots_[slot].state == SlotState::kLoading || slots_[slot].state == SlotState::kReady);
  ++slots_[slot].pins;
  return {*this, slot};
}

void SlotPool::change(SlotIndex slot, SlotState from, SlotState to) {
  assert(slots_[slot].state == from);
  --counts_[static_cast<std::size_t>(slots_[slot].state)];
  slots_[slot].state = to;
  ++counts_[static_cast<std::size_t>(to)];
  if (from == SlotState::kLoading) loading_.erase(std::lower_bound(loading_.begin(), loading_.end(), slot));
  if (to == SlotState::kLoading) loading_.insert(std::lower_bound(loading_.begin(), loading_.end(), slot), slot);
}

}  // namespace flame::experts
