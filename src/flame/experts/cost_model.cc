#include "flame/experts/cost_model.h"

namespace flame::experts {
namespace {

/// Trials that the promise itself is worth before experience outweighs it.
constexpr double kTrust = 3.0;

}  // namespace

void MovingMean::add(double value) {
  if (count_ < 8) ++count_;
  mean_ += (value - mean_) / static_cast<double>(count_);
}

void Calibration::settle() {
  for (std::size_t number = 0; changed_ != 0; ++number, changed_ >>= 1U) {
    Bin& bin = bins_[number];
    if ((changed_ & 1U) == 0 || bin.promised <= 0.0) continue;
    const double mean = bin.promised / bin.trials;
    bin.ratio = (bin.used + kTrust * mean) / (bin.promised + kTrust * mean);
  }
}

CostModel::CostModel(const ExpertGrid& grid, std::uint64_t expert_bytes, const ChunkBytes& chunk_bytes)
    : encoder_layers_(grid.encoder_layers),
      assumed_load_(static_cast<double>(expert_bytes) * 1e-9),
      chunk_share_(std::min(1.0, static_cast<double>(chunk_bytes.slow) / static_cast<double>(expert_bytes))),
      fast_chunk_share_(std::min(1.0, static_cast<double>(chunk_bytes.fast) / static_cast<double>(expert_bytes))),
      fast_load_(static_cast<double>(expert_bytes) / chunk_bytes.fast_bytes_per_second),
      gaps_(grid.layers() + std::size_t{1}) {}

double CostModel::least_probability(double time_left) const {
  const double overlapped = std::clamp(time_left, 0.0, load_seconds());
  const double cost = vain_cost(overlapped);
  return cost + overlapped > 0.0 ? cost / (cost + overlapped) : 1.0;
}

}  // namespace flame::experts
