#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "flame/experts/expert_grid.h"

namespace flame::experts {

/// A mean that follows what it measures: each observation has a weight of 1/8, the first ones more.
class MovingMean {
 public:
  void add(double value);
  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] double value(double otherwise) const { return count_ == 0 ? otherwise : mean_; }

 private:
  double mean_ = 0.0;
  std::uint32_t count_ = 0;
};

/// What a forecast is worth: how often experts that were promised a probability were in fact used, counted by tenths
/// of probability and forgotten slowly, so that a predictor that has become wrong is no longer believed.
class Calibration {
 public:
  void observe(double promised, bool used);
  /// The probability that experience gives to a promise.
  [[nodiscard]] double corrected(double promised) const;
  /// Used over promised, over all that was observed: 1 means "as promised". The measure of drift.
  [[nodiscard]] double observed_over_promised() const;

 private:
  static constexpr std::size_t kBins = 10;
  struct Bin {
    double trials = 0.0;
    double used = 0.0;
    double promised = 0.0;
  };
  [[nodiscard]] static std::size_t bin_of(double promised);
  Bin bins_[kBins] = {};
  double used_ = 0.0;
  double promised_ = 0.0;
};

/// Measured costs of the storage and of computing, and from them what a speculative load would win or lose.
/// All times in seconds.
class CostModel {
 public:
  /// `expert_bytes` as stored. Before the first measurement a storage of 1 GB/s and gaps of 1 ms are assumed.
  CostModel(const ExpertGrid& grid, std::uint64_t expert_bytes, std::uint64_t chunk_bytes);

  /// A whole load that had the storage to itself took so long.
  void observe_load(double seconds) { load_.add(seconds); }
  /// From the router's decision in `layer` to the next layer's, without waiting for loads.
  void observe_gap(LayerIndex layer, double seconds) { gaps_[layer].add(seconds); }

  [[nodiscard]] double load_seconds() const;
  /// What a demand load waits for a chunk of a prefetch that is in flight.
  [[nodiscard]] double chunk_seconds() const;
  [[nodiscard]] double gap_seconds(LayerIndex layer) const;

  /// Seconds that a prefetch is expected to save: `probability` of need times the part of the load that would be over
  /// at the deadline, less what it is expected to cost demand loads in the other case. `queue_seconds` of loads go
  /// before it, `time_left` remain until its layer's router decides.
  [[nodiscard]] double prefetch_gain(double probability, double queue_seconds, double time_left) const;

 private:
  std::uint64_t expert_bytes_;
  std::uint64_t chunk_bytes_;
  MovingMean load_;
  std::vector<MovingMean> gaps_;  ///< [layers]
};

}  // namespace flame::experts
