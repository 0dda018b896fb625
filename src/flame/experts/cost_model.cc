#include "flame/experts/cost_model.h"

#include <algorithm>

namespace flame::experts {
namespace {

/// Trials that the promise itself is worth before experience outweighs it.
constexpr double kTrust = 3.0;
/// A trial's weight falls to half after about 700 later ones in its bin.
constexpr double kForget = 0.999;

/// The best of many candidates is not as good as it looks: what a vain prefetch costs counts for more than it is.
constexpr double kCaution = 2.0;

}  // namespace

void MovingMean::add(double value) {
  if (count_ < 8) ++count_;
  mean_ += (value - mean_) / static_cast<double>(count_);
}

std::size_t Calibration::bin_of(double promised) {
  const double position = std::clamp(promised, 0.0, 1.0) * static_cast<double>(kBins);
  return std::min(static_cast<std::size_t>(position), kBins - 1);
}

void Calibration::observe(double promised, bool used) {
  Bin& bin = bins_[bin_of(promised)];
  bin.trials = bin.trials * kForget + 1.0;
  bin.used = bin.used * kForget + (used ? 1.0 : 0.0);
  bin.promised = bin.promised * kForget + promised;
  used_ += used ? 1.0 : 0.0;
  promised_ += promised;
}

double Calibration::corrected(double promised) const {
  const Bin& bin = bins_[bin_of(promised)];
  if (bin.promised <= 0.0) return promised;
  // Within a bin the promise is scaled, so that rankings inside it stay as they were.
  const double mean = bin.promised / bin.trials;
  const double ratio = (bin.used + kTrust * mean) / (bin.promised + kTrust * mean);
  return std::min(1.0, promised * ratio);
}

double Calibration::observed_over_promised() const { return promised_ > 0.0 ? used_ / promised_ : 1.0; }

CostModel::CostModel(const ExpertGrid& grid, std::uint64_t expert_bytes, std::uint64_t chunk_bytes)
    : expert_bytes_(expert_bytes), chunk_bytes_(chunk_bytes), gaps_(grid.layers()) {}

double CostModel::load_seconds() const { return load_.value(static_cast<double>(expert_bytes_) * 1e-9); }

double CostModel::chunk_seconds() const {
  const double share = static_cast<double>(chunk_bytes_) / static_cast<double>(expert_bytes_);
  return load_seconds() * std::min(1.0, share);
}

double CostModel::gap_seconds(LayerIndex layer) const { return gaps_[layer].value(1e-3); }

double CostModel::prefetch_gain(double probability, double queue_seconds, double time_left) const {
  const double load = load_seconds();
  const double overlapped = std::clamp(time_left - queue_seconds, 0.0, load);
  return probability * overlapped - kCaution * (1.0 - probability) * chunk_seconds();
}

}  // namespace flame::experts
