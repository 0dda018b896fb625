#include "flame/experts/cost_model.h"

#include <gtest/gtest.h>

namespace flame::experts {
namespace {

constexpr ExpertGrid kGrid{1, 2, 4};
constexpr LayerIndex kEncoder = 0;
constexpr LayerIndex kDecoder = 1;

TEST(CostModel, WithoutAMeasurementAStorageOfAGigabyteASecondIsAssumed) {
  const CostModel costs(kGrid, 3'000'000, {1});
  EXPECT_FALSE(costs.has_measured_load());
  EXPECT_DOUBLE_EQ(costs.load_seconds(), 3e-3);
  EXPECT_DOUBLE_EQ(costs.load_seconds(kDecoder), 3e-3);
}

TEST(CostModel, ExpertsOfEncoderAndDecoderMayTakeDifferentlyLong) {
  CostModel costs(kGrid, 1000, {100});
  for (int i = 0; i < 20; ++i) costs.observe_load(kEncoder, 4.0);
  EXPECT_DOUBLE_EQ(costs.load_seconds(kDecoder), 4.0);  // nothing better is known
  costs.observe_load(kDecoder, 1.0);
  EXPECT_DOUBLE_EQ(costs.load_seconds(kEncoder), 4.0);
  EXPECT_DOUBLE_EQ(costs.load_seconds(kDecoder), 1.0);
  EXPECT_DOUBLE_EQ(costs.seconds_at_once(kDecoder, 3), 3.0);
}

TEST(CostModel, DemandWaitsForALargerChunkOfAFasterStorage) {
  CostModel costs(kGrid, 1000, {100, 200, 500.0});
  costs.observe_load(kDecoder, 4.0);
  EXPECT_DOUBLE_EQ(costs.chunk_seconds(), 0.4);
  CostModel fast(kGrid, 1000, {100, 200, 500.0});
  fast.observe_load(kDecoder, 2.0);
  EXPECT_DOUBLE_EQ(fast.chunk_seconds(), 0.4);
  const ChunkBytes chunks{100, 200, 500.0};
  EXPECT_EQ(chunks.at(499.0), 100U);
  EXPECT_EQ(chunks.at(500.0), 200U);
}

// A storage of 1 s of latency and 1 s of transfer an expert: five at once take 6 s, not 10.
TEST(CostModel, LatencyPassesForLoadsAtOnceTogether) {
  CostModel costs(kGrid, 1000, {100});
  costs.observe_load(kEncoder, 2.0);
  EXPECT_DOUBLE_EQ(costs.seconds_at_once(kEncoder, 5), 10.0);
  costs.observe_loads_at_once(kEncoder, 3.0, 4.0);
  EXPECT_DOUBLE_EQ(costs.seconds_at_once(kEncoder, 5), 6.0);
  EXPECT_DOUBLE_EQ(costs.seconds_at_once(kEncoder, 1), 2.0);
  EXPECT_DOUBLE_EQ(costs.seconds_at_once(kEncoder, 0), 0.0);
}

// Whatever else held the loads up: each takes no longer than one that had the storage to itself, and no less than
// nothing.
TEST(CostModel, FurtherLoadsTakeNoLongerThanTheFirst) {
  CostModel costs(kGrid, 1000, {100});
  costs.observe_load(kEncoder, 2.0);
  costs.observe_loads_at_once(kEncoder, 2.0, 50.0);
  EXPECT_DOUBLE_EQ(costs.seconds_at_once(kEncoder, 2), 4.0);
  CostModel parts(kGrid, 1000, {100});
  parts.observe_load(kEncoder, 2.0);
  parts.observe_loads_at_once(kEncoder, 2.0, 1.0);
  EXPECT_DOUBLE_EQ(parts.seconds_at_once(kEncoder, 2), 2.0);
}

}  // namespace
}  // namespace flame::experts
