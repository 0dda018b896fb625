// Linear maps from hidden states to experts: ridge regression, then multinomial logistic regression from there on.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/random.h"
#include "flame/base/thread_pool.h"
#include "flame/routing/fit.h"
#include "flame/routing/linear_map.h"
#include "flame/routing/linear_solve.h"

namespace flame::routing {
namespace {

/// States used for one map: a few dozen times the numbers to be found in a model of the size of switch-base.
constexpr std::size_t kSamples = 40000;
constexpr double kRidge = 1e-3;  ///< of the features' mean square
constexpr std::size_t kBatch = 32;
constexpr float kRate = 4e-3F;
constexpr float kDecay = 1e-4F;  ///< pull of the weights towards zero
/// Multiplications one map may take; bounds the epochs where states are wide and experts many.
constexpr double kWork = 4e9;
constexpr double kMostEpochs = 16;

/// States (x / rms(x)) with the experts that came `distance` positions on.
struct Samples {
  std::vector<float> x;               ///< [samples, d_model]
  std::vector<std::uint16_t> expert;  ///< [samples]
  std::size_t d_model = 0;

  [[nodiscard]] std::size_t size() const { return expert.size(); }
  [[nodiscard]] std::span<const float> state(std::size_t i) const { return std::span(x).subspan(i * d_model, d_model); }
};

Samples samples_of(const StackTrace& stack, const std::vector<BFloat16>& states, std::size_t d_model,
                   std::uint32_t source, std::uint32_t distance) {
  std::vector<std::size_t> positions;
  for (const StepRange& range : examples_of(stack)) {
    for (std::size_t step = range.first; step < range.end; ++step) {
      const std::size_t position = step * stack.layers + source;
      if (position + distance < range.end * stack.layers) positions.push_back(position);
    }
  }
  const std::size_t stride = positions.size() / kSamples + 1;  // evenly thinned
  Samples samples;
  samples.d_model = d_model;
  for (std::size_t i = 0; i < positions.size(); i += stride) {
    const auto first = states.begin() + static_cast<std::ptrdiff_t>(positions[i] * d_model);
    float square = 0.0F;
    for (std::size_t j = 0; j < d_model; ++j)
      square += first[static_cast<std::ptrdiff_t>(j)].to_float() * first[static_cast<std::ptrdiff_t>(j)].to_float();
    const float scale = 1.0F / std::sqrt(square / static_cast<float>(d_model) + 1e-12F);
    for (std::size_t j = 0; j < d_model; ++j) {
      samples.x.push_back(first[static_cast<std::ptrdiff_t>(j)].to_float() * scale);
    }
    samples.expert.push_back(stack.experts[positions[i] + distance]);
  }
  return samples;
}

/// Least squares to one-hot experts; a start for the logistic regression, and a good one for its direction.
void fit_ridge(const Samples& samples, std::size_t experts, LinearMap& map) {
  const std::size_t d_model = samples.d_model;
  const std::size_t n = d_model + 1;
  std::vector<double> gram(n * n, 0.0);
  std::vector<double> target(n * experts, 0.0);
  std::vector<double> feature(n, 1.0);
  for (std::size_t s = 0; s < samples.size(); ++s) {
    std::copy_n(samples.state(s).begin(), d_model, feature.begin());
    for (std::size_t i = 0; i < n; ++i) {
      double* const row = gram.data() + i * n;
      for (std::size_t j = 0; j <= i; ++j) row[j] += feature[i] * feature[j];
      target[i * experts + samples.expert[s]] += feature[i];
    }
  }
  for (std::size_t i = 0; i < d_model; ++i) gram[i * n + i] += kRidge * static_cast<double>(samples.size());
  solve(gram, target, n, experts);
  const auto weights = target.begin() + static_cast<std::ptrdiff_t>(d_model * experts);
  // One-hot targets lie between 0 and 1; as logits they are wanted several times as far apart.
  constexpr double kSpread = 6.0;
  for (double& value : target) value *= kSpread;
  map.weight.assign(target.begin(), weights);
  map.bias.assign(weights, target.end());
}

/// Adam (Kingma and Ba, ICLR 2015) over one array of parameters.
class Adam {
 public:
  explicit Adam(std::size_t size) : mean_(size, 0.0F), square_(size, 0.0F) {}

  void step(std::vector<float>& values, const std::vector<float>& gradient, float rate) {
    constexpr float kMean = 0.9F;
    constexpr float kSquare = 0.99F;
    mean_correction_ *= kMean;
    square_correction_ *= kSquare;
    const float scale = rate / (1.0F - mean_correction_);
    const float square_scale = 1.0F / (1.0F - square_correction_);
    for (std::size_t i = 0; i < values.size(); ++i) {
      mean_[i] = kMean * mean_[i] + (1.0F - kMean) * gradient[i];
      square_[i] = kSquare * square_[i] + (1.0F - kSquare) * gradient[i] * gradient[i];
      values[i] -= scale * mean_[i] / (std::sqrt(square_[i] * square_scale) + 1e-8F);
    }
  }

 private:
  std::vector<float> mean_;
  std::vector<float> square_;
  float mean_correction_ = 1.0F;
  float square_correction_ = 1.0F;
};

/// Minimises the mean of -ln P(expert) from the map as it is, by mini-batches with a rate that falls to nothing.
void fit_logistic(const Samples& samples, std::size_t experts, LinearMap& map) {
  const std::size_t d_model = samples.d_model;
  const double epoch_work = 2.0 * static_cast<double>(samples.size() * d_model * experts);
  const auto epochs = static_cast<std::size_t>(std::clamp(kWork / epoch_work, 1.0, kMostEpochs));
  std::vector<std::size_t> order(samples.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  Random random(1);
  Adam weight_steps(map.weight.size());
  Adam bias_steps(map.bias.size());
  std::vector<float> weight_gradient(map.weight.size());
  std::vector<float> bias_gradient(map.bias.size());
  std::vector<float> error(experts);
  const std::size_t batches = (samples.size() + kBatch - 1) / kBatch;
  for (std::size_t epoch = 0; epoch < epochs; ++epoch) {
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.next_below(i)]);
    for (std::size_t batch = 0; batch < batches; ++batch) {
      const std::size_t first = batch * kBatch;
      const std::size_t count = std::min(kBatch, samples.size() - first);
      for (std::size_t i = 0; i < weight_gradient.size(); ++i) weight_gradient[i] = kDecay * map.weight[i];
      std::fill(bias_gradient.begin(), bias_gradient.end(), 0.0F);
      for (std::size_t s = first; s < first + count; ++s) {
        const std::span<const float> x = samples.state(order[s]);
        apply(map, x, error);
        error[samples.expert[order[s]]] -= 1.0F;
        for (float& value : error) value /= static_cast<float>(count);
        for (std::size_t i = 0; i < d_model; ++i) {
          float* const row = weight_gradient.data() + i * experts;
          for (std::size_t e = 0; e < experts; ++e) row[e] += x[i] * error[e];
        }
        for (std::size_t e = 0; e < experts; ++e) bias_gradient[e] += error[e];
      }
      const double done = static_cast<double>(epoch * batches + batch) / static_cast<double>(epochs * batches);
      const float rate = kRate * static_cast<float>(0.5 + 0.5 * std::cos(3.14159265358979 * done));
      weight_steps.step(map.weight, weight_gradient, rate);
      bias_steps.step(map.bias, bias_gradient, rate);
    }
  }
}

}  // namespace

std::vector<LinearMap> fit_maps(const Trace& trace, bool approach, std::uint32_t depth) {
  const StackTrace& stack = trace.decoder;
  const std::vector<BFloat16>& states = approach ? stack.approach : stack.hidden;
  if (states.empty()) return {};
  std::vector<LinearMap> maps(std::size_t{stack.layers} * depth);
  ThreadPool::parallel_for(maps.size(), 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const auto source = static_cast<std::uint32_t>(i / depth);
      const auto distance = static_cast<std::uint32_t>(i % depth) + (approach ? 0U : 1U);
      const Samples samples = samples_of(stack, states, trace.info.d_model, source, distance);
      if (samples.size() == 0) continue;
      LinearMap& map = maps[i];
      map.layer = (source + distance) % stack.layers;
      map.depth = distance;
      map.normalise = true;
      fit_ridge(samples, trace.info.experts, map);
      fit_logistic(samples, trace.info.experts, map);
    }
  });
  std::erase_if(maps, [](const LinearMap& map) { return map.weight.empty(); });
  return maps;
}

void widen_maps(Fitted& fitted, std::size_t width) {
  for (std::vector<LinearMap>* const maps : {&fitted.router, &fitted.maps, &fitted.approach}) {
    for (LinearMap& map : *maps) {
      const std::size_t experts = map.bias.size();
      const std::size_t own = map.weight.size() / experts;
      if (width < own) {
        throw UsageError(fmt::format("maps of states of {} numbers cannot read states of {}", own, width));
      }
      // The root of the mean square is over more numbers now, and less by so much.
      const float less = map.normalise ? std::sqrt(static_cast<float>(own) / static_cast<float>(width)) : 1.0F;
      for (float& weight : map.weight) weight *= less;
      map.weight.resize(width * experts, 0.0F);
    }
  }
}

}  // namespace flame::routing
