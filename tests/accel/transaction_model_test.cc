#include "flame/accel/transaction_model.h"

#include <gtest/gtest.h>

#include <random>

#ifdef FLAME_TEST_RTL

namespace flame::accel {
namespace {

/// Skewed routing with memory of the last two decisions, and the table that knows it.
struct Source {
  static constexpr std::size_t kLayers = 3, kExperts = 8;
  RoutingReplay replay{kLayers, kExperts, {}, {}};
  std::vector<TableEntry> table;

  static std::size_t usual(std::size_t layer, std::size_t before, std::size_t last) {
    return (before * 5 + last * 3 + layer) % kExperts;
  }

  Source() {
    std::mt19937 random(3);
    std::size_t before = 0;
    std::size_t last = 0;
    for (std::size_t step = 0; step < 60; ++step) {
      replay.example.push_back(static_cast<std::int32_t>(step / 20));
      for (std::size_t layer = 0; layer < kLayers; ++layer) {
        const std::size_t expert = random() % 4 == 0 ? random() % kExperts : usual(layer, before, last);
        replay.decisions.push_back(static_cast<std::uint16_t>(expert));
        before = last;
        last = expert;
      }
    }
    for (std::size_t layer = 0; layer < kLayers; ++layer) {
      for (std::uint8_t a = 0; a < kExperts; ++a) {
        for (std::uint8_t b = 0; b < kExperts; ++b) {
          table.push_back({layer, {a, b}, {static_cast<std::uint8_t>(usual(layer, a, b)), b}});
        }
      }
    }
  }
};

TEST(TransactionModel, IsWithinFivePercentOfTheRtlAndCountsTheSameWithoutPrediction) {
  const Source source;
  for (const auto& [n, m] : {std::pair{1U, 1U}, {2U, 4U}, {1U, 4U}}) {
    for (const std::size_t prefetches : {0U, 2U}) {
      for (const std::size_t slots : {3U, 8U, 4U}) {
        AcceleratorBenchOptions options;
        options.configuration = RtlConfiguration::kLanes64;
        options.d_model = 128;
        options.d_ff = 512;
        options.slots = slots;
        options.pattern = DevicePattern::from(n, m);
        options.policy = {.order = 2, .prefetch_count = prefetches, .path_layers = 3, .wait_for_whole = slots == 4};
        options.table = source.table;
        options.dense_cycles = slots == 3 ? 0 : 1500;
        const AcceleratorBenchResult rtl = run_accelerator_bench(options, source.replay);
        const AcceleratorBenchResult model = run_transaction_model(options, source.replay);
        SCOPED_TRACE(options.pattern.name() + " prefetches " + std::to_string(prefetches) + " slots " +
                     std::to_string(slots));
        EXPECT_NEAR(model.cycles_per_token / rtl.cycles_per_token, 1.0, 0.05);
        const auto of_rtl = rtl.counters.lookups();
        const auto of_model = model.counters.lookups();
        EXPECT_EQ(of_rtl.hits + of_rtl.late + of_rtl.misses, of_model.hits + of_model.late + of_model.misses);
        if (prefetches == 0) {
          EXPECT_EQ(of_rtl.hits, of_model.hits);
        }
      }
    }
  }
}

TEST(TransactionModel, IsWithinFivePercentOfTheRtlWithNarrowPortsToo) {
  const Source source;
  for (const auto& [n, m] : {std::pair{1U, 1U}, {2U, 4U}}) {
    for (const std::size_t prefetches : {0U, 2U}) {
      AcceleratorBenchOptions options;
      options.configuration = RtlConfiguration::kLanes16;
      options.d_model = 128;
      options.d_ff = 256;
      options.slots = 3;
      options.pattern = DevicePattern::from(n, m);
      options.policy = {.order = 2, .prefetch_count = prefetches, .path_layers = 3};
      options.table = source.table;
      const AcceleratorBenchResult rtl = run_accelerator_bench(options, source.replay);
      const AcceleratorBenchResult model = run_transaction_model(options, source.replay);
      SCOPED_TRACE(options.pattern.name() + " prefetches " + std::to_string(prefetches));
      EXPECT_NEAR(model.cycles_per_token / rtl.cycles_per_token, 1.0, 0.05);
    }
  }
}

TEST(AcceleratorBench, BeladyIsAtLeastAnyOtherReplacementAndExactOnATextbookCase) {
  // Three experts in turn and two slots: every other lookup can be saved once the slots are full.
  RoutingReplay replay{1, 3, {0, 1, 2, 0, 1, 2, 0, 1, 2, 0}, std::vector<std::int32_t>(10, 0)};
  EXPECT_DOUBLE_EQ(belady_hit_ratio(replay, 2, 0), 0.4);  // 0 1 2 0* 1 2* 0 1* 2 0*
  EXPECT_DOUBLE_EQ(belady_hit_ratio(replay, 3, 3), 1.0);
  const Source source;
  for (const std::size_t slots : {1U, 3U, 8U, 24U}) {
    AcceleratorBenchOptions options;
    options.configuration = RtlConfiguration::kLanes64;
    options.d_model = 128;
    options.d_ff = 512;
    options.slots = slots;
    EXPECT_GE(belady_hit_ratio(source.replay, slots, 0),
              run_transaction_model(options, source.replay).counters.lookups().hit_ratio());
  }
}

TEST(AcceleratorBench, SparseExpertsAreAsMuchFasterAsTheirPatternAllows) {
  RoutingReplay replay{1, 1, std::vector<std::uint16_t>(6, 0), std::vector<std::int32_t>(6, 0)};
  AcceleratorBenchOptions options;
  options.configuration = RtlConfiguration::kLanes64;
  options.d_model = 256;
  options.d_ff = 1024;
  options.all_resident = true;
  const double dense = run_accelerator_bench(options, replay).moe_cycles_per_token;
  options.pattern = DevicePattern::from(2, 4);
  const AcceleratorBenchResult half = run_accelerator_bench(options, replay);
  options.pattern = DevicePattern::from(1, 4);
  const double quarter = run_accelerator_bench(options, replay).moe_cycles_per_token;
  EXPECT_GE(dense / half.moe_cycles_per_token, 1.9);
  EXPECT_GE(dense / quarter, 3.4);
  EXPECT_GE(half.array_busy, 0.95);
}

}  // namespace
}  // namespace flame::accel

#endif  // FLAME_TEST_RTL
