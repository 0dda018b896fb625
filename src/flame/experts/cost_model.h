#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
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
  /// Counts one promise. What corrected() says changes with the next settle().
  void observe(double promised, bool used) {
    const std::size_t number = bin_of(promised);
    Bin& bin = bins_[number];
    bin.trials = bin.trials * kForget + 1.0;
    bin.used = bin.used * kForget + (used ? 1.0 : 0.0);
    bin.promised = bin.promised * kForget + promised;
    changed_ |= 1U << number;
  }
  void settle();
  /// The probability that experience gives to a promise. Within a tenth promises are scaled, so that rankings inside it
  /// stay as they were.
  [[nodiscard]] double corrected(double promised) const {
    return std::min(1.0, promised * bins_[bin_of(promised)].ratio);
  }

 private:
  static constexpr std::size_t kBins = 10;
  /// A trial's weight falls to half after about 700 later ones in its bin.
  static constexpr double kForget = 0.999;
  struct Bin {
    double trials = 0.0;
    double used = 0.0;
    double promised = 0.0;
    double ratio = 1.0;  ///< used over promised, leaning on 1 while there are few trials
  };
  [[nodiscard]] static std::size_t bin_of(double promised) {
    const auto position = static_cast<std::int32_t>(promised * static_cast<double>(kBins));
    return static_cast<std::size_t>(std::clamp(position, 0, static_cast<std::int32_t>(kBins) - 1));
  }
  Bin bins_[kBins] = {};
  std::uint32_t changed_ = 0;  ///< bit i: bin i's ratio is to be reckoned anew
};

/// Bytes of a load, after which a prefetch gives way to demand.
struct ChunkBytes {
  std::uint64_t slow = 1;
  std::uint64_t fast = 1;  ///< on a storage that delivers fast_bytes_per_second
  double fast_bytes_per_second = std::numeric_limits<double>::infinity();
  [[nodiscard]] std::uint64_t at(double bytes_per_second) const {
    return bytes_per_second >= fast_bytes_per_second ? fast : slow;
  }
};

/// Measured costs of the storage and of computing, and from them what a speculative load would win or lose.
/// All times in seconds.
class CostModel {
 public:
  /// `expert_bytes` as stored. Before the first measurement a storage of 1 GB/s and gaps of 1 ms are assumed.
  CostModel(const ExpertGrid& grid, std::uint64_t expert_bytes, const ChunkBytes& chunk_bytes);

  /// A whole load of an expert of `layer` that had the storage to itself took so long.
  void observe_load(LayerIndex layer, double seconds) {
    load_.add(seconds);
    load_of_stack_[stack_of(layer)].add(seconds);
  }
  /// `loads`, at least 2, of experts of `layer` that the storage was asked for at once were over in so many seconds.
  void observe_loads_at_once(LayerIndex layer, double loads, double seconds) {
    const double further = (seconds - load_seconds(layer)) / (loads - 1.0);
    further_of_stack_[stack_of(layer)].add(std::clamp(further, 0.0, load_seconds(layer)));
  }
  /// From the router's decision in `layer` to the next layer's, without waiting for loads. Layer number layers() stands
  /// for the beginning of a batch.
  void observe_gap(LayerIndex layer, double seconds) { gaps_[layer].add(seconds); }

  [[nodiscard]] bool has_measured_load() const { return !load_.empty(); }
  [[nodiscard]] double load_seconds() const { return load_.value(assumed_load_); }
  /// Of the experts of the layer's stack: encoder and decoder may be packed differently.
  [[nodiscard]] double load_seconds(LayerIndex layer) const {
    return load_of_stack_[stack_of(layer)].value(load_seconds());
  }
  /// What so many loads of experts of `layer` take when the storage is asked for them at once: its latency passes for
  /// all of them together.
  [[nodiscard]] double seconds_at_once(LayerIndex layer, std::uint32_t loads) const {
    if (loads == 0) return 0.0;
    const double further = further_of_stack_[stack_of(layer)].value(load_seconds(layer));
    return load_seconds(layer) + static_cast<double>(loads - 1) * further;
  }
  /// What a demand load waits for a chunk of a prefetch that is in flight.
  [[nodiscard]] double chunk_seconds() const {
    return load_seconds() * (load_seconds() <= fast_load_ ? fast_chunk_share_ : chunk_share_);
  }
  [[nodiscard]] double gap_seconds(LayerIndex layer) const { return gaps_[layer].value(1e-3); }

  /// Seconds that a prefetch is expected to save: `probability` of need times the part of the load that would be over
  /// at the deadline, less what it is expected to cost demand loads in the other case. `queue_seconds` of loads go
  /// before it, `time_left` remain until its layer's router decides.
  [[nodiscard]] double prefetch_gain(double probability, double queue_seconds, double time_left) const {
    const double load = load_seconds();
    const double overlapped = std::clamp(time_left - queue_seconds, 0.0, load);
    return probability * overlapped - (1.0 - probability) * vain_cost(overlapped);
  }
  /// The probability below which no prefetch with so much time left can pay, even if the storage had nothing else to
  /// do.
  [[nodiscard]] double least_probability(double time_left) const;

 private:
  /// The best of many candidates is not as good as it looks: what a vain prefetch costs counts for more than it is.
  static constexpr double kCaution = 2.0;
  /// The share of vain loading that would have been time for another load that pays.
  static constexpr double kRegret = 0.4;
  /// What a prefetch costs that is given up when `overlapped` seconds of it are over.
  [[nodiscard]] double vain_cost(double overlapped) const { return kCaution * chunk_seconds() + kRegret * overlapped; }
  [[nodiscard]] std::size_t stack_of(LayerIndex layer) const { return layer < encoder_layers_ ? 0 : 1; }
  std::uint32_t encoder_layers_;
  double assumed_load_;  ///< before the first measurement
  double chunk_share_;   ///< of an expert
  double fast_chunk_share_;
  double fast_load_;  ///< the longest load of a storage that is asked for fast chunks
  MovingMean load_;
  MovingMean load_of_stack_[2];     ///< encoder, decoder
  MovingMean further_of_stack_[2];  ///< what each load after the first adds to those that are asked for at once
  std::vector<MovingMean> gaps_;    ///< [layers + 1]
};

}  // namespace flame::experts
