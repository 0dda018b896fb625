#include "flame/eval/foreseen_predictor.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace flame::eval {
namespace {

class ForeseenPredictor final : public routing::Predictor {
 public:
  ForeseenPredictor(std::shared_ptr<routing::Predictor> predictor, std::size_t first, std::uint32_t layers)
      : predictor_(std::move(predictor)), layers_(layers), ranking_(first) {}

  void begin(std::size_t sequences) override {
    predictor_->begin(sequences);
    future_ = {};
    next_layer_ = 0;
  }
  void reorder(std::span<const std::uint32_t> parents) override { predictor_->reorder(parents); }
  void feed(std::span<const std::int32_t> tokens) override { predictor_->feed(tokens); }
  void approach(std::uint32_t layer, MatrixView<const float> hidden) override { predictor_->approach(layer, hidden); }
  void hidden(std::uint32_t layer, MatrixView<const float> hidden) override { predictor_->hidden(layer, hidden); }
  void observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) override {
    predictor_->observe(sequence, layer, expert);
    if (!future_.empty()) future_ = future_.subspan(1);
    next_layer_ = layer + 1 == layers_ ? 0 : layer + 1;
  }
  void foresee(std::size_t sequence, std::span<const std::uint16_t> future) override {
    future_ = future;
    if (predictor_->needs_future()) predictor_->foresee(sequence, future);
  }

  std::size_t rank(std::size_t sequence, std::uint32_t layer, std::span<routing::RankedExpert> out) override {
    const std::size_t ahead = layer >= next_layer_ ? layer - next_layer_ : layer + layers_ - next_layer_;
    if (ahead >= future_.size() || out.empty()) return 0;
    const std::size_t count = predictor_->rank(sequence, layer, ranking_);
    const auto end = ranking_.begin() + static_cast<std::ptrdiff_t>(count);
    const bool foreseen = std::any_of(ranking_.begin(), end, [&](const routing::RankedExpert& candidate) {
      return candidate.expert == future_[ahead];
    });
    if (!foreseen) return 0;
    out[0] = {future_[ahead], 1.0F};
    return 1;
  }

  [[nodiscard]] bool needs_approach() const override { return predictor_->needs_approach(); }
  [[nodiscard]] bool needs_hidden() const override { return predictor_->needs_hidden(); }
  [[nodiscard]] bool needs_future() const override { return true; }
  [[nodiscard]] routing::PredictorCost cost(std::size_t k) const override { return predictor_->cost(k); }
  [[nodiscard]] std::string name() const override { return predictor_->name(); }

 private:
  std::shared_ptr<routing::Predictor> predictor_;
  std::uint32_t layers_;
  std::vector<routing::RankedExpert> ranking_;  ///< [first]: scratch
  std::span<const std::uint16_t> future_;       ///< from the layer that is decided next
  std::uint32_t next_layer_ = 0;
};

}  // namespace

std::shared_ptr<routing::Predictor> make_foreseen_predictor(std::shared_ptr<routing::Predictor> predictor,
                                                            std::size_t first, std::uint32_t layers) {
  return std::make_shared<ForeseenPredictor>(std::move(predictor), first, layers);
}

}  // namespace flame::eval
