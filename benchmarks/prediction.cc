// Predictions a second of the predictors, one thread. predict/…: one sequence is fed and ranked, layer by layer, as in
// decoding; k is how many experts are asked for. replay/…: `flame eval prediction` on the same trace, with its scoring
// of the whole ranking. The contexts are drawn uniformly, the worst case for caches.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "flame/base/random.h"
#include "flame/eval/prediction_tally.h"
#include "flame/routing/predictor.h"
#include "flame/routing/profile.h"
#include "flame/routing/trace.h"

namespace {

using flame::routing::Profile;
using flame::routing::RankedExpert;
using flame::routing::Trace;

constexpr std::uint32_t kLayers = 6;

/// 2,000 examples of 40 tokens, as skewed as a trained model's: the token of rank r comes as 1 / r, and seven experts
/// in ten are the token's own, the others lean on the expert before.
Trace make_trace(std::uint32_t experts) {
  constexpr double kTokens = 4096;
  Trace trace;
  trace.info.experts = experts;
  trace.info.decoder_layers = kLayers;
  trace.info.vocabulary = static_cast<std::uint32_t>(kTokens);
  trace.decoder.layers = kLayers;
  flame::Random random(1);
  std::uint64_t last = 0;
  for (std::int32_t example = 0; example < 2000; ++example) {
    for (int step = 0; step < 40; ++step) {
      const auto token = static_cast<std::uint64_t>(std::pow(kTokens, random.next_uniform())) - 1;
      for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
        const std::uint64_t own = (token * 0x9E3779B97F4A7C15ULL + layer * 0xD1B54A32D192ED03ULL) >> 40;
        const std::uint64_t draw = random.next_below(10);
        last = (draw < 7 ? own : draw < 9 ? last * 3 + layer : random.next_below(experts)) % experts;
        trace.decoder.experts.push_back(static_cast<std::uint16_t>(last));
        trace.decoder.probability.push_back({});
      }
      trace.decoder.token.push_back(static_cast<std::int32_t>(token));
      trace.decoder.example.push_back(example);
    }
  }
  return trace;
}

const Trace& trace_of(std::uint32_t experts) {
  static std::map<std::uint32_t, Trace> traces;
  const auto found = traces.find(experts);
  return found != traces.end() ? found->second : traces.emplace(experts, make_trace(experts)).first->second;
}

const Profile& profile_of(std::uint32_t experts) {
  static std::map<std::uint32_t, Profile> profiles;
  const auto found = profiles.find(experts);
  if (found != profiles.end()) return found->second;
  Profile counted(trace_of(experts).info, {});
  counted.add(trace_of(experts));
  return profiles.emplace(experts, std::move(counted)).first->second;
}

void predict(benchmark::State& state, const std::string& name, std::uint32_t order, std::uint32_t experts) {
  const Trace& trace = trace_of(experts);
  const auto predictor = flame::routing::make_predictor(name, {.context = order, .depth = 1}, profile_of(experts));
  std::vector<RankedExpert> ranked(static_cast<std::size_t>(state.range(0)));
  predictor->begin(1);
  std::size_t step = 0;
  std::uint64_t correct = 0;
  for (auto _ : state) {
    if (step == trace.decoder.steps()) step = 0;
    predictor->feed(std::span(trace.decoder.token).subspan(step, 1));
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
      predictor->rank(0, layer, ranked);
      const std::uint16_t expert = trace.decoder.experts[step * kLayers + layer];
      correct += ranked[0].expert == expert ? 1U : 0U;
      predictor->observe(0, layer, expert);
    }
    ++step;
  }
  benchmark::DoNotOptimize(correct);
  state.SetItemsProcessed(state.iterations() * kLayers);
}

void replay(benchmark::State& state, const std::string& name, std::uint32_t order, std::uint32_t experts) {
  const Trace& trace = trace_of(experts);
  const std::vector<flame::routing::StepRange> examples = flame::routing::examples_of(trace.decoder);
  const auto predictor = flame::routing::make_predictor(name, {.context = order, .depth = 1}, profile_of(experts));
  const std::uint32_t depths[] = {1};
  for (auto _ : state) benchmark::DoNotOptimize(flame::eval::tally_predictions(trace, examples, *predictor, depths));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(trace.decoder.experts.size()));
}

struct Case {
  const char* name;
  std::uint32_t order;
};

/// Every predictor that needs no hidden states and no future.
constexpr Case kCases[] = {
    {"cepr", 1},    {"cepr", 3},           {"cepr", 6},       {"incremental", 3}, {"incremental", 6}, {"popularity", 0},
    {"random", 0},  {"previous-token", 0}, {"edgemoe", 0},    {"lru", 0},         {"lifo", 0},        {"backoff", 3},
    {"backoff", 6}, {"token", 0},          {"token-path", 0}, {"online", 3},      {"online", 6}};

}  // namespace

int main(int argc, char** argv) {
  for (const std::uint32_t experts : {8U, 16U}) {
    for (const auto& [name, order] : kCases) {
      const std::string text =
          fmt::format("{}{}/experts:{}", name, order > 0 ? fmt::format("({})", order) : "", experts);
      const std::string predictor = name;
      const std::uint32_t context = order;
      benchmark::RegisterBenchmark(("predict/" + text).c_str(),
                                   [=](benchmark::State& state) { predict(state, predictor, context, experts); })
          ->ArgName("k")
          ->Arg(1)
          ->Arg(2)
          ->Arg(experts);
      benchmark::RegisterBenchmark(("replay/" + text).c_str(),
                                   [=](benchmark::State& state) { replay(state, predictor, context, experts); });
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
