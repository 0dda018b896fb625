#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace flame::eval {

/// Any more would only take time and memory: 95 % intervals of 1000 are good to their third digit.
inline constexpr std::size_t kMostBootstrapSamples = 1'000'000;

/// How a confidence interval is drawn.
struct Bootstrap {
  std::size_t samples = 1000;  ///< how many times the examples are drawn anew, with replacement
  double confidence = 0.95;    ///< the share of the drawn means that lies inside the interval
  std::uint64_t seed = 1;      ///< the same seed gives the same interval on every machine
};

/// A mean over examples with its percentile bootstrap interval.
struct Interval {
  double mean = 0.0;
  double low = 0.0;
  double high = 0.0;
};

/// The mean of `values` and the interval in which Bootstrap::confidence of the means of redrawn examples lie, with
/// percentiles interpolated linearly (Efron; the rouge-score package does the same). Equal seeds and equal numbers of
/// values draw the same examples, so that intervals of several measures belong together. Zeros when empty. Throws
/// UsageError for a confidence that is no share (NaN among them) and for more than kMostBootstrapSamples.
[[nodiscard]] Interval bootstrap_mean(std::span<const double> values, const Bootstrap& bootstrap);

/// The mean of values[i] - baseline[i], with the interval over redrawn examples: tells two systems apart on the same
/// examples far better than two separate intervals do. Both spans have one element an example.
[[nodiscard]] Interval bootstrap_difference(std::span<const double> values, std::span<const double> baseline,
                                            const Bootstrap& bootstrap);

}  // namespace flame::eval
