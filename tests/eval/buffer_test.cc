#include "flame/eval/buffer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <chrono>
#include <random>

#include "experts/tiny_bundle.h"
#include "flame/base/error.h"
#include "flame/eval/buffer_ceilings.h"
#include "flame/experts/buffered_device.h"
#include "flame/model/generation.h"
#include "flame/routing/fit.h"
#include "flame/routing/trace_recorder.h"

namespace flame::eval {
namespace {

using experts::Replacement;

/// A decoder trace in which layer l's expert mostly follows the one before it.
routing::Trace markov_trace(std::uint32_t seed, std::size_t examples, std::size_t steps, double certainty,
                            std::uint32_t experts = 8, std::uint32_t layers = 6) {
  routing::Trace trace;
  trace.info.experts = experts;
  trace.info.decoder_layers = layers;
  trace.info.encoder_layers = 2;
  trace.info.d_model = 8;
  trace.info.vocabulary = 50;
  trace.decoder.layers = layers;
  trace.encoder.layers = 2;
  std::mt19937 random(seed);
  std::uniform_real_distribution<> uniform;
  std::uint32_t expert = 0;
  for (std::size_t example = 0; example < examples; ++example) {
    for (std::size_t token = 0; token < 12; ++token) {
      trace.encoder.token.push_back(static_cast<std::int32_t>(random() % 50));
      trace.encoder.example.push_back(static_cast<std::int32_t>(example));
      for (std::uint32_t layer = 0; layer < 2; ++layer) {
        trace.encoder.experts.push_back(static_cast<std::uint16_t>(random() % experts));
        trace.encoder.probability.push_back(Float16::from_float(0.5F));
        trace.encoder.dropped.push_back(0);
      }
    }
    for (std::size_t step = 0; step < steps; ++step) {
      trace.decoder.token.push_back(static_cast<std::int32_t>(random() % 50));
      trace.decoder.example.push_back(static_cast<std::int32_t>(example));
      for (std::uint32_t layer = 0; layer < layers; ++layer) {
        expert = uniform(random) < certainty ? (expert * 3 + layer) % experts
                                             : static_cast<std::uint32_t>(random() % experts);
        trace.decoder.experts.push_back(static_cast<std::uint16_t>(expert));
        trace.decoder.probability.push_back(Float16::from_float(0.5F));
      }
    }
  }
  return trace;
}

routing::Profile profile_of(const routing::Trace& trace) {
  routing::Profile profile(trace.info, routing::ProfileOptions{});
  profile.add(trace);
  return profile;
}

BufferCase runtime(const std::string& predictor, std::size_t slots, double load = 1.0) {
  BufferCase setting;
  setting.predictor = predictor;
  setting.slots = slots;
  setting.times = {load, load / 20, 0.1, 1.0};
  return setting;
}

class BufferReplay : public testing::Test {
 protected:
  const routing::Trace trace_ = markov_trace(1, 20, 30, 0.7);
  const routing::Profile profile_ = profile_of(markov_trace(2, 100, 30, 0.7));
};

TEST_F(BufferReplay, InPaperModeTheHitRatioIsTheAccuracyAtSoManySlots) {
  for (const std::size_t slots : {1U, 2U, 5U}) {
    BufferCase setting = runtime("cepr", slots);
    setting.mode = BufferMode::kPaper;
    setting.context = 2;
    const BufferResult result = replay_buffer(trace_, profile_, setting);
    const auto predictor = routing::make_predictor("cepr", {.context = 2, .depth = 1}, profile_);
    std::uint64_t correct = 0;
    std::vector<routing::RankedExpert> top(slots);
    for (const routing::StepRange& steps : routing::examples_of(trace_.decoder)) {
      predictor->begin(1);
      for (std::size_t step = steps.first; step < steps.end; ++step) {
        for (std::uint32_t layer = 0; layer < 6; ++layer) {
          const std::uint16_t expert = trace_.decoder.experts_of(step)[layer];
          (void)predictor->rank(0, layer, top);
          for (const auto& ranked : top) correct += ranked.expert == expert ? 1 : 0;
          predictor->observe(0, layer, expert);
        }
      }
    }
    EXPECT_EQ(result.decoder.hits, correct);
    EXPECT_EQ(result.decoder.all(), 20U * 30 * 6);
  }
}

TEST_F(BufferReplay, EveryLookupIsCountedOnce) {
  for (const char* predictor : {"cepr", "none", "lru", "oracle", "belady", "random", "popularity"}) {
    const BufferResult result = replay_buffer(trace_, profile_, runtime(predictor, 10));
    EXPECT_EQ(result.decoder.all(), 20U * 30 * 6) << predictor;
    EXPECT_EQ(result.steps, 600U);
    EXPECT_GT(result.encoder.all(), 0U);
  }
}

TEST_F(BufferReplay, NoReplacementBeatsBelady) {
  const BufferResult best = replay_buffer(trace_, profile_, runtime("belady", 12));
  for (const Replacement replacement : {Replacement::kNextUse, Replacement::kLru, Replacement::kLifo, Replacement::kLfu,
                                        Replacement::kLayerDistance, Replacement::kStatic}) {
    BufferCase setting = runtime("none", 12);
    setting.replacement = replacement;
    const BufferResult result = replay_buffer(trace_, profile_, setting);
    EXPECT_LE(result.decoder.hits + result.encoder.hits, best.decoder.hits + best.encoder.hits)
        << experts::name_of(replacement);
  }
}

// Not even one that knows the future, favours the decoder or found the right experts in its slots.
TEST_F(BufferReplay, NoBufferNeedsFewerLoadsForTheDecoderThanTheLeast) {
  const experts::ExpertGrid grid{2, 6, 8};
  experts::UseLog uses;
  std::uint32_t layer = 0;
  for (const std::uint16_t expert : trace_.decoder.experts) {
    const experts::ExpertIndex used = grid.expert(grid.encoder_layers + layer, expert);
    uses.add(grid.encoder_layers + layer, {&used, 1});
    layer = layer + 1 == grid.decoder_layers ? 0 : layer + 1;
  }
  for (const std::size_t slots : {1U, 6U, 12U, 24U, 40U, 48U}) {
    const std::uint64_t least = decoder_misses_at_least(uses, grid, slots);
    EXPECT_EQ(least == 0, slots == 48U) << slots;
    for (const char* predictor : {"belady", "oracle", "none"}) {
      EXPECT_LE(least, replay_buffer(trace_, profile_, runtime(predictor, slots)).decoder.loaded) << predictor << slots;
    }
  }
}

TEST(DecoderBounds, AreTheLargerOfComputingAndOfMovingTheBytes) {
  experts::PipelineStatistics run;
  run.decoder_wait_seconds = 3.0;
  run.decoder.loaded = 8;
  const DecoderBounds slow = decoder_bounds(5.0, run, 0.5, 3.0);
  EXPECT_DOUBLE_EQ(slow.resident_seconds, 2.0);
  EXPECT_DOUBLE_EQ(slow.least_seconds, 2.0);
  EXPECT_DOUBLE_EQ(slow.needed_seconds, 4.0);
  EXPECT_DOUBLE_EQ(decoder_bounds(5.0, run, 0.5, 5.0).least_seconds, 2.5);
  const DecoderBounds fast = decoder_bounds(5.0, run, 0.125, 3.0);
  EXPECT_DOUBLE_EQ(fast.needed_seconds, 2.0);
  // So much cannot have been loaded in the decoder's time: it was begun before.
  EXPECT_DOUBLE_EQ(decoder_bounds(5.0, run, 1.0, 8.0).needed_seconds, 5.0);
}

// No run is below the bound of its own loads.
TEST_F(BufferReplay, NoRunBeatsTheBoundOfItsOwnLoads) {
  for (const char* predictor : {"lru", "none", "cepr", "oracle", "belady"}) {
    for (const double load : {0.2, 1.0, 4.0}) {
      const BufferResult result = replay_buffer(trace_, profile_, runtime(predictor, 12, load));
      const double decoder_seconds = result.latency_seconds * static_cast<double>(result.steps);
      const DecoderBounds bounds = decoder_bounds(decoder_seconds, result.loads, load, 0.0);
      EXPECT_NEAR(bounds.resident_seconds, static_cast<double>(result.decoder.all()) * 1.1, 0.12 * decoder_seconds);
      // Loads for a first layer may have begun while the encoder ran.
      EXPECT_GE(decoder_seconds * 1.02, bounds.needed_seconds) << predictor << " " << load;
    }
  }
}

TEST_F(BufferReplay, TheOracleHidesWhatTheStorageHasTimeFor) {
  const BufferResult demand = replay_buffer(trace_, profile_, runtime("none", 12, 0.5));
  const BufferResult predicted = replay_buffer(trace_, profile_, runtime("cepr", 12, 0.5));
  const BufferResult oracle = replay_buffer(trace_, profile_, runtime("oracle", 12, 0.5));
  EXPECT_LT(predicted.latency_seconds, demand.latency_seconds);
  EXPECT_LT(oracle.latency_seconds, predicted.latency_seconds);
  EXPECT_GT(oracle.hit_ratio(), 0.97);
}

// Struck out of a forecast, what does not come is not loaded; the more of what comes is foreseen, the better, up to
// all.
TEST_F(BufferReplay, WithoutWhatDoesNotComeForecastsBoundWhatTheyAreGoodFor) {
  double before = replay_buffer(trace_, profile_, runtime("cepr", 12)).total_seconds;
  for (const std::size_t first : {1U, 2U, 8U}) {
    BufferCase setting = runtime("cepr", 12);
    setting.foreseen = first;
    const BufferResult result = replay_buffer(trace_, profile_, setting);
    EXPECT_LT(result.total_seconds, before) << first;
    EXPECT_GT(result.loads.bytes_prefetch_used,
              50 * result.loads.bytes_prefetch_wasted);  // the encoder has no forecasts
    before = result.total_seconds;
  }
  BufferCase all = runtime("popularity", 12);
  all.foreseen = 8;
  EXPECT_NEAR(replay_buffer(trace_, profile_, all).total_seconds,
              replay_buffer(trace_, profile_, runtime("oracle", 12)).total_seconds, 0.05 * before);
}

TEST_F(BufferReplay, MoreSlotsAreNeverSlower) {
  double before = 1e9;
  for (const std::size_t slots : {1U, 4U, 8U, 16U, 32U, 64U}) {
    const BufferResult result = replay_buffer(trace_, profile_, runtime("cepr", slots));
    EXPECT_LE(result.latency_seconds, 1.01 * before) << slots;
    before = result.latency_seconds;
    if (slots == 64) {
      EXPECT_GT(result.hit_ratio(), 0.99);
    }
  }
}

// The best replacement found regains more of what LRU loses against Belady than published policies (about 5 of 11 to 23
// points).
TEST_F(BufferReplay, NextUseRegainsSomeOfWhatLruLoses) {
  const auto hits = [&](const char* predictor, Replacement replacement) {
    BufferCase setting = runtime(predictor, 12);
    setting.replacement = replacement;
    const BufferResult result = replay_buffer(trace_, profile_, setting);
    return result.hit_ratio();
  };
  const double lru = hits("lru", Replacement::kLru);
  const double ours = hits("none", Replacement::kNextUse);
  const double belady = hits("belady", Replacement::kNextUse);
  EXPECT_GT(ours, lru);
  EXPECT_GT(belady, ours);
}

// Settings together share passes and tables: each result is that of its setting alone.
TEST_F(BufferReplay, SettingsTogetherGiveWhatEachGivesAlone) {
  std::vector<BufferCase> settings;
  for (const BufferMode mode : {BufferMode::kPaper, BufferMode::kRuntime}) {
    for (const char* predictor : {"cepr", "random", "online"}) {
      for (const std::size_t slots : {1U, 3U, 7U}) {
        settings.push_back(runtime(predictor, slots));
        settings.back().mode = mode;
      }
    }
  }
  const std::vector<BufferResult> together = replay_buffer(trace_, profile_, settings);
  for (std::size_t i = 0; i < settings.size(); ++i) {
    const BufferResult alone = replay_buffer(trace_, profile_, settings[i]);
    SCOPED_TRACE(testing::Message() << settings[i].predictor << " " << settings[i].slots);
    EXPECT_EQ(together[i].decoder.hits, alone.decoder.hits);
    EXPECT_EQ(together[i].decoder.late, alone.decoder.late);
    EXPECT_EQ(together[i].decoder.misses, alone.decoder.misses);
    EXPECT_DOUBLE_EQ(together[i].latency_seconds, alone.latency_seconds);
  }
}

TEST_F(BufferReplay, HasNoPredictorsThatNeedMoreThanTheTrace) {
  EXPECT_THROW((void)replay_buffer(trace_, profile_, runtime("mirror", 3)), UsageError);
  EXPECT_THROW((void)replay_buffer(trace_, profile_, runtime("cepr", 0)), UsageError);
  // Before the trace is read, too.
  EXPECT_THROW((void)states_for({"cepr", "mirror"}, profile_), UsageError);
  const routing::TraceReadOptions none = states_for({"none", "lru", "belady", "oracle", "cepr", "random"}, profile_);
  EXPECT_FALSE(none.hidden || none.approach);
}

// Any predictor, whatever it says of the future: at most 1 % behind loading on demand, whatever the slots, and the
// storage from five loads a layer to one in 35 layers. Time is that of encoder and decoder: what one of them leaves in
// the slots the other need not load.
void never_slower(const routing::Trace& trace, const routing::Trace& promised,
                  const std::vector<std::string>& predictors) {
  routing::Profile profile = profile_of(promised);
  profile.set_fitted(routing::fit(promised, profile.options(), 1, {}));
  const std::vector<std::size_t> slots{1, 4, 8, 12, 20, 32, 40, 48, 56, 60};
  const std::vector<double> loads{0.2, 1.0, 4.0, 15.0, 35.0};
  std::vector<BufferCase> settings;
  for (const std::string& predictor : predictors) {
    for (const double load : loads) {
      for (const std::size_t count : slots) {
        settings.push_back(runtime(predictor, count, load));
        settings.back().context = 1;
      }
    }
  }
  const std::vector<BufferResult> results = replay_buffer(trace, profile, settings);
  const std::size_t each = loads.size() * slots.size();
  for (std::size_t i = each; i < results.size(); ++i) {
    EXPECT_LE(results[i].total_seconds, 1.01 * results[i % each].total_seconds)
        << settings[i].predictor << ", a load of " << settings[i].times.load << ", " << settings[i].slots << " slots";
  }
}

// A predictor that promises two experts as often, of which one always comes and is in memory: the other never comes,
// and only it is ever loaded ahead.
TEST(NeverSlowerThanOnDemand, WherePromisesAreKeptOnlyByExpertsThatAreThere) {
  const auto chain = [](std::uint32_t seed, double other) {
    routing::Trace trace = markov_trace(seed, 40, 100, 1.0);
    std::mt19937 random(seed);
    std::uniform_real_distribution<> uniform;
    std::uint16_t last = 0;
    for (std::size_t i = 0; i < trace.decoder.experts.size(); ++i) {
      const auto layer = static_cast<std::uint32_t>(i % 6);
      const auto usual = static_cast<std::uint16_t>(last < 2 ? (last + layer) % 2 : last % 2);
      const auto unusual = static_cast<std::uint16_t>(2 + (last + layer) % 4);
      last = uniform(random) < other ? unusual : usual;
      if (uniform(random) < 0.1) last = static_cast<std::uint16_t>(random() % 8);
      trace.decoder.experts[i] = last;
    }
    return trace;
  };
  never_slower(chain(2, 0.0), chain(1, 0.5), {"none", "cepr", "popularity", "mix"});
}

TEST(NeverSlowerThanOnDemand, WhereRoutingIsWithoutStructure) {
  const routing::Trace misleading = markov_trace(6, 100, 30, 0.95);
  never_slower(markov_trace(5, 2, 40, 0.0), misleading, {"none", "cepr", "incremental", "popularity", "random", "mix"});
  never_slower(markov_trace(5, 8, 40, 0.0), misleading, {"none", "cepr", "random"});
  never_slower(markov_trace(5, 60, 40, 0.0), misleading, {"none", "cepr", "popularity", "mix"});
}

// However short the run, and however few loads it needs: half a percent of its time, eight loads, and those that bring
// the slots back to what loading on demand would hold.
RC_GTEST_PROP(NeverSlowerThanOnDemand, WhatForecastsCostIsBounded, ()) {
  const auto seed = *rc::gen::arbitrary<std::uint32_t>();
  const double certainty = 0.01 * *rc::gen::inRange(0, 100);
  const double promised = 0.01 * *rc::gen::inRange(0, 101);
  const routing::Trace trace =
      markov_trace(seed, *rc::gen::inRange<std::size_t>(1, 6), *rc::gen::element<std::size_t>(5, 30, 100), certainty);
  const routing::Profile profile = profile_of(markov_trace(seed + 1, 30, 30, promised));
  const auto predictor = *rc::gen::element<std::string>("cepr", "incremental", "popularity", "backoff", "online");
  const auto slots = *rc::gen::inRange<std::size_t>(1, 64);
  const double load = *rc::gen::element(0.2, 1.0, 4.0, 35.0, 200.0);
  BufferCase setting = runtime(predictor, slots, load);
  setting.replacement = *rc::gen::element(Replacement::kNextUse, Replacement::kLru, Replacement::kLfu,
                                          Replacement::kLayerDistance, Replacement::kStatic, Replacement::kLifo);
  const BufferResult ahead = replay_buffer(trace, profile, setting);
  setting.predictor = "none";
  const BufferResult demand = replay_buffer(trace, profile, setting);
  RC_ASSERT(ahead.total_seconds <= 1.005 * demand.total_seconds + static_cast<double>(8 + slots) * load);
}

TEST(LiveRun, IsCountedLikeTheReplayOfItsTraceInTheZeroLatencyLimit) {
  const test::TinyModel model;
  const auto bundle = model.pack("bundle", "2:4", kernels::PackedType::kInt8);
  for (const char* predictor : {"none", "cepr", "popularity", "online", "lru"}) {
    for (const std::size_t slots : {1U, 3U, 9U, 20U, 48U}) {
      experts::BufferOptions options;
      options.predictor = predictor;
      options.slots = slots;
      options.wait_for_loads = true;
      options.speculate_always = true;
      auto device = experts::open_buffered_device(bundle, model.dense, options);
      const experts::BufferedDevice& buffered = *device;
      routing::TraceRecorder recorder(std::move(device));
      model::Generator generator(model.config, model.dense, recorder);
      model::GenerationOptions generation;
      generation.max_new_tokens = 10;
      routing::Trace trace;
      for (const std::vector<std::int32_t>& input :
           {std::vector<std::int32_t>{5, 9, 100, 7, 1}, std::vector<std::int32_t>{61, 62, 3, 44, 17, 1}}) {
        const std::vector<std::vector<std::int32_t>> batch{input};
        (void)generator.generate(batch, generation);
        routing::Trace part = recorder.take(batch);
        part.info = bundle->profile().model();
        if (trace.decoder.steps() == 0) {
          trace = part;
        } else {
          trace.append(part);
        }
      }
      BufferCase setting;
      setting.predictor = predictor;
      setting.slots = slots;
      setting.speculate_always = true;
      const BufferResult replay = replay_buffer(trace, bundle->profile(), setting);
      const experts::PipelineStatistics live = buffered.report().pipeline;
      SCOPED_TRACE(testing::Message() << predictor << " " << slots);
      EXPECT_EQ(live.decoder.hits, replay.decoder.hits);
      EXPECT_EQ(live.decoder.late, replay.decoder.late);
      EXPECT_EQ(live.decoder.misses, replay.decoder.misses);
      EXPECT_EQ(live.encoder.hits, replay.encoder.hits);
      EXPECT_EQ(live.encoder.misses, replay.encoder.misses);
      EXPECT_EQ(live.loads_prefetch, replay.loads.loads_prefetch);
      EXPECT_EQ(live.loads_demand, replay.loads.loads_demand);
    }
  }
}

}  // namespace
}  // namespace flame::eval
