#include "flame/eval/buffer_ceilings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "experts/tiny_bundle.h"
#include "flame/experts/buffered_device.h"
#include "flame/model/generation.h"

namespace flame::eval {
namespace {

using experts::ExpertIndex;

using Experts = std::vector<ExpertIndex>;

/// The most lookups that find their expert without a load, by trying every order within a pass and every eviction.
int most_by_trying(const std::vector<Experts>& passes, std::size_t slots, const Experts& held, std::size_t at = 0) {
  if (at == passes.size()) return 0;
  const auto in = [](const Experts& some, ExpertIndex expert) {
    return std::find(some.begin(), some.end(), expert) != some.end();
  };
  int kept = 0;
  for (const ExpertIndex expert : passes[at]) kept += in(held, expert) ? 1 : 0;
  int best = 0;
  Experts order = passes[at];
  do {
    const std::function<void(std::size_t, const Experts&)> compute = [&](std::size_t done, const Experts& now) {
      if (done == order.size()) {
        best = std::max(best, most_by_trying(passes, slots, now, at + 1));
        return;
      }
      if (in(now, order[done])) return compute(done + 1, now);
      Experts with = now;
      with.push_back(order[done]);
      if (with.size() <= slots) return compute(done + 1, with);
      for (std::size_t victim = 0; victim < now.size(); ++victim) {
        // What the pass found and has still to compute would have to be loaded again.
        if (in(held, now[victim]) &&
            std::find(order.begin() + static_cast<std::ptrdiff_t>(done), order.end(), now[victim]) != order.end()) {
          continue;
        }
        Experts without = with;
        without.erase(without.begin() + static_cast<std::ptrdiff_t>(victim));
        compute(done + 1, without);
      }
    };
    compute(0, held);
  } while (std::next_permutation(order.begin(), order.end()));
  return kept + best;
}

// Where a pass wants one expert, as in decoding, it is what the best choices reach; where it wants several, no choices
// reach more.
TEST(KeptAtMost, IsTheBestOfAllChoices) {
  std::mt19937 random(3);
  int several_reached = 0;
  for (int trial = 0; trial < 120; ++trial) {
    const bool several = trial % 2 == 1;
    const std::size_t slots = 1 + random() % 3;
    std::vector<Experts> passes;
    experts::UseLog uses;
    for (int i = 0; i < (several ? 6 : 9); ++i) {
      Experts wanted;
      for (ExpertIndex expert = 0; expert < 5; ++expert) {
        if (random() % 3 == 0) wanted.push_back(expert);
      }
      if (wanted.size() > 3) wanted.resize(3);
      if (!several) wanted.assign(1, static_cast<ExpertIndex>(random() % 5));
      uses.add(0, wanted);
      passes.push_back(wanted);
    }
    Experts found;
    for (ExpertIndex expert = 0; expert < 5 && found.size() < slots; ++expert) {
      if (random() % 2 == 0) found.push_back(expert);
    }
    for (const Experts& held : {Experts{}, found}) {
      const std::uint64_t most = kept_at_most(uses, slots, held);
      const auto tried = static_cast<std::uint64_t>(most_by_trying(passes, slots, held));
      EXPECT_GE(most, tried) << "trial " << trial << ", " << slots << " slots";
      EXPECT_TRUE(several || most == tried) << "trial " << trial << ", " << slots << " slots";
      several_reached += several && most == tried ? 1 : 0;
    }
  }
  EXPECT_GT(several_reached, 60) << "of 120: nearly always it is what the best choices reach there, too";
}

/// A model small enough to run many times, on storage that is not at hand at once.
class CeilingsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    model_ = new test::TinyModel;
    bundle_ = new std::shared_ptr<const experts::Bundle>(model_->pack("bundle", "2:4", kernels::PackedType::kInt8));
  }
  static void TearDownTestSuite() {
    delete bundle_;
    delete model_;
  }

  static void generate(experts::BufferedDevice& device, std::uint64_t seed, std::size_t beams) {
    model::Generator generator(model_->config, model_->dense, device);
    model::GenerationOptions options;
    options.max_new_tokens = 8;
    options.num_beams = beams;
    std::mt19937_64 random(seed);
    std::vector<std::vector<std::int32_t>> inputs(1 + random() % 2);
    for (std::vector<std::int32_t>& input : inputs) {
      for (int i = 0; i < 6; ++i) input.push_back(static_cast<std::int32_t>(2 + random() % 190));
    }
    static_cast<void>(generator.generate(inputs, options));
  }

  static void expect_within(const experts::BufferReport& report, const experts::UseLog& uses,
                            const std::string& which) {
    const BufferCeilings ceilings = buffer_ceilings(uses, (*bundle_)->grid(), report);
    const experts::LookupCounts both = report.pipeline.lookups();
    EXPECT_EQ(both.all(), uses.all().size()) << which;
    EXPECT_LE(both.kept_ratio(), ceilings.kept_ratio) << which;
    EXPECT_LE(report.pipeline.decoder.kept_ratio(), ceilings.decoder_kept_ratio) << which;
    EXPECT_GE(report.storage.busy_seconds, 0.999 * ceilings.least_load_seconds) << which;
    EXPECT_LE(decoder_misses_at_least(uses, (*bundle_)->grid(), report.slots), report.pipeline.decoder.loaded) << which;
  }

  /// Runs, and how many of them hit more, or waited less, than the oracle.
  static inline int runs_ = 0;
  static inline int better_hits_ = 0;
  static inline int better_waits_ = 0;
  static void compare_with_oracle(const experts::BufferReport& report, const experts::UseLog& uses) {
    const experts::PipelineStatistics oracle = replay_oracle(uses, (*bundle_)->grid(), report);
    ++runs_;
    const bool hits = report.pipeline.lookups().hit_ratio() > oracle.lookups().hit_ratio();
    const bool waits = report.pipeline.wait_seconds < oracle.wait_seconds;
    better_hits_ += hits ? 1 : 0;
    better_waits_ += waits ? 1 : 0;
    if (report.slots >= (*bundle_)->grid().size()) return;
    const BufferCeilings ceilings = buffer_ceilings(uses, (*bundle_)->grid(), report);
    EXPECT_EQ(ceilings.hits_are_the_runs, hits);
    EXPECT_EQ(ceilings.wait_is_the_runs, waits);
    EXPECT_EQ(ceilings.hit_ratio, hits ? report.pipeline.lookups().hit_ratio() : oracle.lookups().hit_ratio());
    EXPECT_EQ(ceilings.wait_seconds, waits ? report.pipeline.wait_seconds : oracle.wait_seconds);
  }

  static test::TinyModel* model_;
  static std::shared_ptr<const experts::Bundle>* bundle_;
};
test::TinyModel* CeilingsTest::model_ = nullptr;
std::shared_ptr<const experts::Bundle>* CeilingsTest::bundle_ = nullptr;

TEST_F(CeilingsTest, AreNeverExceededByARun) {
  for (const char* predictor : {"none", "lru", "popularity", "cepr", "online", "token"}) {
    for (const std::size_t slots : {1, 2, 5, 12, 24, 40}) {
      for (const bool always : {false, true}) {
        if (always && std::string(predictor) == "lru") continue;
        experts::BufferOptions options;
        options.predictor = predictor;
        options.slots = slots;
        options.speculate_always = always;
        options.throttle.bytes_per_second = 1e9;
        const auto device = experts::open_buffered_device(*bundle_, model_->dense, options);
        const std::string which = predictor + (", " + std::to_string(slots)) + (always ? " slots, always" : " slots");
        for (std::uint64_t run = 0; run < 3; ++run) {
          device->begin_statistics();
          generate(*device, run, run == 2 ? 3 : 1);
          expect_within(device->report(), device->uses(), which + ", run " + std::to_string(run));
          compare_with_oracle(device->report(), device->uses());
        }
        expect_within(device->whole_report(), device->whole_uses(), which + ", all");
      }
    }
  }
  // It knows the future, but goes by mean times: where the run was lucky it may do better.
  EXPECT_LT(better_hits_, runs_ / 2);
  EXPECT_LT(better_waits_, runs_ / 2);
}

TEST_F(CeilingsTest, KnowWhatTheRunFoundInItsSlots) {
  const experts::ExpertGrid grid{0, 1, 4};
  experts::UseLog uses;
  uses.begin({1, 2});
  for (const ExpertIndex expert : {1U, 2U, 1U, 2U}) uses.add(0, {&expert, 1});
  experts::BufferReport run;
  run.load_seconds = run.gap_seconds = 1.0;
  run.slots = 2;
  EXPECT_DOUBLE_EQ(buffer_ceilings(uses, grid, run).kept_ratio, 1.0);
  EXPECT_DOUBLE_EQ(buffer_ceilings(uses, grid, run).hit_ratio, 1.0);
  uses.begin({});
  for (const ExpertIndex expert : {1U, 2U, 1U, 2U}) uses.add(0, {&expert, 1});
  EXPECT_DOUBLE_EQ(buffer_ceilings(uses, grid, run).kept_ratio, 0.5);
  run.slots = 1;
  EXPECT_DOUBLE_EQ(buffer_ceilings(uses, grid, run).kept_ratio, 0.0);
}

/// A decoder of four layers that wants random experts, one a pass.
experts::UseLog random_uses(const experts::ExpertGrid& grid, int tokens) {
  std::mt19937 random(7);
  experts::UseLog uses;
  uses.begin({});
  uses.begin_example();
  for (int token = 0; token < tokens; ++token) {
    for (experts::LayerIndex layer = 0; layer < grid.layers(); ++layer) {
      const ExpertIndex expert = grid.expert(layer, static_cast<std::uint32_t>(random() % grid.experts));
      uses.add(layer, {&expert, 1});
    }
  }
  return uses;
}

TEST(ReplayOracle, WaitsForNothingWhereThereIsTime) {
  const experts::ExpertGrid grid{0, 4, 8};
  const experts::UseLog uses = random_uses(grid, 50);
  experts::BufferReport run;
  run.slots = 4;
  run.load_seconds = 1.0;
  run.chunk_seconds = 0.1;
  run.gap_seconds = 10.0;
  const experts::PipelineStatistics there_is = replay_oracle(uses, grid, run);
  EXPECT_EQ(there_is.decoder.all(), 200U);
  EXPECT_EQ(there_is.decoder.hits, 200U);
  EXPECT_EQ(there_is.wait_seconds, 0.0);
  run.gap_seconds = 1e-6;
  const experts::PipelineStatistics there_is_none = replay_oracle(uses, grid, run);
  const auto missed = static_cast<double>(200 - kept_at_most(uses, run.slots, {}));
  EXPECT_GE(there_is_none.wait_seconds, 0.95 * missed) << "whatever it knows, the storage has to bring them";
  EXPECT_LE(there_is_none.wait_seconds, 1.2 * missed) << "and it brings hardly anything else";
}

TEST(BufferCeilings, SayOfHowManyLookupsTheyAreWhereTheRunWentOn) {
  const experts::ExpertGrid grid{0, 4, 8};
  const experts::UseLog uses = random_uses(grid, 50);
  experts::BufferReport run;
  run.slots = 4;
  run.load_seconds = run.gap_seconds = 1.0;
  run.pipeline.decoder.misses = 200;
  EXPECT_EQ(buffer_ceilings(uses, grid, run).first_lookups, 0U);
  run.pipeline.decoder.misses = 201;
  EXPECT_EQ(buffer_ceilings(uses, grid, run).first_lookups, 200U);
}

}  // namespace
}  // namespace flame::eval
