#include "flame/eval/ranking_tape.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace flame::eval {

RankingTape::RankingTape(std::shared_ptr<routing::Predictor> predictor, std::uint32_t layers, std::uint32_t experts,
                         std::uint32_t depth)
    : predictor_(std::move(predictor)), layers_(layers), experts_(experts), depth_(depth) {
  assert(depth <= layers);
}

void RankingTape::begin_recording(std::span<const std::uint16_t> future) {
  predictor_->begin(1);
  if (predictor_->needs_future()) predictor_->foresee(0, future);
  recording_ = true;
  fed_ = false;
  step_ = 0;
  move_to(0, 0);
}

void RankingTape::begin(std::size_t /*sequences*/) {
  recording_ = false;
  fed_ = false;
  step_ = 0;
  move_to(0, 0);
}

void RankingTape::reorder(std::span<const std::uint32_t> /*parents*/) {}

void RankingTape::feed(std::span<const std::int32_t> tokens) {
  if (fed_) ++step_;
  fed_ = true;
  if (recording_) predictor_->feed(tokens);
  move_to(moment_of_step(), 0);
}

void RankingTape::approach(std::uint32_t layer, MatrixView<const float> hidden) {
  if (recording_) predictor_->approach(layer, hidden);
  move_to(moment_of_step() + 2 * layer + 1, layer);
}

void RankingTape::hidden(std::uint32_t layer, MatrixView<const float> hidden) {
  if (recording_) predictor_->hidden(layer, hidden);
}

void RankingTape::observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) {
  if (recording_) predictor_->observe(sequence, layer, expert);
  move_to(moment_of_step() + 2 * layer + 2, layer + 1 == layers_ ? 0 : layer + 1);
}

void RankingTape::move_to(std::size_t moment, std::uint32_t next_layer) {
  moment_ = moment;
  next_layer_ = next_layer;
  if (!recording_) return;
  counts_.resize(std::max(counts_.size(), (moment + 1) * depth_));
  rankings_.resize(std::max(rankings_.size(), (moment + 1) * depth_ * experts_));
  for (std::uint32_t ahead = 0; ahead < depth_; ++ahead) {
    const std::size_t entry = moment * depth_ + ahead;
    const auto out = std::span(rankings_).subspan(entry * experts_, experts_);
    counts_[entry] = static_cast<std::uint16_t>(predictor_->rank(0, (next_layer + ahead) % layers_, out));
  }
}

std::size_t RankingTape::rank(std::size_t /*sequence*/, std::uint32_t layer, std::span<routing::RankedExpert> out) {
  const std::uint32_t ahead = layer >= next_layer_ ? layer - next_layer_ : layer + layers_ - next_layer_;
  assert(ahead < depth_);
  const std::size_t entry = moment_ * depth_ + ahead;
  const std::size_t count = std::min<std::size_t>(counts_[entry], out.size());
  std::copy_n(rankings_.begin() + static_cast<std::ptrdiff_t>(entry * experts_), count, out.begin());
  return count;
}

}  // namespace flame::eval
