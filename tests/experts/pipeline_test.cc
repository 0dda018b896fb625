#include "flame/experts/pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <functional>
#include <random>

#include "flame/experts/simulated_loader.h"

namespace flame::experts {
namespace {

using model::RoutingDecision;
using model::Stack;

constexpr ExpertGrid kGrid{1, 4, 8};
constexpr std::uint64_t kExpertBytes = 1000;
constexpr double kGap = 2.0;

/// A predictor whose ranking is a function of the layer, for forecasts that are known to be right, wrong or vague.
class ScriptedPredictor final : public routing::Predictor {
 public:
  using Script = std::function<std::vector<routing::RankedExpert>(std::uint32_t layer)>;
  explicit ScriptedPredictor(Script script) : script_(std::move(script)) {}

  void begin(std::size_t) override {}
  void reorder(std::span<const std::uint32_t>) override {}
  void observe(std::size_t, std::uint32_t, std::uint16_t) override {}
  std::size_t rank(std::size_t, std::uint32_t layer, std::span<routing::RankedExpert> out) override {
    const auto ranking = script_(layer);
    std::copy(ranking.begin(), ranking.end(), out.begin());
    return ranking.size();
  }
  [[nodiscard]] routing::PredictorCost cost(std::size_t) const override { return {}; }
  [[nodiscard]] std::string name() const override { return "scripted"; }

 private:
  Script script_;
};

/// Drives a pipeline over decoder routings in simulated time, checking the rules at every step.
class Drive {
 public:
  Drive(std::size_t slots, const StorageTimes& times, const PipelineOptions& options,
        std::unique_ptr<Forecaster> forecaster, Replacement replacement = Replacement::kNextUse)
      : loader_(slots, kExpertBytes, times),
        pipeline_(kGrid, slots, options, loader_, make_replacement(replacement, kGrid, {}), std::move(forecaster), {}) {
    pipeline_.begin_batch(1);
  }

  /// One pass: `experts` are the tokens' choices.
  void pass(model::MoeLayer layer, const std::vector<std::uint16_t>& experts, double compute = 0.5) {
    std::vector<RoutingDecision> decisions;
    for (const std::uint16_t expert : experts) decisions.push_back({expert, false, 1.0F});
    const std::vector<std::uint32_t> sequence(decisions.size(), 0);
    pipeline_.routed(layer, decisions, sequence);
    std::vector<bool> computed(kGrid.experts);
    while (auto work = pipeline_.next()) {
      const SlotIndex slot = work->pin.slot();
      EXPECT_EQ(pipeline_.pool().expert_in(slot), work->expert);
      EXPECT_FALSE(computed[kGrid.number_of(work->expert)]);
      computed[kGrid.number_of(work->expert)] = true;
      if (!work->whole) {
        const double begin = loader_.now();
        loader_.finish(slot);
        pipeline_.waited(loader_.now() - begin);
      }
      loader_.advance(compute);
      // It was neither evicted nor replaced while it was in use.
      EXPECT_EQ(pipeline_.pool().expert_in(slot), work->expert);
      pipeline_.done(std::move(*work));
    }
    for (std::uint16_t number = 0; number < kGrid.experts; ++number) {
      EXPECT_EQ(computed[number], std::count(experts.begin(), experts.end(), number) > 0);
    }
    loader_.advance(kGap - compute);
  }
  void decoder_pass(std::uint32_t layer, std::uint16_t expert) { pass({Stack::kDecoder, layer}, {expert}); }

  SimulatedLoader loader_;
  ExpertPipeline pipeline_;
};

std::unique_ptr<Forecaster> forecaster(ScriptedPredictor::Script script) {
  return std::make_unique<Forecaster>(std::make_unique<ScriptedPredictor>(std::move(script)), kGrid, 3);
}

PipelineOptions options(bool always = false) { return {true, always, kExpertBytes, 100}; }

std::vector<routing::RankedExpert> certain(std::uint16_t expert) { return {{expert, 1.0F}}; }

/// Every layer's experts, equally likely.
std::vector<routing::RankedExpert> uniform() {
  std::vector<routing::RankedExpert> ranking;
  for (std::uint16_t expert = 0; expert < kGrid.experts; ++expert) ranking.push_back({expert, 0.125F});
  return ranking;
}

TEST(ExpertPipeline, WithoutAForecasterItLoadsOnDemandOnly) {
  Drive drive(8, {1.0, 0.1}, options(), nullptr);
  for (std::uint32_t layer = 0; layer < 4; ++layer) drive.decoder_pass(layer, 2);
  for (std::uint32_t layer = 0; layer < 4; ++layer) drive.decoder_pass(layer, 2);
  const PipelineStatistics statistics = drive.pipeline_.statistics();
  EXPECT_EQ(statistics.decoder.misses, 4U);
  EXPECT_EQ(statistics.decoder.hits, 4U);
  EXPECT_EQ(statistics.bytes_demand, 4 * kExpertBytes);
  EXPECT_EQ(statistics.loads_prefetch, 0U);
  EXPECT_DOUBLE_EQ(statistics.wait_seconds, 4.0);
}

TEST(ExpertPipeline, ARightForecastHidesEveryLoadButTheFirst) {
  int token = 0;
  Drive drive(3, {1.0, 0.1}, options(), forecaster([&](std::uint32_t layer) {
                return certain(static_cast<std::uint16_t>((layer + static_cast<unsigned>(token)) % 8));
              }));
  for (token = 0; token < 20; ++token) {
    for (std::uint32_t layer = 0; layer < 4; ++layer) {
      drive.decoder_pass(layer, static_cast<std::uint16_t>((layer + static_cast<unsigned>(token)) % 8));
    }
  }
  const PipelineStatistics statistics = drive.pipeline_.statistics();
  EXPECT_EQ(statistics.decoder.all(), 80U);
  // Across a token's border the script is told the old token: those forecasts are wrong until `token` has moved on.
  EXPECT_GE(statistics.decoder.hits, 58U);
}

TEST(ExpertPipeline, APrefetchThatIsStillLoadingIsLateAndGoesOnAsDemand) {
  Drive drive(4, {3.0, 0.1}, options(), forecaster([](std::uint32_t) { return certain(5); }));
  drive.decoder_pass(0, 5);
  drive.decoder_pass(1, 5);
  const PipelineStatistics statistics = drive.pipeline_.statistics();
  EXPECT_EQ(statistics.decoder.late, 2U);  // layer 0's load began with the batch
  EXPECT_EQ(statistics.bytes_prefetch_used, 2 * kExpertBytes);
  EXPECT_LT(statistics.wait_seconds, 6.0);
}

/// A storage that fails every load while it is told to.
class FailingLoader final : public ExpertLoader {
 public:
  explicit FailingLoader(std::size_t slots) : base_(slots, kExpertBytes, {1.0, 0.1}) {}
  [[nodiscard]] double now() override { return base_.now(); }
  void start(SlotIndex slot, ExpertIndex expert, io::ReadPriority priority, std::uint64_t rank) override {
    if (priority == io::ReadPriority::kPrefetch) prefetched.push_back(expert);
    base_.start(slot, expert, priority, rank);
  }
  void set_rank(SlotIndex slot, std::uint64_t rank) override { base_.set_rank(slot, rank); }
  void promote(SlotIndex slot) override { base_.promote(slot); }
  void cancel(SlotIndex slot) override { base_.cancel(slot); }
  [[nodiscard]] double progress(SlotIndex slot) override { return base_.progress(slot); }
  std::optional<LoadEnd> poll() override {
    std::optional<LoadEnd> end = base_.poll();
    if (end && failing) end->outcome = LoadEnd::Outcome::kFailed;
    return end;
  }
  void wait() override { base_.wait(); }
  [[noreturn]] void fail(SlotIndex, ExpertIndex) override { throw std::runtime_error("failed"); }

  SimulatedLoader base_;
  bool failing = false;
  std::vector<ExpertIndex> prefetched;
};

TEST(ExpertPipeline, AfterAFailedPrefetchOnlyDemandTriesUntilItHasSucceeded) {
  FailingLoader loader(1);
  ExpertPipeline pipeline(
      kGrid, 1, options(true), loader, make_replacement(Replacement::kNextUse, kGrid, {}),
      forecaster([](std::uint32_t layer) { return layer == 0 ? certain(5) : std::vector<routing::RankedExpert>{}; }),
      {});
  const ExpertIndex promised = kGrid.expert(kGrid.encoder_layers, 5);
  const auto tries = [&](ExpertIndex expert) {
    return std::count(loader.prefetched.begin(), loader.prefetched.end(), expert);
  };
  // The encoder's experts come first; in so many batches, all that is worth loading has been begun.
  const auto batches = [&] {
    for (int batch = 0; batch < 20; ++batch) {
      pipeline.begin_batch(1);
      loader.base_.advance(10.0);
      pipeline.settle();
    }
  };
  const auto decode = [&](std::uint16_t expert) {
    const RoutingDecision decision{expert, false, 1.0F};
    const std::uint32_t row = 0;
    pipeline.routed({Stack::kDecoder, 0}, {&decision, 1}, {&row, 1});
    std::optional<ExpertWork> work = pipeline.next();
    ASSERT_TRUE(work.has_value());
    loader.base_.finish(work->pin.slot());
    pipeline.done(std::move(*work));
  };
  loader.failing = true;
  batches();
  for (ExpertIndex expert = 0; expert < kGrid.size(); ++expert) EXPECT_LE(tries(expert), 1) << expert;
  EXPECT_EQ(tries(promised), 1);
  loader.failing = false;
  batches();
  EXPECT_EQ(tries(promised), 1);
  decode(5);
  decode(3);  // in its place
  batches();
  EXPECT_EQ(tries(promised), 2);
}

TEST(ExpertPipeline, LoadAllLeavesNothingToLoad) {
  FailingLoader loader(kGrid.size());
  ExpertPipeline pipeline(kGrid, kGrid.size(), options(), loader, make_replacement(Replacement::kNextUse, kGrid, {}),
                          nullptr, {});
  pipeline.load_all();
  EXPECT_EQ(pipeline.pool().count(SlotState::kReady), kGrid.size());
  EXPECT_EQ(pipeline.statistics().loads_demand, kGrid.size());
  pipeline.load_all();
  EXPECT_EQ(pipeline.statistics().loads_demand, kGrid.size());

  FailingLoader broken(kGrid.size());
  broken.failing = true;
  ExpertPipeline without(kGrid, kGrid.size(), options(), broken, make_replacement(Replacement::kNextUse, kGrid, {}),
                         nullptr, {});
  EXPECT_THROW(without.load_all(), std::runtime_error);
}

TEST(ExpertPipeline, WorksWithOneSlotAndManyTokens) {
  Drive drive(1, {1.0, 0.1}, options(), forecaster([](std::uint32_t) { return uniform(); }));
  drive.pass({Stack::kEncoder, 0}, {0, 1, 2, 3, 4, 5, 6, 7, 0, 0});
  for (std::uint32_t layer = 0; layer < 4; ++layer) drive.pass({Stack::kDecoder, layer}, {3, 4, 3});
  EXPECT_EQ(drive.pipeline_.statistics().encoder.all(), 8U);
  EXPECT_EQ(drive.pipeline_.statistics().decoder.all(), 8U);
}

TEST(ExpertPipeline, DroppedTokensWantNoExpert) {
  Drive drive(2, {1.0, 0.1}, options(), nullptr);
  const std::vector<RoutingDecision> decisions{{1, true, 0.5F}};
  const std::vector<std::uint32_t> sequence{0};
  drive.pipeline_.routed({Stack::kEncoder, 0}, decisions, sequence);
  EXPECT_FALSE(drive.pipeline_.next().has_value());
  EXPECT_EQ(drive.pipeline_.statistics().encoder.all(), 0U);
}

// Whatever is routed, forecast and configured: every wanted expert is computed once, whole and in place (Drive checks),
// every lookup is counted once, and the bytes by reason add up to the bytes that were moved.
RC_GTEST_PROP(ExpertPipeline, KeepsItsRulesUnderAnyRouting, ()) {
  const auto slots = *rc::gen::inRange<std::size_t>(1, 12);
  const double load = *rc::gen::element(0.0, 0.3, 1.0, 5.0);
  const auto seed = *rc::gen::arbitrary<std::uint32_t>();
  const auto replacement = *rc::gen::element(Replacement::kNextUse, Replacement::kLru, Replacement::kLifo,
                                             Replacement::kLfu, Replacement::kLayerDistance, Replacement::kStatic);
  const bool always = *rc::gen::arbitrary<bool>();
  std::mt19937 random(seed);
  Drive drive(slots, {load, load / 10}, options(always), forecaster([&](std::uint32_t) {
                return random() % 3 == 0 ? uniform() : certain(static_cast<std::uint16_t>(random() % 8));
              }),
              replacement);
  std::uint64_t lookups = 0;
  const auto random_pass = [&](model::MoeLayer layer, std::size_t most_tokens) {
    std::vector<std::uint16_t> experts(1 + random() % most_tokens);
    for (std::uint16_t& expert : experts) expert = static_cast<std::uint16_t>(random() % 8);
    drive.pass(layer, experts);
    std::sort(experts.begin(), experts.end());
    lookups += static_cast<std::uint64_t>(std::unique(experts.begin(), experts.end()) - experts.begin());
  };
  for (int example = 0; example < 3; ++example) {
    drive.pipeline_.begin_batch(1);
    random_pass({Stack::kEncoder, 0}, 20);
    for (int token = 0; token < 5; ++token) {
      for (std::uint32_t layer = 0; layer < 4; ++layer) random_pass({Stack::kDecoder, layer}, 3);
    }
  }
  drive.loader_.advance(1000.0);
  drive.pipeline_.collect();
  const PipelineStatistics s = drive.pipeline_.statistics();
  RC_ASSERT(s.encoder.all() + s.decoder.all() == lookups);
  const std::uint64_t bytes = s.bytes_demand + s.bytes_prefetch_used + s.bytes_prefetch_wasted + s.bytes_prefetch_open;
  const double moved = load > 0.0 ? drive.loader_.busy_seconds() / load * kExpertBytes
                                  : static_cast<double>((s.loads_demand + s.loads_prefetch) * kExpertBytes);
  RC_ASSERT(std::abs(static_cast<double>(bytes) - moved) <= static_cast<double>(s.loads_demand + s.loads_prefetch + 1));
}

/// Simulated seconds of `tokens` tokens whose routing `route` gives, with a forecaster or on demand.
double seconds_of(int tokens, std::size_t slots, double load, std::unique_ptr<Forecaster> with,
                  const std::function<std::uint16_t()>& route) {
  Drive drive(slots, {load, load / 25}, options(), std::move(with));
  for (int token = 0; token < tokens; ++token) {
    for (std::uint32_t layer = 0; layer < 4; ++layer) drive.decoder_pass(layer, route());
  }
  return drive.loader_.now();
}

// Nothing is forecast, or every expert has a slot: there is nothing to be compared.
TEST(ExpertPipeline, LooksBackOnlyWhereForecastsCanCostSomething) {
  const auto script = [](std::uint32_t) { return certain(1); };
  EXPECT_EQ(Drive(8, {1.0, 0.1}, options(), nullptr).pipeline_.hindsight(), nullptr);
  EXPECT_EQ(Drive(8, {1.0, 0.1}, options(true), forecaster(script)).pipeline_.hindsight(), nullptr);
  EXPECT_EQ(Drive(kGrid.size(), {1.0, 0.1}, options(), forecaster(script)).pipeline_.hindsight(), nullptr);
  EXPECT_NE(Drive(8, {1.0, 0.1}, options(), forecaster(script)).pipeline_.hindsight(), nullptr);
}

// What on-demand loading would have waited, by hindsight, is what it does wait.
TEST(ExpertPipeline, KnowsWhatLoadingOnDemandWouldHaveWaited) {
  for (const std::size_t slots : {1U, 4U, 12U, 24U}) {
    std::mt19937 random(slots);
    Drive demand(slots, {3.0, 0.1}, options(), nullptr);
    int token = 0;
    Drive ahead(slots, {3.0, 0.1}, options(), forecaster([&](std::uint32_t layer) {
                  return certain(static_cast<std::uint16_t>((layer * 3 + static_cast<unsigned>(token)) % 8));
                }));
    for (token = 0; token < 300; ++token) {
      for (std::uint32_t layer = 0; layer < 4; ++layer) {
        const bool as_said = random() % 4 != 0;
        const auto expert =
            static_cast<std::uint16_t>(as_said ? (layer * 3 + static_cast<unsigned>(token)) % 8 : random() % 8);
        demand.pass({Stack::kDecoder, layer}, {expert}, 0.0);
        ahead.pass({Stack::kDecoder, layer}, {expert}, 0.0);
      }
    }
    const double waited = demand.pipeline_.statistics().wait_seconds;
    EXPECT_NEAR(ahead.pipeline_.statistics().on_demand_wait_seconds, waited, 0.002 * waited) << slots;
    EXPECT_LT(ahead.pipeline_.statistics().wait_seconds, waited);
  }
}

// Forecasts that have cost too much are set aside: then the slots come to hold what they would on demand, at the cost
// of no more loads than there are slots, and stay so.
TEST(ExpertPipeline, WhileForecastsAreSetAsideItDoesWhatLoadingOnDemandDoes) {
  constexpr std::size_t kSlots = 16;
  std::mt19937 random(5);
  Drive drive(kSlots, {70.0, 2.0}, options(),
              forecaster([&](std::uint32_t) { return certain(static_cast<std::uint16_t>(4 + random() % 4)); }));
  const ExpertPipeline& pipeline = drive.pipeline_;
  const auto token = [&] {
    for (std::uint32_t layer = 0; layer < 4; ++layer) {
      drive.decoder_pass(layer, static_cast<std::uint16_t>(random() % 4));
    }
  };
  for (int tokens = 0; tokens < 1000 && pipeline.hindsight()->follows_forecasts(); ++tokens) token();
  ASSERT_FALSE(pipeline.hindsight()->follows_forecasts());
  const PipelineStatistics before = pipeline.statistics();
  const auto lacking = [&] {
    std::size_t experts = 0;
    for (ExpertIndex expert = 0; expert < kGrid.size(); ++expert) {
      const bool there = pipeline.pool().find(expert).has_value();
      experts += pipeline.hindsight()->shadow().holds(expert) && !there ? 1 : 0;
    }
    return experts;
  };
  std::size_t last = lacking();
  for (int tokens = 0; tokens < 200; ++tokens) {
    token();
    ASSERT_FALSE(pipeline.hindsight()->follows_forecasts());
    EXPECT_LE(lacking(), last);
    last = lacking();
  }
  EXPECT_EQ(last, 0U);
  const PipelineStatistics after = pipeline.statistics();
  EXPECT_LE(after.loads_demand - before.loads_demand, kSlots);
  EXPECT_EQ(after.loads_prefetch, before.loads_prefetch);
  EXPECT_EQ(after.passes_set_aside - before.passes_set_aside, 800U);
}

// Published systems lose time by acting on forecasts when the storage is busy or the forecast is wrong.
class NeverSlower : public testing::TestWithParam<std::tuple<double, std::size_t>> {};

TEST_P(NeverSlower, UniformRoutingLosesAtMostOnePercent) {
  const auto [load, slots] = GetParam();
  constexpr int kTokens = 10'000;  // which experts happen to be kept is worth 2 % of the time of 500
  std::mt19937 a(1);
  std::mt19937 b(1);
  const double demand = seconds_of(kTokens, slots, load, nullptr, [&] { return static_cast<std::uint16_t>(a() % 8); });
  const double ahead = seconds_of(kTokens, slots, load, forecaster([](std::uint32_t) { return uniform(); }),
                                  [&] { return static_cast<std::uint16_t>(b() % 8); });
  EXPECT_LE(ahead, 1.01 * demand);
}

TEST_P(NeverSlower, APredictorThatIsAlwaysWrongLosesAtMostOnePercent) {
  const auto [load, slots] = GetParam();
  // Some loads go by till it is found out: 1 % of a run of 4,800 loads' time are more.
  const int tokens = static_cast<int>(std::max(500.0, 600.0 * load));
  // The routing stays in experts 0 to 3 of a layer; the predictor swears by one of the others.
  std::mt19937 a(2);
  std::mt19937 b(2);
  std::mt19937 c(3);
  const double demand = seconds_of(tokens, slots, load, nullptr, [&] { return static_cast<std::uint16_t>(a() % 4); });
  const double ahead = seconds_of(
      tokens, slots, load, forecaster([&](std::uint32_t) { return certain(static_cast<std::uint16_t>(4 + c() % 4)); }),
      [&] { return static_cast<std::uint16_t>(b() % 4); });
  EXPECT_LE(ahead, 1.01 * demand);
}

INSTANTIATE_TEST_SUITE_P(Storage, NeverSlower,
                         testing::Combine(testing::Values(0.4, 1.0, 2.0, 10.0, 70.0),
                                          testing::Values(1, 4, 8, 16, 24, 30)));

}  // namespace
}  // namespace flame::experts
