#include "flame/experts/slot_pool.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <set>

#include "flame/base/error.h"

namespace flame::experts {
namespace {

constexpr ExpertGrid kGrid{2, 3, 4};

TEST(SlotPool, NeedsASlot) { EXPECT_THROW(SlotPool(0, kGrid), UsageError); }

TEST(SlotPool, HoldsAnExpertFromLoadToEviction) {
  SlotPool pool(2, kGrid);
  const SlotIndex slot = pool.find_free().value();
  pool.begin_load(slot, 7);
  EXPECT_EQ(pool.state(slot), SlotState::kLoading);
  EXPECT_EQ(pool.find(7), slot);
  pool.finish_load(slot);
  EXPECT_EQ(pool.state(slot), SlotState::kReady);
  EXPECT_EQ(pool.expert_in(slot), 7U);
  pool.evict(slot);
  EXPECT_EQ(pool.find(7), std::nullopt);
  EXPECT_EQ(pool.count(SlotState::kFree), 2U);
}

TEST(SlotPool, ADrainingSlotHoldsNoExpertAndIsNotFree) {
  SlotPool pool(1, kGrid);
  pool.begin_load(0, 3);
  pool.begin_drain(0);
  EXPECT_EQ(pool.find(3), std::nullopt);
  EXPECT_EQ(pool.find_free(), std::nullopt);
  pool.finish_drain(0);
  EXPECT_EQ(pool.find_free(), 0U);
}

TEST(SlotPool, APinIsMovedAndReleasedOnce) {
  SlotPool pool(1, kGrid);
  pool.begin_load(0, 3);
  {
    SlotPin first = pool.pin(0);
    SlotPin second = std::move(first);
    EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move)
    EXPECT_TRUE(second);
    SlotPin third = pool.pin(0);
    second = std::move(third);
    EXPECT_TRUE(pool.pinned(0));
    second.reset();
    EXPECT_FALSE(pool.pinned(0));
  }
  EXPECT_FALSE(pool.pinned(0));
}

// The pool against a specification of two maps: whatever legal operations come in whatever order.
RC_GTEST_PROP(SlotPool, BehavesAsItsSpecification, ()) {
  const auto slots = *rc::gen::inRange<std::size_t>(1, 9);
  SlotPool pool(slots, kGrid);
  std::map<SlotIndex, std::pair<SlotState, ExpertIndex>> held;  // every slot that is not free
  std::map<SlotIndex, std::vector<SlotPin>> pins;
  const auto steps = *rc::gen::inRange(0, 200);
  for (int step = 0; step < steps; ++step) {
    const auto action = *rc::gen::inRange(0, 6);
    const auto slot = *rc::gen::inRange<SlotIndex>(0, static_cast<SlotIndex>(slots));
    const auto expert = *rc::gen::inRange<ExpertIndex>(0, kGrid.size());
    const bool occupied = held.contains(slot);
    const SlotState state = occupied ? held[slot].first : SlotState::kFree;
    if (action == 0 && !pool.find(expert) && pool.find_free()) {
      const SlotIndex free = *pool.find_free();
      RC_ASSERT(!held.contains(free));
      pool.begin_load(free, expert);
      held[free] = {SlotState::kLoading, expert};
    } else if (action == 1 && state == SlotState::kLoading) {
      pool.finish_load(slot);
      held[slot].first = SlotState::kReady;
    } else if (action == 2 && state == SlotState::kReady && pins[slot].empty()) {
      pool.evict(slot);
      held.erase(slot);
    } else if (action == 3 && state == SlotState::kLoading && pins[slot].empty()) {
      pool.begin_drain(slot);
      held[slot].first = SlotState::kDraining;
    } else if (action == 4 && state == SlotState::kDraining) {
      pool.finish_drain(slot);
      held.erase(slot);
    } else if (action == 5 && (state == SlotState::kReady || state == SlotState::kLoading)) {
      if (pins[slot].empty() || *rc::gen::arbitrary<bool>()) {
        pins[slot].push_back(pool.pin(slot));
      } else {
        pins[slot].pop_back();
      }
    }

    std::set<ExpertIndex> findable;
    for (SlotIndex s = 0; s < slots; ++s) {
      RC_ASSERT(pool.state(s) == (held.contains(s) ? held[s].first : SlotState::kFree));
      RC_ASSERT(pool.pinned(s) == !pins[s].empty());
      if (!held.contains(s)) continue;
      RC_ASSERT(pool.expert_in(s) == held[s].second);
      if (held[s].first != SlotState::kDraining) {
        RC_ASSERT(pool.find(held[s].second) == s);
        RC_ASSERT(findable.insert(held[s].second).second);
      }
    }
    std::size_t found = 0;
    for (ExpertIndex e = 0; e < kGrid.size(); ++e) found += pool.find(e).has_value() ? 1 : 0;
    RC_ASSERT(found == findable.size());
    RC_ASSERT(pool.count(SlotState::kFree) == slots - held.size());
    RC_ASSERT(pool.find_free().has_value() == (held.size() < slots));
  }
}

}  // namespace
}  // namespace flame::experts
