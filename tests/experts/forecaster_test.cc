#include "flame/experts/forecaster.h"

#include <gtest/gtest.h>

namespace flame::experts {
namespace {

constexpr ExpertGrid kGrid{1, 2, 4};

/// Ranks expert 3, then expert 1, in every layer.
class Stubborn final : public routing::Predictor {
 public:
  void begin(std::size_t) override {}
  void reorder(std::span<const std::uint32_t>) override {}
  void observe(std::size_t, std::uint32_t, std::uint16_t) override {}
  std::size_t rank(std::size_t, std::uint32_t, std::span<routing::RankedExpert> out) override {
    const routing::RankedExpert ranking[] = {{3, 0.5F}, {1, 0.3F}, {0, 0.1F}, {2, 0.1F}};
    std::copy_n(ranking, out.size(), out.begin());
    return out.size();
  }
  [[nodiscard]] routing::PredictorCost cost(std::size_t) const override { return {}; }
  [[nodiscard]] std::string name() const override { return "stubborn"; }
};

class ForecasterTest : public testing::Test {
 protected:
  /// The routers of one token: row r of `layer` takes experts[r].
  void decide(std::uint32_t layer, const std::vector<std::uint16_t>& experts) {
    std::vector<model::RoutingDecision> decisions;
    std::vector<std::uint32_t> rows;
    std::vector<ExpertIndex> used;
    for (const std::uint16_t expert : experts) {
      rows.push_back(static_cast<std::uint32_t>(decisions.size()));
      decisions.push_back({expert, false, 1.0F});
      used.push_back(kGrid.expert(kGrid.encoder_layers + layer, expert));
    }
    outlook_.visit(kGrid.encoder_layers + layer, used);
    forecaster_.observe(layer, decisions, rows);
  }

  Outlook outlook_{kGrid, {}};
  Forecaster forecaster_{std::make_shared<Stubborn>(), kGrid, 2};
};

TEST_F(ForecasterTest, SeveralRowsNeedAnExpertWhenOneOfThemDoes) {
  forecaster_.begin(2);
  outlook_.visit(0, {});
  forecaster_.update(outlook_, 3);
  // Before experience corrects it, in a bin of its own: 1 - 0.5 * 0.5, and 1 - 0.7 * 0.7.
  EXPECT_NEAR(outlook_.probability(kGrid.expert(1, 3)), 0.75, 1e-6);
  EXPECT_NEAR(outlook_.probability(kGrid.expert(1, 1)), 0.51, 1e-6);
}

TEST_F(ForecasterTest, MeasuresWhatTheTwoBestOfTheNextLayerWerePromised) {
  forecaster_.begin(2);
  EXPECT_EQ(forecaster_.drift().predictions, 0U);
  outlook_.visit(0, {});
  forecaster_.update(outlook_, 3);
  decide(0, {3, 2});  // kept, broken
  forecaster_.update(outlook_, 3);
  decide(1, {1, 1});  // kept, kept
  const routing::DriftMeter::Report drift = forecaster_.drift();
  EXPECT_EQ(drift.predictions, 4U);
  EXPECT_NEAR(drift.promised, 0.8, 1e-6);
  EXPECT_NEAR(drift.observed, 0.75, 1e-6);
}

TEST_F(ForecasterTest, HoldsNoRowToThePromisesOfAnother) {
  forecaster_.begin(2);
  outlook_.visit(0, {});
  forecaster_.update(outlook_, 3);
  const std::vector<std::uint32_t> parents{1, 1, 0};
  forecaster_.reorder(parents);
  decide(0, {3, 3, 3});
  EXPECT_EQ(forecaster_.drift().predictions, 0U);
}

}  // namespace
}  // namespace flame::experts
