#include "flame/routing/fit.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "flame/model/weights.h"
#include "flame/routing/linear_solve.h"
#include "flame/routing/mix_predictor.h"
#include "flame/routing/replay.h"

namespace flame::routing {
namespace {

/// Features ([parts, E]) and choices of one layer at one depth.
struct Choices {
  std::vector<float> features;
  std::vector<std::uint16_t> chosen;
};

/// Newton's method for the conditional logit, with a weak pull towards equal weights.
std::vector<float> fit_weights(const Choices& choices, std::size_t parts, std::size_t experts) {
  constexpr int kIterations = 25;
  constexpr double kPull = 1.0;
  const double equal = 1.0 / static_cast<double>(parts);
  std::vector<double> weight(parts, equal);
  std::vector<double> probability(experts);
  std::vector<double> mean(parts);
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    std::vector<double> gradient(parts, 0.0);
    std::vector<double> hessian(parts * parts, 0.0);
    for (std::size_t i = 0; i < parts; ++i) {
      gradient[i] = kPull * (equal - weight[i]);
      hessian[i * parts + i] = kPull;
    }
    for (std::size_t s = 0; s < choices.chosen.size(); ++s) {
      const float* const feature = choices.features.data() + s * parts * experts;
      double highest = -1e300;
      for (std::size_t e = 0; e < experts; ++e) {
        probability[e] = 0.0;
        for (std::size_t i = 0; i < parts; ++i) {
          probability[e] += weight[i] * static_cast<double>(feature[i * experts + e]);
        }
        highest = std::max(highest, probability[e]);
      }
      double sum = 0.0;
      for (double& value : probability) sum += value = std::exp(value - highest);
      for (double& value : probability) value /= sum;
      for (std::size_t i = 0; i < parts; ++i) {
        mean[i] = 0.0;
        for (std::size_t e = 0; e < experts; ++e) {
          mean[i] += probability[e] * static_cast<double>(feature[i * experts + e]);
        }
        gradient[i] += static_cast<double>(feature[i * experts + choices.chosen[s]]) - mean[i];
      }
      for (std::size_t i = 0; i < parts; ++i) {
        for (std::size_t j = 0; j <= i; ++j) {
          double second = 0.0;
          for (std::size_t e = 0; e < experts; ++e) {
            second += probability[e] * static_cast<double>(feature[i * experts + e]) *
                      static_cast<double>(feature[j * experts + e]);
          }
          hessian[i * parts + j] += second - mean[i] * mean[j];
        }
      }
    }
    solve(hessian, gradient, parts, 1);
    double longest = 0.0;
    for (const double step : gradient) longest = std::max(longest, std::abs(step));
    const double damping = longest > 1.0 ? 1.0 / longest : 1.0;  // far from the optimum the quadratic model is not one
    for (std::size_t i = 0; i < parts; ++i) weight[i] += damping * gradient[i];
    if (longest < 1e-4) break;
  }
  return {weight.begin(), weight.end()};
}

/// Every fifth example, or the other four fifths.
Trace part_of(const Trace& trace, bool fifth) {
  std::vector<bool> keep(std::max(examples_of(trace.encoder).size(), examples_of(trace.decoder).size()));
  for (std::size_t example = 0; example < keep.size(); ++example) keep[example] = (example % 5 == 4) == fifth;
  return select_examples(trace, keep);
}

}  // namespace

std::vector<LinearMap> router_maps(const model::DenseWeights& weights, std::uint32_t depth) {
  std::vector<LinearMap> maps;
  std::uint32_t layer = 0;
  for (const model::BlockWeights& block : weights.decoder.blocks) {
    if (!block.router) continue;
    const Matrix<float>& classifier = block.router->classifier;
    const std::size_t experts = classifier.rows();
    LinearMap map;
    map.layer = layer++;
    map.weight.resize(experts * classifier.columns());
    for (std::size_t expert = 0; expert < experts; ++expert) {
      for (std::size_t i = 0; i < classifier.columns(); ++i)
        map.weight[i * experts + expert] = classifier.row(expert)[i];
    }
    map.bias = block.router->bias;
    map.bias.resize(experts, 0.0F);
    for (map.depth = 1; map.depth <= depth; ++map.depth) maps.push_back(map);
  }
  return maps;
}

Mixture fit_mixture(std::string name, std::vector<std::string> parts, std::uint32_t context, std::uint32_t depth,
                    const Profile& profile, const Trace& held_out) {
  /// Choices looked at for one set of weights: a thousand times the numbers to be found.
  constexpr std::size_t kSamples = 10000;
  MixPredictor mix(name, make_parts(parts, context, depth, profile), {}, depth, profile);
  const std::uint32_t layers = profile.layers();
  const std::size_t stride = held_out.decoder.steps() / kSamples + 1;
  std::vector<Choices> choices(std::size_t{depth} * layers);
  Replay replay(held_out, mix);
  for (const StepRange& range : examples_of(held_out.decoder)) {
    replay.run(range, [&](std::size_t step, std::uint32_t layer) {
      if (step % stride != 0) return;
      const std::size_t position = step * layers + layer;
      for (std::uint32_t d = 1; d <= depth && position + d - 1 < range.end * layers; ++d) {
        const std::uint32_t target = (layer + d - 1) % layers;
        const std::span<const float> features = mix.features(0, target);
        Choices& into = choices[std::size_t{d - 1} * layers + target];
        into.features.insert(into.features.end(), features.begin(), features.end());
        into.chosen.push_back(held_out.decoder.experts[position + d - 1]);
      }
    });
  }
  Mixture mixture{std::move(name), context, std::move(parts), {}};
  for (std::uint32_t d = 1; d <= depth; ++d) {
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      mixture.weights.push_back(
          {layer, d,
           fit_weights(choices[std::size_t{d - 1} * layers + layer], mixture.parts.size(), profile.experts())});
    }
  }
  return mixture;
}

Fitted fit(const Trace& trace, const ProfileOptions& options, std::uint32_t context, std::vector<LinearMap> routers) {
  const std::uint32_t depth = std::min(kFittedDepth, trace.info.decoder_layers);
  const Trace counted = part_of(trace, false);
  const Trace held_out = part_of(trace, true);
  Profile profile(trace.info, options);
  profile.add(counted);
  Fitted partial;
  partial.maps = fit_maps(counted, false, depth);
  partial.approach = fit_maps(counted, true, depth);
  partial.router = routers;
  profile.set_fitted(std::move(partial));

  Fitted fitted;
  std::vector<std::string> parts = {"backoff", "online", "token", "token-path", "previous-token"};
  fitted.mixtures.push_back(fit_mixture("mix", parts, context, depth, profile, held_out));
  if (!profile.fitted().maps.empty()) parts.emplace_back("lookahead");
  if (!profile.fitted().approach.empty()) parts.emplace_back("pre-attention");
  if (parts.size() > 5) {
    fitted.mixtures.push_back(fit_mixture("mix-hidden", parts, context, depth, profile, held_out));
  }
  fitted.maps = fit_maps(trace, false, depth);
  fitted.approach = fit_maps(trace, true, depth);
  fitted.router = std::move(routers);
  return fitted;
}

}  // namespace flame::routing
