#include "flame/routing/drift.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

namespace flame::routing {
namespace {

DriftMeter run(double promised, double kept, int predictions) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> uniform;
  DriftMeter meter;
  const std::array<RankedExpert, 2> ranked = {{{3, static_cast<float>(promised) - 0.1F}, {5, 0.1F}}};
  for (int i = 0; i < predictions; ++i) {
    const bool hit = uniform(random) < kept;
    meter.add(ranked, hit ? static_cast<std::uint16_t>(i % 2 == 0 ? 3 : 5) : std::uint16_t{0});
  }
  return meter;
}

TEST(DriftMeter, ReportsNothingBeforeThePredictions) {
  const DriftMeter::Report report = DriftMeter().report();
  EXPECT_EQ(report.predictions, 0U);
  EXPECT_FALSE(report.drifted());
}

TEST(DriftMeter, FindsKeptPromisesKept) {
  const DriftMeter::Report report = run(0.7, 0.7, 5000).report();
  EXPECT_EQ(report.predictions, 5000U);
  EXPECT_NEAR(report.promised, 0.7, 1e-5);
  EXPECT_NEAR(report.observed, 0.7, 0.03);
  EXPECT_LT(std::abs(report.z), 4.0);
  EXPECT_FALSE(report.drifted());
}

TEST(DriftMeter, FindsBrokenPromises) {
  const DriftMeter::Report report = run(0.8, 0.4, 500).report();
  EXPECT_LT(report.z, -10.0);
  EXPECT_TRUE(report.drifted());
}

TEST(DriftMeter, DoesNotTakeFewBrokenPromisesForDrift) { EXPECT_FALSE(run(0.8, 0.0, 3).report().drifted()); }

TEST(DriftMeter, StartsOver) {
  DriftMeter meter = run(0.8, 0.0, 100);
  meter.reset();
  EXPECT_EQ(meter.report().predictions, 0U);
}

}  // namespace
}  // namespace flame::routing
