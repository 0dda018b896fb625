#include "flame/routing/predictor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <tuple>

#include "flame/base/error.h"
#include "flame/routing/fit.h"
#include "flame/routing/profile.h"
#include "flame/routing/replay.h"
#include "routing/synthetic_trace.h"

namespace flame::routing {
namespace {

using test::random_trace;
using test::synthetic_trace;

Profile profile_of(const Trace& trace) {
  Profile profile(trace.info, fitting_options({}, trace.info.experts));
  profile.add(trace);
  return profile;
}

/// The share of positions (of `layer`, where given) whose expert is among the first k, `depth` layers ahead.
double accuracy(Predictor& predictor, const Trace& trace, std::size_t k = 1, std::uint32_t depth = 1,
                std::int64_t layer_wanted = -1) {
  std::vector<RankedExpert> ranked(k);
  double correct = 0.0;
  double made = 0.0;
  Replay replay(trace, predictor);
  for (const StepRange& range : examples_of(trace.decoder)) {
    replay.run(range, [&](std::size_t step, std::uint32_t layer) {
      const std::size_t position = step * trace.decoder.layers + layer + depth - 1;
      const std::uint32_t target = (layer + depth - 1) % trace.decoder.layers;
      if (position >= range.end * trace.decoder.layers) return;
      if (layer_wanted >= 0 && target != layer_wanted) return;
      const std::size_t count = predictor.rank(0, target, ranked);
      made += 1.0;
      for (std::size_t i = 0; i < count; ++i)
        correct += ranked[i].expert == trace.decoder.experts[position] ? 1.0 : 0.0;
    });
  }
  return correct / made;
}

double accuracy(std::string_view name, const PredictorOptions& options, const Profile& profile, const Trace& trace,
                std::size_t k = 1, std::int64_t layer = -1) {
  return accuracy(*make_predictor(name, options, profile), trace, k, 1, layer);
}

/// A Markov source of order m on the circular path: with probability `certainty` the next expert is a fixed function of
/// the last m (one under which no shorter context tells anything), otherwise any expert. The best possible accuracy is
/// certainty + (1 - certainty) / E.
test::NextExpert markov_source(std::uint32_t experts, std::size_t m, double certainty, std::uint64_t seed) {
  auto random = std::make_shared<std::mt19937_64>(seed);
  return [=](const std::vector<std::uint16_t>& path, std::uint32_t, std::int32_t) {
    const double draw = std::uniform_real_distribution<double>()(*random);
    const auto any = static_cast<std::uint16_t>((*random)() % experts);
    if (path.size() < m || draw >= certainty) return any;
    std::uint32_t sum = 0;
    for (std::size_t back = 1; back <= m; ++back) sum += path[path.size() - back];
    return static_cast<std::uint16_t>(sum % experts);
  };
}

TEST(Cepr, ReachesTheBestAccuracyOfAMarkovSourceOfItsOrderAndNoLowerOrderDoes) {
  constexpr std::uint32_t kExperts = 4;
  constexpr double kCertainty = 0.8;
  constexpr double kBest = kCertainty + (1.0 - kCertainty) / kExperts;
  for (const std::uint32_t m : {1U, 2U, 3U}) {
    const Trace counted = synthetic_trace(kExperts, 3, 100, 100, 1, markov_source(kExperts, m, kCertainty, m));
    const Trace scored = synthetic_trace(kExperts, 3, 50, 100, 2, markov_source(kExperts, m, kCertainty, 10 + m));
    const Profile profile = profile_of(counted);
    // 15,000 positions: one standard error is 0.3 points.
    EXPECT_NEAR(accuracy("cepr", {.context = m}, profile, scored), kBest, 0.015) << m;
    EXPECT_NEAR(accuracy("cepr", {.context = m - 1}, profile, scored), 1.0 / kExperts, 0.02) << m;
    EXPECT_NEAR(accuracy("backoff", {.context = m + 1}, profile, scored), kBest, 0.015)
        << "longer contexts tell nothing more, and smoothing sees that";
  }
}

TEST(Cepr, GainsFromDependenceAcrossTokensWhatIncrementalCannotSee) {
  // Each token's layer 0 follows from the last layer of the token before; the other layers are drawn.
  std::mt19937_64 random(5);
  const test::NextExpert next = [&](const std::vector<std::uint16_t>& path, std::uint32_t layer, std::int32_t) {
    if (layer == 0 && !path.empty()) return static_cast<std::uint16_t>((path.back() + 1) % 8);
    return static_cast<std::uint16_t>(random() % 8);
  };
  const Profile profile = profile_of(synthetic_trace(8, 2, 50, 100, 1, next));
  const Trace scored = synthetic_trace(8, 2, 20, 100, 2, next);
  EXPECT_GT(accuracy("cepr", {.context = 1}, profile, scored, 1, 0), 0.98);
  EXPECT_LT(accuracy("incremental", {.context = 1}, profile, scored, 1, 0), 0.2);
}

TEST(Incremental, KnowsNoMoreThanPopularityInLayerZero) {
  const Trace counted = random_trace(8, 3, 30, 30, 1);
  const Trace scored = random_trace(8, 3, 30, 30, 2);
  const Profile profile = profile_of(counted);
  for (const std::size_t k : {1U, 3U, 8U}) {
    const double popularity = accuracy("popularity", {}, profile, scored, k, 0);
    for (const std::uint32_t m : {1U, 4U, 6U}) {
      EXPECT_EQ(accuracy("incremental", {.context = m}, profile, scored, k, 0), popularity);
    }
  }
}

TEST(Incremental, IsCeprWhereTheContextLiesWithinTheToken) {
  const Trace counted = random_trace(4, 4, 30, 30, 1);
  const Trace scored = random_trace(4, 4, 30, 30, 2);
  const Profile profile = profile_of(counted);
  EXPECT_EQ(accuracy("incremental", {.context = 2}, profile, scored, 1, 3),
            accuracy("cepr", {.context = 2}, profile, scored, 1, 3));
  EXPECT_EQ(accuracy("incremental", {.context = 6}, profile, scored, 1, 3),
            accuracy("cepr", {.context = 3}, profile, scored, 1, 3));
}

TEST(Cepr, BreaksTiesByPopularityAndThenByIdAndBacksOffFromContextsNeverSeen) {
  // One layer. After 0 came 1 and 2 once each; 2 is the more popular; after 3 nothing was ever seen.
  Trace trace;
  trace.info = test::synthetic_info(5, 1);
  trace.decoder.layers = 1;
  trace.decoder.experts = {0, 1, 2, 0, 2, 2, 3};
  trace.decoder.probability.assign(7, Float16{});
  trace.decoder.token.assign(7, 0);
  trace.decoder.example.assign(7, 0);
  const auto predictor = make_predictor("cepr", {.context = 1, .depth = 1}, profile_of(trace));
  std::vector<RankedExpert> ranked(5);
  const auto ranking = [&] {
    EXPECT_EQ(predictor->rank(0, 0, ranked), 5U);
    std::vector<std::uint16_t> experts;
    for (const RankedExpert& candidate : ranked) experts.push_back(candidate.expert);
    return experts;
  };
  predictor->begin(1);
  EXPECT_EQ(ranking(), (std::vector<std::uint16_t>{2, 0, 1, 3, 4})) << "popularity 3, 2, 1, 1, 0";
  predictor->observe(0, 0, 0);
  EXPECT_EQ(ranking(), (std::vector<std::uint16_t>{2, 1, 0, 3, 4})) << "the tie of 1 and 2 goes to the more popular 2";
  predictor->observe(0, 0, 3);
  EXPECT_EQ(ranking(), (std::vector<std::uint16_t>{2, 0, 1, 3, 4})) << "after 3: popularity";
  predictor->observe(0, 0, 2);
  EXPECT_EQ(ranking(), (std::vector<std::uint16_t>{2, 0, 3, 1, 4})) << "after 2 came 0, 2 and 3";
}

// The table of predictors says of each, before there is a profile to make it from, what it turns out to be.
TEST(Predictor, IsWhatItsNameSays) {
  Trace trace = random_trace(4, 3, 40, 20, 3);
  trace.info.d_model = 2;
  std::mt19937_64 random(2);
  std::normal_distribution<float> normal;
  for (std::size_t i = 0; i < trace.decoder.experts.size() * 2; ++i) {
    trace.decoder.hidden.push_back(BFloat16::from_float(normal(random)));
    trace.decoder.approach.push_back(BFloat16::from_float(normal(random)));
  }
  Profile profile = profile_of(trace);
  Fitted fitted = fit(trace, profile.options(), 2, {});
  fitted.router = fitted.maps;
  profile.set_fitted(fitted);
  for (const std::string_view name : predictor_names()) {
    const auto make = [&](std::uint32_t context) {
      return make_predictor(name, {.context = context, .depth = 3}, profile);
    };
    const auto predictor = make(2);
    EXPECT_EQ(says_probabilities(name), is_causal(name) && predictor->has_probabilities()) << name;
    EXPECT_EQ(may_need_states(name), predictor->needs_hidden() || predictor->needs_approach()) << name;
    EXPECT_EQ(is_causal(name), !predictor->needs_future()) << name;
    EXPECT_EQ(has_order(name), predictor->name() != make(3)->name()) << name;
    EXPECT_EQ(predictor->name().substr(0, name.size()), name);
    if (counts_layers_ahead(name) || name == "random") continue;
    std::vector<RankedExpert> far(4);
    std::vector<RankedExpert> near(4);
    Replay replay(trace, *predictor);
    for (const StepRange& range : examples_of(trace.decoder)) {
      std::size_t named = 0;
      replay.run(range, [&](std::size_t, std::uint32_t layer) {
        if (layer == 0) named = predictor->rank(0, 2, far);
        if (layer != 2) return;
        EXPECT_EQ(predictor->rank(0, 2, near), named) << name;
        EXPECT_EQ(near, far) << name << " says of a layer the same three ahead as when it is the next";
      });
    }
  }
  for (const auto says : {says_probabilities, may_need_states, is_causal, has_order, is_mixture, counts_layers_ahead}) {
    EXPECT_FALSE(says("crystal-ball"));
    EXPECT_FALSE(says(""));
  }
}

TEST(Predictor, KeepsAHistoryForEveryRowAndCopiesItWhenRowsMove) {
  const Trace trace = random_trace(4, 2, 40, 20, 3);
  Profile profile = profile_of(trace);
  profile.set_fitted(fit(trace, profile.options(), 2, {}));
  for (const std::string_view name : predictor_names()) {
    if (name == "random" || name == "oracle" || name == "belady" || name == "next-router" || name == "lookahead" ||
        name == "pre-attention" || name == "mix-hidden") {
      continue;  // chance, and those that need to be fed more
    }
    const PredictorOptions options{.context = 3, .depth = 3};
    const auto batch = make_predictor(name, options, profile);
    const auto alone = make_predictor(name, options, profile);
    batch->begin(2);
    alone->begin(1);
    std::vector<RankedExpert> a(4);
    std::vector<RankedExpert> b(4);
    const auto step = [&](std::size_t rows, std::size_t row, const std::vector<std::uint16_t>& others) {
      // Row `row` sees the very calls that the lone predictor sees; the other rows see something else.
      const std::vector<std::int32_t> tokens(rows, static_cast<std::int32_t>(others[0]));
      batch->feed(tokens);
      alone->feed(std::vector<std::int32_t>{tokens[row]});
      for (std::uint32_t layer = 0; layer < 2; ++layer) {
        for (std::size_t r = 0; r < rows; ++r) {
          batch->observe(r, layer, r == row ? others[layer] : static_cast<std::uint16_t>((others[layer] + r + 1) % 4));
        }
        alone->observe(0, layer, others[layer]);
        for (std::uint32_t ahead = 0; ahead < 2; ++ahead) {
          const std::size_t count = batch->rank(row, ahead, a);
          ASSERT_EQ(count, alone->rank(0, ahead, b)) << name;
          for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(a[i], b[i]) << name;
        }
      }
    };
    step(2, 0, {1, 2});
    step(2, 0, {3, 0});
    batch->reorder(std::vector<std::uint32_t>{0, 0, 1});
    step(3, 1, {0, 2});
    batch->reorder(std::vector<std::uint32_t>{1});
    step(1, 0, {2, 2});
    batch->begin(1);
    alone->begin(1);
    step(1, 0, {1, 1});
  }
}

TEST(Predictor, RankingsAreWholeAndTheirProbabilitiesSumToOne) {
  const Trace trace = random_trace(5, 3, 40, 20, 3);
  Profile profile = profile_of(trace);
  profile.set_fitted(fit(trace, profile.options(), 2, {}));
  for (const std::string_view name : predictor_names()) {
    if (name == "next-router" || name == "lookahead" || name == "pre-attention" || name == "mix-hidden") continue;
    const auto predictor = make_predictor(name, {.context = 2, .depth = 3}, profile);
    std::vector<RankedExpert> ranked(7);
    Replay replay(trace, *predictor);
    for (const StepRange& range : examples_of(trace.decoder)) {
      replay.run(range, [&](std::size_t, std::uint32_t layer) {
        for (std::uint32_t ahead = 0; ahead < 3; ++ahead) {
          const std::size_t count = predictor->rank(0, (layer + ahead) % 3, ranked);
          std::vector<bool> listed(5, false);
          double sum = 0.0;
          for (std::size_t i = 0; i < count; ++i) {
            ASSERT_LT(ranked[i].expert, 5U);
            EXPECT_FALSE(listed[ranked[i].expert]) << name;
            listed[ranked[i].expert] = true;
            sum += static_cast<double>(ranked[i].probability);
          }
          if (!predictor->has_probabilities()) continue;
          EXPECT_EQ(count, 5U) << name;
          EXPECT_NEAR(sum, 1.0, 1e-4) << name;
          const std::size_t fewer = predictor->rank(0, (layer + ahead) % 3, std::span(ranked).first(2));
          EXPECT_EQ(fewer, 2U) << name;
        }
      });
    }
  }
}

TEST(Predictor, LooksFurtherAheadWithTheContextThatEndsThere) {
  // Three layers; each expert is a function of the expert three positions before, and nothing else tells anything.
  std::mt19937_64 random(9);
  const test::NextExpert next = [&](const std::vector<std::uint16_t>& path, std::uint32_t, std::int32_t) {
    const auto any = static_cast<std::uint16_t>(random() % 4);
    if (path.size() < 3 || random() % 10 == 0) return any;
    return static_cast<std::uint16_t>((path[path.size() - 3] + 1) % 4);
  };
  const Profile profile = profile_of(synthetic_trace(4, 3, 60, 60, 1, next));
  const Trace scored = synthetic_trace(4, 3, 30, 60, 2, next);
  const auto cepr = make_predictor("cepr", {.context = 1, .depth = 3}, profile);
  EXPECT_LT(accuracy(*cepr, scored, 1, 1), 0.35);
  EXPECT_LT(accuracy(*cepr, scored, 1, 2), 0.35);
  EXPECT_GT(accuracy(*cepr, scored, 1, 3), 0.88);
}

TEST(Token, TellsLayerZeroWhatNoHistoryCan) {
  std::mt19937_64 random(4);
  const test::NextExpert next = [&](const std::vector<std::uint16_t>&, std::uint32_t, std::int32_t token) {
    return static_cast<std::uint16_t>(random() % 10 == 0 ? random() % 8 : static_cast<std::uint64_t>(token * 5 % 8));
  };
  const Trace counted = synthetic_trace(8, 1, 100, 100, 1, next, 64);
  const Trace scored = synthetic_trace(8, 1, 30, 100, 2, next, 64);
  const Profile profile = profile_of(counted);
  EXPECT_GT(accuracy("token", {}, profile, scored), 0.88);
  EXPECT_LT(accuracy("cepr", {.context = 2}, profile, scored), 0.2);
  const auto limited = make_predictor("token", {.bytes = 12, .entries = 1}, profile);
  EXPECT_LE(limited->cost(1).device_bytes, 12U);
  const double shared = accuracy(*limited, scored);
  EXPECT_GT(shared, 0.3) << "tokens that share a bucket are pooled";
  EXPECT_LT(shared, 0.88);
}

TEST(PreviousToken, NamesTheExpertThatTheLayerTookLast) {
  const Trace trace = random_trace(8, 2, 5, 5, 1);
  const auto predictor = make_predictor("previous-token", {}, profile_of(trace));
  predictor->begin(1);
  std::vector<RankedExpert> ranked(2);
  predictor->observe(0, 0, 6);
  predictor->observe(0, 1, 2);
  predictor->rank(0, 0, ranked);
  EXPECT_EQ(ranked[0].expert, 6);
  predictor->rank(0, 1, ranked);
  EXPECT_EQ(ranked[0].expert, 2);
}

TEST(EdgeMoe, KnowsOnlyPairsOfLayersOfTheToken) {
  const Trace counted = random_trace(4, 4, 30, 30, 1);
  const Trace scored = random_trace(4, 4, 30, 30, 2);
  const Profile profile = profile_of(counted);
  for (const std::int64_t layer : {0, 1}) {
    EXPECT_EQ(accuracy("edgemoe", {}, profile, scored, 1, layer),
              accuracy("popularity", {}, profile, scored, 1, layer));
  }
  EXPECT_EQ(accuracy("edgemoe", {}, profile, scored, 1, 3),
            accuracy("incremental", {.context = 2}, profile, scored, 1, 3));
}

/// A buffer of k experts a layer, played step by step: what the stacks of the reuse predictors must agree with.
double plain_hit_ratio(const std::string& policy, const Trace& trace, std::size_t k) {
  double hits = 0.0;
  double all = 0.0;
  for (const StepRange& range : examples_of(trace.decoder)) {
    for (std::uint32_t layer = 0; layer < trace.decoder.layers; ++layer) {
      std::vector<std::uint16_t> held;  // lru: in order of use; others: in order of loading
      for (std::size_t step = range.first; step < range.end; ++step) {
        const std::uint16_t expert = trace.decoder.experts_of(step)[layer];
        const auto found = std::find(held.begin(), held.end(), expert);
        all += 1.0;
        if (found != held.end()) {
          hits += 1.0;
          if (policy == "lru") std::rotate(found, found + 1, held.end());
          continue;
        }
        if (held.size() == k && policy == "lru") held.erase(held.begin());
        if (held.size() == k && policy == "lifo") held.pop_back();
        if (held.size() == k && policy == "belady") {
          const auto next_use = [&](std::uint16_t candidate) {
            std::size_t later = step + 1;
            while (later < range.end && trace.decoder.experts_of(later)[layer] != candidate) ++later;
            return later;
          };
          held.erase(std::max_element(held.begin(), held.end(),
                                      [&](std::uint16_t a, std::uint16_t b) { return next_use(a) < next_use(b); }));
        }
        held.push_back(expert);
      }
    }
  }
  return hits / all;
}

TEST(ReusePredictors, HoldWhatABufferOfEverySizeHolds) {
  std::mt19937_64 random(8);
  const Trace trace = synthetic_trace(6, 2, 10, 60, 1, [&](const auto&, std::uint32_t, std::int32_t) {
    return static_cast<std::uint16_t>(std::min(random() % 6, random() % 6));
  });
  const Profile profile = profile_of(trace);
  for (const std::string policy : {"lru", "lifo", "belady"}) {
    const auto predictor = make_predictor(policy, {}, profile);
    for (std::size_t k = 1; k <= 6; ++k) {
      EXPECT_DOUBLE_EQ(accuracy(*predictor, trace, k), plain_hit_ratio(policy, trace, k)) << policy << " " << k;
    }
  }
}

TEST(Oracle, IsAlwaysRight) {
  const Trace trace = random_trace(8, 3, 4, 10, 1);
  const auto oracle = make_predictor("oracle", {}, profile_of(trace));
  for (const std::uint32_t depth : {1U, 2U, 3U}) EXPECT_EQ(accuracy(*oracle, trace, 1, depth), 1.0);
}

TEST(Random, IsRightAsOftenAsChance) {
  const Trace trace = random_trace(8, 3, 40, 100, 1);
  const auto random = make_predictor("random", {}, profile_of(trace));
  EXPECT_NEAR(accuracy(*random, trace, 1), 1.0 / 8, 0.01);
  EXPECT_NEAR(accuracy(*random, trace, 3), 3.0 / 8, 0.015);
  EXPECT_EQ(accuracy(*random, trace, 8), 1.0);
}

TEST(Online, LearnsWhatTheExampleAtHandDoesDifferently) {
  // In every example, layer 0 follows layer 1 of the token before by a shift of that example's own.
  std::mt19937_64 random(4);
  std::uint16_t shift = 0;
  const test::NextExpert next = [&](const std::vector<std::uint16_t>& path, std::uint32_t layer, std::int32_t) {
    if (path.empty()) shift = static_cast<std::uint16_t>(random() % 4);
    if (layer == 0 && !path.empty()) return static_cast<std::uint16_t>((path.back() + shift) % 4);
    return static_cast<std::uint16_t>(random() % 4);
  };
  const Profile profile = profile_of(synthetic_trace(4, 2, 50, 300, 1, next));
  const Trace scored = synthetic_trace(4, 2, 10, 300, 2, next);
  EXPECT_LT(accuracy("backoff", {.context = 2}, profile, scored, 1, 0), 0.4);
  EXPECT_GT(accuracy("online", {.context = 2}, profile, scored, 1, 0), 0.8);
}

/// Two layers whose experts are linear functions of hidden states that are seen one layer before.
Trace hidden_trace(std::uint64_t seed) {
  constexpr std::size_t kWidth = 6;
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  Trace trace;
  trace.info = test::synthetic_info(3, 2);
  trace.info.d_model = kWidth;
  trace.decoder.layers = 2;
  std::vector<float> last(kWidth, 0.0F);
  for (std::int32_t example = 0; example < 60; ++example) {
    for (int step = 0; step < 30; ++step) {
      for (int layer = 0; layer < 2; ++layer) {
        // The expert is the largest of the first three elements of the router's input one layer before, and of the
        // last three of this very block's input.
        std::vector<float> block(kWidth);
        for (float& value : block) value = normal(random);
        const auto largest =
            static_cast<std::uint16_t>(std::max_element(last.begin(), last.begin() + 3) - last.begin());
        std::iter_swap(block.begin() + 3 + largest, std::max_element(block.begin() + 3, block.end()));
        trace.decoder.experts.push_back(largest);
        trace.decoder.probability.push_back(Float16{});
        for (const float value : block) trace.decoder.approach.push_back(BFloat16::from_float(value));
        for (float& value : last) {
          value = normal(random);
          trace.decoder.hidden.push_back(BFloat16::from_float(value));
        }
      }
      trace.decoder.token.push_back(1);
      trace.decoder.example.push_back(example);
    }
    // A new example's first expert cannot be known from the last one's states; let it be 0.
  }
  return trace;
}

TEST(LinearPredictors, FindWhatHiddenStatesTell) {
  const Trace counted = hidden_trace(1);
  const Trace scored = hidden_trace(2);
  Profile profile = profile_of(counted);
  profile.set_fitted(fit(counted, profile.options(), 2, {}));
  EXPECT_LT(accuracy("cepr", {.context = 2}, profile, scored), 0.45);
  EXPECT_GT(accuracy("lookahead", {.depth = 2}, profile, scored), 0.85);
  EXPECT_GT(accuracy("pre-attention", {.depth = 2}, profile, scored), 0.85);
  const double mixed = accuracy("mix-hidden", {}, profile, scored);
  EXPECT_GT(mixed, 0.9) << "the mixture weighs both";
  const Profile read = Profile::parse(profile.to_json(), "p");
  EXPECT_NEAR(accuracy("mix-hidden", {}, read, scored), mixed, 0.005);
}

// Six layers whose experts are told by the hidden state five layers before: no context that is counted reaches so far.
TEST(LinearPredictors, SeeFartherThanContextsAreCounted) {
  constexpr std::uint32_t kLayers = 6;
  constexpr std::uint32_t kAhead = 5;
  const auto far_trace = [&](std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    Trace trace = random_trace(3, kLayers, 60, 30, seed);
    trace.info.d_model = 3;
    const std::size_t steps = 30 * kLayers;
    for (std::size_t position = 0; position < trace.decoder.experts.size(); ++position) {
      float state[3] = {normal(random), normal(random), normal(random)};
      if (position % steps + kAhead < steps) {
        std::swap(state[trace.decoder.experts[position + kAhead]], *std::max_element(state, state + 3));
      }
      for (const float value : state) trace.decoder.hidden.push_back(BFloat16::from_float(value));
    }
    return trace;
  };
  const Trace counted = far_trace(1);
  const Trace scored = far_trace(2);
  Profile profile = profile_of(counted);
  profile.set_fitted(fit(counted, profile.options(), 2, {}));
  EXPECT_LT(profile.options().max_depth, kAhead);
  for (const char* name : {"lookahead", "mix-hidden"}) {
    EXPECT_EQ(farthest_depth(name, profile), kFittedDepth);
    const auto predictor = make_predictor(name, {.depth = kFittedDepth}, profile);
    EXPECT_GT(accuracy(*predictor, scored, 1, kAhead), 0.85) << name;
    // A device that asks less far gets what it asks for.
    EXPECT_LT(accuracy(*make_predictor(name, {.depth = 3}, profile), scored, 1, kAhead), 0.45) << name;
  }
  const Profile read = Profile::parse(profile.to_json(), "p");
  EXPECT_GT(accuracy(*make_predictor("mix-hidden", {.depth = kFittedDepth}, read), scored, 1, kAhead), 0.85);
}

// Profiles that were fitted before maps reached six layers hold three.
TEST(LinearPredictors, ReachAsFarAsTheirMaps) {
  const Trace trace = random_trace(3, 6, 4, 8, 1);
  Profile profile = profile_of(trace);
  EXPECT_EQ(farthest_depth("lookahead", profile), kFittedDepth) << "what is missing is said when it is made";
  const auto map = [](std::uint32_t depth) {
    return LinearMap{0, depth, false, std::vector<float>(2 * 3), std::vector<float>(3)};
  };
  Fitted fitted;
  for (std::uint32_t depth = 0; depth < 3; ++depth) {
    fitted.maps.push_back(map(depth + 1));
    fitted.approach.push_back(map(depth));
  }
  profile.set_fitted(fitted);
  for (const char* name : {"lookahead", "pre-attention"}) {
    EXPECT_EQ(farthest_depth(name, profile), 3U) << name;
    EXPECT_THROW((void)make_predictor(name, {.depth = 4}, profile), UsageError) << name;
  }
}

TEST(LinearPredictors, WidenedMapsSayTheSameOfStatesWidenedWithZeros) {
  const Trace counted = hidden_trace(1);
  Trace scored = hidden_trace(2);
  Profile profile = profile_of(counted);
  const Fitted fitted = fit(counted, profile.options(), 2, {});
  profile.set_fitted(fitted);
  const double narrow = accuracy("mix-hidden", {}, profile, scored);

  constexpr std::uint32_t kWidth = 10;
  TraceInfo wide = counted.info;
  wide.d_model = kWidth;
  for (std::vector<BFloat16>* const states : {&scored.decoder.hidden, &scored.decoder.approach}) {
    std::vector<BFloat16> widened;
    for (std::size_t i = 0; i < states->size(); ++i) {
      widened.push_back((*states)[i]);
      if (i % counted.info.d_model == counted.info.d_model - 1) {
        widened.resize(widened.size() + kWidth - counted.info.d_model);
      }
    }
    states->swap(widened);
  }
  scored.info = wide;
  Trace without = counted;
  without.info = wide;
  Profile widened(wide, profile.options());
  widened.add(without);
  Fitted maps = fitted;
  widen_maps(maps, kWidth);
  widened.set_fitted(maps);
  EXPECT_NEAR(accuracy("mix-hidden", {}, widened, scored), narrow, 0.001);
  EXPECT_THROW(widen_maps(maps, kWidth - 1), UsageError);
}

TEST(NextRouter, AppliesTheRoutersItIsGiven) {
  const Trace counted = hidden_trace(1);
  Profile profile = profile_of(counted);
  // A router that finds the largest of the first three elements: the identity on them.
  std::vector<LinearMap> routers;
  for (const std::uint32_t layer : {0U, 1U}) {
    LinearMap map{layer, 1, false, std::vector<float>(6 * 3, 0.0F), std::vector<float>(3, 0.0F)};
    for (std::size_t i = 0; i < 3; ++i) map.weight[i * 3 + i] = 1.0F;
    routers.push_back(map);
  }
  profile.set_fitted(fit(counted, profile.options(), 2, routers));
  EXPECT_GT(accuracy("next-router", {.depth = 1}, profile, hidden_trace(2)), 0.95);
}

TEST(Mix, IsAsGoodAsTheBetterOfItsPartsEverywhere) {
  // Layer 0 follows from the token, layer 1 from layer 0.
  std::mt19937_64 random(4);
  const test::NextExpert next = [&](const std::vector<std::uint16_t>& path, std::uint32_t layer, std::int32_t token) {
    if (random() % 10 == 0) return static_cast<std::uint16_t>(random() % 8);
    return static_cast<std::uint16_t>(layer == 0 ? token * 5 % 8 : (path.back() + 3) % 8);
  };
  const Trace counted = synthetic_trace(8, 2, 100, 60, 1, next, 64);
  const Trace scored = synthetic_trace(8, 2, 40, 60, 2, next, 64);
  Profile profile = profile_of(counted);
  profile.set_fitted(fit(counted, profile.options(), 2, {}));
  EXPECT_GT(accuracy("mix", {}, profile, scored, 1, 0), accuracy("token", {}, profile, scored, 1, 0) - 0.01);
  EXPECT_GT(accuracy("mix", {}, profile, scored, 1, 1), accuracy("cepr", {.context = 1}, profile, scored, 1, 1) - 0.01);
}

// Weights and maps for two layers ahead, of a mixture that is asked three ahead: what has no maps there says nothing.
TEST(Mix, CountsBeyondItsWeightsOnlyThePartsThatReachSoFar) {
  const test::NextExpert next = [](const std::vector<std::uint16_t>&, std::uint32_t layer, std::int32_t token) {
    return static_cast<std::uint16_t>((token * 5 + static_cast<std::int32_t>(layer)) % 4);
  };
  const Trace trace = synthetic_trace(4, 4, 30, 20, 1, next, 16);
  Profile profile = profile_of(trace);
  Fitted fitted;
  for (std::uint32_t layer = 0; layer < 4; ++layer) {
    for (const std::uint32_t depth : {1U, 2U}) {
      // Sure of expert 0, whatever the state.
      fitted.maps.push_back({layer, depth, false, std::vector<float>(2 * 4), {20.0F, 0.0F, 0.0F, 0.0F}});
    }
  }
  Mixture mixture{"mix-hidden", 1, {"lookahead", "token"}, {}};
  for (std::uint32_t layer = 0; layer < 4; ++layer) mixture.weights.push_back({layer, 2, {0.9F, 0.1F}});
  fitted.mixtures = {mixture};
  profile.set_fitted(fitted);
  EXPECT_EQ(farthest_depth("mix-hidden", profile), kFittedDepth) << "the token reaches so far";
  const auto mix = make_predictor("mix-hidden", {.depth = 4}, profile);
  const auto token = make_predictor("token", {.depth = 4}, profile);
  const auto state = std::vector<float>(2);
  for (Predictor* const predictor : {mix.get(), token.get()}) {
    predictor->begin(1);
    predictor->feed(std::vector<std::int32_t>{3});
    predictor->hidden(0, MatrixView<const float>(state.data(), 1, 2));
    predictor->observe(0, 0, 3);
  }
  const auto first = [](Predictor& predictor, std::uint32_t layer) {
    std::vector<RankedExpert> ranked(4);
    predictor.rank(0, layer, ranked);
    return ranked[0];
  };
  EXPECT_EQ(first(*mix, 1).expert, 0U);
  EXPECT_EQ(first(*mix, 2).expert, 0U) << "two ahead";
  EXPECT_NE(first(*token, 3).expert, 0U);
  EXPECT_EQ(first(*mix, 3).expert, first(*token, 3).expert) << "three ahead";
  EXPECT_GT(first(*mix, 3).probability, 0.9F) << "the token counts for all there";
}

// Sure of what the token says and of what the path says, the product of both would be surer than their mean.
TEST(Mix, TakesAllPartsAlikeWhereItHasNoWeights) {
  const test::NextExpert next = [](const std::vector<std::uint16_t>&, std::uint32_t layer, std::int32_t token) {
    return static_cast<std::uint16_t>((token * 5 + static_cast<std::int32_t>(layer)) % 4);
  };
  const Trace trace = synthetic_trace(4, 4, 30, 20, 1, next, 16);
  Profile profile = profile_of(trace);
  const auto ranked = [&](const std::vector<MixWeights>& weights) {
    Fitted fitted;
    fitted.mixtures = {{"mix", 1, {"backoff", "token", "token-path"}, weights}};
    profile.set_fitted(fitted);
    const auto mix = make_predictor("mix", {.depth = 3}, profile);
    mix->begin(1);
    mix->feed(std::vector<std::int32_t>{3});
    mix->observe(0, 0, 3);
    std::vector<RankedExpert> all;
    for (std::uint32_t layer = 0; layer < 4; ++layer) {
      std::vector<RankedExpert> one(4);
      mix->rank(0, layer, one);
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  };
  std::vector<MixWeights> alike;
  for (std::uint32_t layer = 0; layer < 4; ++layer) alike.push_back({layer, 1, std::vector<float>(3, 1.0F / 3.0F)});
  const std::vector<RankedExpert> without = ranked({});
  const std::vector<RankedExpert> with = ranked(alike);
  for (std::size_t i = 0; i < with.size(); ++i) {
    EXPECT_EQ(without[i].expert, with[i].expert) << i;
    EXPECT_FLOAT_EQ(without[i].probability, with[i].probability) << i;
  }
}

// Whoever asks all the time hears what one who asks for the first time does, and the same as before where a predictor
// says that it goes by the same.
RC_GTEST_PROP(Predictor, SaysTheSameWhateverItWasAskedBeforeAndOnTheSameGrounds, ()) {
  static const Profile profile = [] {
    const Trace trace = hidden_trace(1);
    Profile fitted = profile_of(trace);
    fitted.set_fitted(fit(trace, fitted.options(), 2, {}));
    return fitted;
  }();
  constexpr std::uint32_t kLayers = 2;
  constexpr std::uint32_t kExperts = 3;
  constexpr std::size_t kWidth = 6;
  const std::string name = *rc::gen::element<std::string>("cepr", "backoff", "online", "token", "token-path",
                                                          "previous-token", "lookahead", "pre-attention", "mix-hidden");
  const std::uint32_t depth = *rc::gen::inRange<std::uint32_t>(1, farthest_depth(name, profile) + 1);
  const auto asked = make_predictor(name, {.context = 2, .depth = depth}, profile);
  const auto silent = make_predictor(name, {.context = 2, .depth = depth}, profile);
  using Ranking = std::vector<RankedExpert>;
  const auto ranking = [&](Predictor& predictor, std::size_t row, std::uint32_t layer) {
    Ranking ranked(kExperts);
    predictor.rank(row, layer, ranked);
    return ranked;
  };
  std::size_t rows = *rc::gen::inRange<std::size_t>(1, 4);
  std::map<std::tuple<std::size_t, std::uint32_t, std::uint64_t>, Ranking> said;
  asked->begin(rows);
  silent->begin(rows);
  const auto calls = *rc::gen::inRange(1, 40);
  std::uint32_t layer = 0;
  for (int call = 0; call < calls; ++call) {
    const auto kind = *rc::gen::weightedElement<int>({{4, 0}, {4, 1}, {4, 2}, {2, 3}, {1, 4}});
    const std::vector<float> states = *rc::gen::container<std::vector<float>>(
        rows * kWidth, rc::gen::map(rc::gen::inRange(-9, 10), [](int value) { return static_cast<float>(value); }));
    const std::vector<std::uint16_t> experts =
        *rc::gen::container<std::vector<std::uint16_t>>(rows, rc::gen::inRange<std::uint16_t>(0, kExperts));
    const std::vector<std::uint32_t> parents = *rc::gen::nonEmpty(rc::gen::container<std::vector<std::uint32_t>>(
        rc::gen::inRange<std::uint32_t>(0, static_cast<std::uint32_t>(rows))));
    for (Predictor* const predictor : {asked.get(), silent.get()}) {
      if (kind == 0) predictor->approach(layer, {states.data(), rows, kWidth});
      if (kind == 1) predictor->hidden(layer, {states.data(), rows, kWidth});
      for (std::size_t row = 0; kind == 2 && row < rows; ++row) predictor->observe(row, layer, experts[row]);
      if (kind == 3) predictor->feed(std::vector<std::int32_t>(rows, experts[0]));
      if (kind == 4) predictor->reorder(parents);
    }
    if (kind == 2) layer = (layer + 1) % kLayers;
    if (kind == 3) layer = 0;
    if (kind == 4) {
      rows = parents.size();
      said.clear();
    }
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::uint32_t target = 0; target < kLayers; ++target) {
        const Ranking now = ranking(*asked, row, target);
        const std::optional<std::uint64_t> grounds = asked->grounds(row, target);
        if (grounds) RC_ASSERT(said.try_emplace({row, target, *grounds}, now).first->second == now);
      }
    }
  }
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::uint32_t target = 0; target < kLayers; ++target) {
      RC_ASSERT(ranking(*asked, row, target) == ranking(*silent, row, target));
    }
  }
}

TEST(MakePredictor, NamesWhatCannotBeBuilt) {
  const Trace trace = random_trace(8, 3, 2, 4, 1);
  const Profile profile = profile_of(trace);
  EXPECT_THROW((void)make_predictor("crystal-ball", {}, profile), UsageError);
  EXPECT_THROW((void)make_predictor("cepr", {.context = 7}, profile), UsageError);
  EXPECT_THROW((void)make_predictor("cepr", {.depth = 4}, profile), UsageError);
  EXPECT_THROW((void)make_predictor("token", {.depth = kFittedDepth + 1}, profile), UsageError);
  EXPECT_THROW((void)make_predictor("mix", {}, profile), UsageError) << "nothing has been fitted";
  EXPECT_THROW((void)make_predictor("lookahead", {}, profile), UsageError);
}

TEST(MakePredictor, AsksForCountedContextsOnlyWhereThereIsAnOrder) {
  const Trace trace = random_trace(8, 3, 2, 4, 1);
  Profile profile(trace.info, {.max_order = 2, .max_depth = 3, .token_order = 1});
  profile.add(trace);
  for (const char* name : {"popularity", "token", "token-path", "random", "previous-token", "edgemoe", "lru"}) {
    EXPECT_NO_THROW((void)make_predictor(name, {.context = 3}, profile)) << name;
  }
  for (const char* name : {"cepr", "incremental", "backoff", "online"}) {
    EXPECT_NO_THROW((void)make_predictor(name, {.context = 2}, profile)) << name;
    EXPECT_THROW((void)make_predictor(name, {.context = 3}, profile), UsageError) << name;
  }
}

TEST(Cost, IsThatOfTheDensestTable) {
  const Profile profile = profile_of(random_trace(8, 6, 10, 40, 1));
  // The paper's Figure 9(a): under 2 KB at m = 2 and 3.
  EXPECT_EQ(make_predictor("cepr", {.context = 2}, profile)->cost(1).device_bytes, 6U * 64 * 3 / 8);
  EXPECT_EQ(make_predictor("cepr", {.context = 3}, profile)->cost(1).device_bytes, 6U * 512 * 3 / 8);
  EXPECT_EQ(make_predictor("cepr", {.context = 3}, profile)->cost(2).device_bytes, 6U * 512 * 6 / 8);
  EXPECT_EQ(make_predictor("incremental", {.context = 2}, profile)->cost(1).device_bytes,
            static_cast<std::size_t>(std::ceil((1 + 8 + 4 * 64) * 3 / 8.0)));
}

}  // namespace
}  // namespace flame::routing
