#include "flame/experts/on_demand_shadow.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <random>

#include "flame/experts/pipeline.h"
#include "flame/experts/simulated_loader.h"

namespace flame::experts {
namespace {

OnDemandShadow shadow_of(const ExpertGrid& grid, std::size_t slots, Replacement replacement) {
  return {grid, slots, make_replacement(replacement, grid, {}), {}};
}

std::uint32_t visit(OnDemandShadow& shadow, std::vector<ExpertIndex> order) {
  std::vector<ExpertIndex> used = order;
  std::sort(used.begin(), used.end());
  return shadow.visit(0, used, order);
}

TEST(OnDemandShadow, LoadsWhatIsMissingInPlaceOfWhatIsWorthLeast) {
  OnDemandShadow shadow = shadow_of({0, 1, 4}, 2, Replacement::kLru);
  EXPECT_EQ(visit(shadow, {0}), 1U);
  EXPECT_EQ(visit(shadow, {1}), 1U);
  EXPECT_EQ(visit(shadow, {0}), 0U);
  EXPECT_EQ(visit(shadow, {2}), 1U);  // in place of 1, used longer ago
  EXPECT_TRUE(shadow.holds(0));
  EXPECT_FALSE(shadow.holds(1));
  EXPECT_TRUE(shadow.holds(2));
}

// Two slots, three experts: the third is loaded when the first has been computed, in its place.
TEST(OnDemandShadow, APassOfMoreExpertsThanSlotsLeavesTheLastOnes) {
  OnDemandShadow shadow = shadow_of({0, 1, 4}, 2, Replacement::kLru);
  EXPECT_EQ(visit(shadow, {3, 1, 2}), 3U);
  EXPECT_FALSE(shadow.holds(3));
  EXPECT_TRUE(shadow.holds(1));
  EXPECT_TRUE(shadow.holds(2));
}

// What it says it would have missed is what a pipeline without forecasts does miss, whatever is routed.
RC_GTEST_PROP(OnDemandShadow, MissesWhatAPipelineWithoutForecastsMisses, ()) {
  constexpr ExpertGrid kGrid{1, 4, 8};
  const auto slots = *rc::gen::inRange<std::size_t>(1, 40);
  const auto seed = *rc::gen::arbitrary<std::uint32_t>();
  const auto replacement = *rc::gen::element(Replacement::kNextUse, Replacement::kLru, Replacement::kLifo,
                                             Replacement::kLfu, Replacement::kLayerDistance, Replacement::kStatic);
  std::mt19937 random(seed);
  OnDemandShadow shadow = shadow_of(kGrid, slots, replacement);
  SimulatedLoader loader(slots, 1000, {0.0, 0.0});
  ExpertPipeline pipeline(kGrid, slots, {true, false, 1000, 100}, loader, make_replacement(replacement, kGrid, {}),
                          nullptr, {});
  const auto pass = [&](model::MoeLayer layer, std::size_t tokens) {
    std::vector<model::RoutingDecision> decisions;
    std::vector<std::uint32_t> count(kGrid.experts);
    for (std::size_t token = 0; token < tokens; ++token) {
      decisions.push_back({static_cast<std::uint16_t>(random() % 5 + random() % 4), false, 1.0F});
      ++count[decisions.back().expert];
    }
    std::vector<ExpertIndex> used;
    for (std::uint32_t number = 0; number < kGrid.experts; ++number) {
      if (count[number] > 0) used.push_back(kGrid.expert(kGrid.layer(layer), number));
    }
    std::vector<ExpertIndex> order = used;
    std::stable_sort(order.begin(), order.end(), [&](ExpertIndex a, ExpertIndex b) {
      return count[kGrid.number_of(a)] > count[kGrid.number_of(b)];
    });
    const std::uint64_t before = pipeline.statistics().encoder.misses + pipeline.statistics().decoder.misses;
    const std::vector<std::uint32_t> rows(tokens);
    pipeline.routed(layer, decisions, rows);
    while (auto work = pipeline.next()) {
      loader.finish(work->pin.slot());
      pipeline.done(std::move(*work));
    }
    const std::uint64_t after = pipeline.statistics().encoder.misses + pipeline.statistics().decoder.misses;
    RC_ASSERT(after - before == shadow.visit(kGrid.layer(layer), used, order));
    for (ExpertIndex expert = 0; expert < kGrid.size(); ++expert) {
      RC_ASSERT(pipeline.pool().find(expert).has_value() == shadow.holds(expert));
    }
  };
  for (int example = 0; example < 3; ++example) {
    pipeline.begin_batch(1);
    shadow.begin_example();
    pass({model::Stack::kEncoder, 0}, 20);
    for (int token = 0; token < 12; ++token) {
      for (std::uint32_t layer = 0; layer < 4; ++layer) pass({model::Stack::kDecoder, layer}, 1 + random() % 3);
    }
  }
}

}  // namespace
}  // namespace flame::experts
