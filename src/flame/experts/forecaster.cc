#include "flame/experts/forecaster.h"

#include <algorithm>

namespace flame::experts {

Forecaster::Forecaster(std::unique_ptr<routing::Predictor> predictor, const ExpertGrid& grid, std::uint32_t depth)
    : predictor_(std::move(predictor)),
      grid_(grid),
      depth_(std::min(depth, grid.decoder_layers)),
      ranking_(grid.experts),
      needed_(grid.experts) {}

void Forecaster::begin(std::size_t sequences) {
  sequences_ = sequences;
  predictor_->begin(sequences);
  if (predictor_->needs_future()) predictor_->foresee(0, future_);
}

void Forecaster::reorder(std::span<const std::uint32_t> parents) {
  sequences_ = parents.size();
  predictor_->reorder(parents);
}

void Forecaster::feed(std::span<const std::int32_t> tokens) { predictor_->feed(tokens); }

void Forecaster::approach(std::uint32_t decoder_layer, MatrixView<const float> hidden) {
  if (predictor_->needs_approach()) predictor_->approach(decoder_layer, hidden);
}

void Forecaster::hidden(std::uint32_t decoder_layer, MatrixView<const float> hidden) {
  if (predictor_->needs_hidden()) predictor_->hidden(decoder_layer, hidden);
}

void Forecaster::observe(std::uint32_t decoder_layer, std::span<const model::RoutingDecision> decisions,
                         std::span<const std::uint32_t> sequence) {
  for (std::size_t token = 0; token < decisions.size(); ++token) {
    predictor_->observe(sequence[token], decoder_layer, decisions[token].expert);
  }
}

void Forecaster::update(Outlook& outlook) {
  std::uint32_t found = 0;
  for (std::uint32_t ahead = 1; found < depth_ && ahead <= grid_.layers(); ++ahead) {
    const LayerIndex layer = outlook.layer_ahead(ahead);
    if (layer < grid_.encoder_layers) continue;
    ++found;
    // needed = 1 - product over rows of the probability that the row does not choose the expert
    std::fill(needed_.begin(), needed_.end(), 1.0F);
    for (std::size_t row = 0; row < sequences_; ++row) {
      const std::size_t count = predictor_->rank(row, layer - grid_.encoder_layers, ranking_);
      for (std::size_t i = 0; i < count; ++i) {
        needed_[ranking_[i].expert] *= 1.0F - std::clamp(ranking_[i].probability, 0.0F, 1.0F);
      }
    }
    for (float& value : needed_) value = 1.0F - value;
    outlook.forecast(layer, needed_);
  }
}

}  // namespace flame::experts
