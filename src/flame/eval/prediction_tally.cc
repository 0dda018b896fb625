#include "flame/eval/prediction_tally.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "flame/base/error.h"
#include "flame/routing/replay.h"

namespace flame::eval {
namespace {

/// A sum of -ln p whose logarithms are taken of products: one of some dozens of them instead of each.
class LogLoss {
 public:
  void add(double probability) {
    product_ *= std::max(probability, 1e-9);
    if (product_ < 1e-280) flush();  // above the least normal number even after one more factor
  }
  [[nodiscard]] double sum() {
    flush();
    return sum_;
  }

 private:
  void flush() {
    sum_ -= std::log(product_);
    product_ = 1.0;
  }

  double product_ = 1.0;
  double sum_ = 0.0;
};

}  // namespace

void require_states(const routing::Predictor& predictor, const routing::Trace& trace) {
  const bool lacks = (predictor.needs_hidden() && trace.decoder.hidden.empty()) ||
                     (predictor.needs_approach() && trace.decoder.approach.empty());
  if (!lacks) return;
  throw UsageError(fmt::format(
      "predictor {} looks at hidden states, which the trace does not have: make it with --hidden", predictor.name()));
}

std::vector<PredictionTally> tally_predictions(const routing::Trace& trace,
                                               std::span<const routing::StepRange> examples,
                                               routing::Predictor& predictor, std::span<const std::uint32_t> depths) {
  const std::size_t experts = trace.info.experts;
  const std::uint32_t layers = trace.decoder.layers;
  const std::size_t width = experts + 1;
  std::vector<PredictionTally> tallies(depths.size());
  for (PredictionTally& tally : tallies) {
    tally.experts = experts;
    tally.layers = layers;
    tally.place.resize(layers * width);
    tally.by_example.resize(examples.size() * width);
    tally.promised.resize(experts);
  }
  std::vector<LogLoss> losses(depths.size());
  std::vector<routing::RankedExpert> ranked(experts);
  routing::Replay replay(trace, predictor);
  for (std::size_t example = 0; example < examples.size(); ++example) {
    const std::size_t end = examples[example].end * layers;
    replay.run(examples[example], [&](std::size_t step, std::uint32_t layer) {
      const std::size_t position = step * layers + layer;
      for (std::size_t i = 0; i < depths.size(); ++i) {
        const std::uint32_t ahead = depths[i] - 1;
        if (position + ahead >= end) continue;
        const std::uint32_t target = (layer + ahead) % layers;
        const std::uint16_t expert = trace.decoder.experts[position + ahead];
        const std::size_t count = predictor.rank(0, target, ranked);
        PredictionTally& tally = tallies[i];
        // Without a branch on what is found where: it would be mispredicted as often as the expert is.
        std::size_t found = experts;
        float probability = 0.0F;
        for (std::size_t place = 0; place < count; ++place) {
          const routing::RankedExpert candidate = ranked[place];
          tally.promised[place] += static_cast<double>(candidate.probability);
          found = candidate.expert == expert ? place : found;
          probability = candidate.expert == expert ? candidate.probability : probability;
        }
        ++tally.place[target * width + found];
        ++tally.by_example[example * width + found];
        losses[i].add(static_cast<double>(probability));
      }
    });
  }
  for (std::size_t i = 0; i < depths.size(); ++i) tallies[i].log_loss = losses[i].sum();
  return tallies;
}

}  // namespace flame::eval
