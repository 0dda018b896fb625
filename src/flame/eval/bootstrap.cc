#include "flame/eval/bootstrap.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "flame/base/error.h"

namespace flame::eval {
namespace {

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// The q-quantile (0 <= q <= 1) of ascending values, linear between neighbours.
double quantile(std::span<const double> sorted, double q) {
  const double position = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], position - static_cast<double>(below));
}

}  // namespace

Interval bootstrap_mean(std::span<const double> values, const Bootstrap& bootstrap) {
  if (!(bootstrap.confidence >= 0.0 && bootstrap.confidence <= 1.0)) {
    throw UsageError(fmt::format("confidence {}: expected a share, from 0 to 1", bootstrap.confidence));
  }
  if (bootstrap.samples > kMostBootstrapSamples) {
    throw UsageError(
        fmt::format("{} bootstrap samples: at most {} are drawn", bootstrap.samples, kMostBootstrapSamples));
  }
  if (values.empty()) return {};
  Interval interval;
  interval.mean = mean_of(values);
  interval.low = interval.high = interval.mean;
  if (bootstrap.samples == 0) return interval;
  // The standard's distributions differ from library to library; this engine and a remainder do not.
  std::mt19937_64 random(bootstrap.seed);
  std::vector<double> means(bootstrap.samples);
  for (double& mean : means) {
    double sum = 0.0;
    for (std::size_t i = 0; i < values.size(); ++i) sum += values[random() % values.size()];
    mean = sum / static_cast<double>(values.size());
  }
  std::sort(means.begin(), means.end());
  const double outside = (1.0 - bootstrap.confidence) / 2.0;
  interval.low = quantile(means, outside);
  interval.high = quantile(means, 1.0 - outside);
  return interval;
}

Interval bootstrap_difference(std::span<const double> values, std::span<const double> baseline,
                              const Bootstrap& bootstrap) {
  assert(values.size() == baseline.size());
  std::vector<double> differences(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) differences[i] = values[i] - baseline[i];
  return bootstrap_mean(differences, bootstrap);
}

}  // namespace flame::eval
