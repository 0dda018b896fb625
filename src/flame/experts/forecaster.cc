#include "flame/experts/forecaster.h"

#include <algorithm>

namespace flame::experts {

Forecaster::Forecaster(std::shared_ptr<routing::Predictor> predictor, const ExpertGrid& grid, std::uint32_t depth)
    : predictor_(std::move(predictor)),
      grid_(grid),
      depth_(std::min(depth, grid.decoder_layers)),
      ranking_(grid.experts) {}

void Forecaster::begin(std::size_t sequences) {
  sequences_ = sequences;
  promised_layer_ = kNone;
  promised_.resize(std::max(promised_.size(), sequences * kPromised));
  predictor_->begin(sequences);
}

void Forecaster::reorder(std::span<const std::uint32_t> parents) {
  sequences_ = parents.size();
  promised_layer_ = kNone;  // the promises were other rows'
  promised_.resize(std::max(promised_.size(), sequences_ * kPromised));
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
  const bool promised = promised_layer_ == decoder_layer && predictor_->has_probabilities();
  for (std::size_t token = 0; token < decisions.size(); ++token) {
    if (promised) {
      const std::size_t first = sequence[token] * kPromised;
      drift_.add(std::span(promised_).subspan(first, promised_each_), decisions[token].expert);
    }
    predictor_->observe(sequence[token], decoder_layer, decisions[token].expert);
  }
}

void Forecaster::update(Outlook& outlook, std::uint32_t depth) {
  depth = std::min(depth, depth_);
  std::uint32_t found = 0;
  for (std::uint32_t ahead = 1; found < depth && ahead <= grid_.layers(); ++ahead) {
    const LayerIndex layer = outlook.layer_ahead(ahead);
    if (layer < grid_.encoder_layers) continue;
    ++found;
    const std::uint32_t decoder_layer = layer - grid_.encoder_layers;
    // needed = 1 - product over rows of the probability that the row does not choose the expert
    const std::span<float> needed = outlook.forecast(layer);
    std::fill(needed.begin(), needed.end(), 1.0F);
    for (std::size_t row = 0; row < sequences_; ++row) {
      const std::size_t count = predictor_->rank(row, decoder_layer, ranking_);
      if (found == 1) {
        promised_layer_ = decoder_layer;
        promised_each_ = std::min(count, kPromised);
        for (std::size_t i = 0; i < promised_each_; ++i) promised_[row * kPromised + i] = ranking_[i];
      }
      for (std::size_t i = 0; i < count; ++i) {
        needed[ranking_[i].expert] *= 1.0F - std::clamp(ranking_[i].probability, 0.0F, 1.0F);
      }
    }
    for (float& value : needed) value = 1.0F - value;
  }
}

}  // namespace flame::experts
