// Predictions a second of the predictors, one thread: one sequence is fed and ranked, layer by layer, as in decoding.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <vector>

#include "flame/routing/predictor.h"
#include "flame/routing/profile.h"
#include "flame/routing/trace.h"

namespace {

using flame::routing::Predictor;
using flame::routing::PredictorOptions;
using flame::routing::Profile;
using flame::routing::RankedExpert;
using flame::routing::Trace;

constexpr std::uint32_t kExperts = 8;
constexpr std::uint32_t kLayers = 6;

/// 2,000 examples of 40 tokens whose experts lean on the expert and the token before.
Trace make_trace() {
  Trace trace;
  trace.info.experts = kExperts;
  trace.info.decoder_layers = kLayers;
  trace.info.vocabulary = 4096;
  trace.decoder.layers = kLayers;
  std::uint64_t state = 1;
  const auto random = [&] { return (state = state * 6364136223846793005ULL + 1442695040888963407ULL) >> 33; };
  std::uint64_t last = 0;
  for (std::int32_t example = 0; example < 2000; ++example) {
    for (int step = 0; step < 40; ++step) {
      const std::uint64_t token = random() % 4096;
      for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
        last = random() % 3 == 0 ? random() % kExperts : (last * 3 + layer + token) % kExperts;
        trace.decoder.experts.push_back(static_cast<std::uint16_t>(last));
        trace.decoder.probability.push_back({});
      }
      trace.decoder.token.push_back(static_cast<std::int32_t>(token));
      trace.decoder.example.push_back(example);
    }
  }
  return trace;
}

void predict(benchmark::State& state, const std::string& name, std::uint32_t order, std::size_t k) {
  static const Trace trace = make_trace();
  static const Profile profile = [] {
    Profile counted(trace.info, {});
    counted.add(trace);
    return counted;
  }();
  PredictorOptions options;
  options.context = order;
  options.depth = 1;
  const auto predictor = flame::routing::make_predictor(name, options, profile);
  std::vector<RankedExpert> ranked(k);
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

}  // namespace

BENCHMARK_CAPTURE(predict, cepr_3_k1, "cepr", 3, 1);
BENCHMARK_CAPTURE(predict, cepr_3_k2, "cepr", 3, 2);
BENCHMARK_CAPTURE(predict, cepr_6_k2, "cepr", 6, 2);
BENCHMARK_CAPTURE(predict, cepr_3_k8, "cepr", 3, 8);
BENCHMARK_CAPTURE(predict, cepr_6_k8, "cepr", 6, 8);
BENCHMARK_CAPTURE(predict, incremental_6_k2, "incremental", 6, 2);
BENCHMARK_CAPTURE(predict, popularity_k2, "popularity", 0, 2);
BENCHMARK_CAPTURE(predict, edgemoe_k2, "edgemoe", 0, 2);
BENCHMARK_CAPTURE(predict, previous_token_k2, "previous-token", 0, 2);
BENCHMARK_CAPTURE(predict, lru_k2, "lru", 0, 2);
BENCHMARK_CAPTURE(predict, token_k2, "token", 0, 2);
BENCHMARK_CAPTURE(predict, token_path_k2, "token-path", 0, 2);
BENCHMARK_CAPTURE(predict, backoff_3_k2, "backoff", 3, 2);
BENCHMARK_CAPTURE(predict, backoff_6_k2, "backoff", 6, 2);
BENCHMARK_CAPTURE(predict, online_3_k2, "online", 3, 2);

BENCHMARK_MAIN();
