// The predictors that read hidden states: lookahead, next-router (the plain form of it) and pre-attention.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "flame/base/error.h"
#include "flame/routing/context_table.h"
#include "flame/routing/history.h"
#include "flame/routing/linear_map.h"
#include "flame/routing/predictor_parts.h"
#include "flame/routing/smoothed_table.h"

namespace flame::routing {
namespace {

class LinearPredictor final : public Predictor {
 public:
  /// `maps` lead from the state of layer l to layer l + map.depth. A router's input is known when layer l is decided,
  /// so that layer is map.depth positions away; a block's input is known one position earlier.
  LinearPredictor(std::string name, bool approach, const std::vector<LinearMap>& maps, std::uint32_t depth,
                  const Profile& profile)
      : name_(std::move(name)),
        approach_(approach),
        layers_(profile.layers()),
        experts_(profile.experts()),
        depth_(depth),
        d_model_(profile.model().d_model),
        maps_(std::size_t{layers_} * depth),
        histories_(profile.layers(), profile.expert_bits()) {
    for (const LinearMap& map : maps) {
      const std::uint32_t positions = approach ? map.depth + 1 : map.depth;
      if (positions == 0 || positions > depth) continue;
      maps_[(positions - 1) * layers_ + map.layer] = map;
    }
    for (std::uint32_t layer = 0; layer < layers_; ++layer) popularity_.push_back(history_table(profile, layer, 0, 1));
  }

  void begin(std::size_t sequences) override {
    histories_.begin(sequences);
    known_.assign(sequences * maps_.size(), 0);
    probability_.assign(sequences * maps_.size() * experts_, 0.0F);
  }

  void reorder(std::span<const std::uint32_t> parents) override {
    histories_.reorder(parents);
    gather(known_, spare_known_, maps_.size(), parents);
    gather(probability_, spare_probability_, maps_.size() * experts_, parents);
  }

  void feed(std::span<const std::int32_t> tokens) override { histories_.feed(tokens); }
  void approach(std::uint32_t layer, MatrixView<const float> hidden) override {
    if (approach_) apply(layer, 0, hidden);
  }
  void hidden(std::uint32_t layer, MatrixView<const float> hidden) override {
    if (!approach_) apply(layer, 1, hidden);
  }
  void observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) override {
    histories_.observe(sequence, layer, expert);
    if (!approach_) return;
    // Until the next block's input is known, what this one said of the layers after it holds: they are one nearer now.
    for (std::uint32_t d = 1; d < depth_; ++d) {
      const std::uint32_t target = (layer + d) % layers_;
      const std::size_t from = slot(sequence, target, d + 1);
      const std::size_t to = slot(sequence, target, d);
      known_[to] = known_[from];
      std::copy_n(probability_.begin() + static_cast<std::ptrdiff_t>(from * experts_), experts_,
                  probability_.begin() + static_cast<std::ptrdiff_t>(to * experts_));
    }
  }

  std::size_t rank(std::size_t sequence, std::uint32_t layer, std::span<RankedExpert> out) override {
    const std::uint32_t depth = histories_.depth(histories_.row(sequence), layer);
    if (depth > depth_ || known_[slot(sequence, layer, depth)] == 0) return popularity_[layer].rank(0, 0, out);
    return rank_distribution(std::span(probability_).subspan(slot(sequence, layer, depth) * experts_, experts_), out);
  }

  [[nodiscard]] bool needs_approach() const override { return approach_; }
  [[nodiscard]] bool needs_hidden() const override { return !approach_; }
  [[nodiscard]] PredictorCost cost(std::size_t /*k*/) const override {
    // bf16 weights of the maps one layer ahead.
    const std::size_t bytes = std::size_t{layers_} * (d_model_ + 1) * experts_ * 2;
    return {bytes, bytes, static_cast<double>(d_model_) * experts_};
  }
  [[nodiscard]] std::string name() const override { return name_; }

 private:
  [[nodiscard]] std::size_t slot(std::size_t sequence, std::uint32_t layer, std::uint32_t depth) const {
    return sequence * maps_.size() + std::size_t{depth - 1} * layers_ + layer;
  }

  /// The state of `layer` is known; the layer `first + i` after it will be asked for at depth 1 + i.
  void apply(std::uint32_t layer, std::uint32_t first, MatrixView<const float> hidden) {
    for (std::uint32_t depth = 1; depth <= depth_; ++depth) {
      const std::uint32_t target = (layer + first + depth - 1) % layers_;
      const LinearMap& map = maps_[std::size_t{depth - 1} * layers_ + target];
      if (map.weight.empty()) continue;
      for (std::size_t row = 0; row < hidden.rows(); ++row) {
        const std::size_t place = slot(row, target, depth);
        apply_map(map, hidden.row(row), std::span(probability_).subspan(place * experts_, experts_));
        known_[place] = 1;
      }
    }
  }

  template <typename T>
  static void gather(std::vector<T>& values, std::vector<T>& spare, std::size_t width,
                     std::span<const std::uint32_t> parents) {
    spare.clear();
    for (const std::uint32_t parent : parents) {
      const auto first = values.begin() + static_cast<std::ptrdiff_t>(parent * width);
      spare.insert(spare.end(), first, first + static_cast<std::ptrdiff_t>(width));
    }
    values.swap(spare);
  }

  std::string name_;
  bool approach_;
  std::uint32_t layers_;
  std::uint32_t experts_;
  std::uint32_t depth_;
  std::uint32_t d_model_;
  std::vector<LinearMap> maps_;  ///< [depth, target layer]; without weights where none is fitted
  Histories histories_;
  std::vector<ContextTable> popularity_;  ///< [layers]
  std::vector<std::uint8_t> known_;       ///< [rows, depth, layers]
  std::vector<float> probability_;        ///< [rows, depth, layers, E]
  std::vector<std::uint8_t> spare_known_;
  std::vector<float> spare_probability_;
};

}  // namespace

std::unique_ptr<Predictor> make_linear_predictor(std::string_view name, const PredictorOptions& options,
                                                 const Profile& profile) {
  const Fitted& fitted = profile.fitted();
  const bool approach = name == "pre-attention";
  const std::vector<LinearMap>& maps = approach ? fitted.approach : name == "lookahead" ? fitted.maps : fitted.router;
  if (maps.empty()) {
    throw UsageError(std::string(name) +
                     ": the profile has no maps of hidden states; trace with --hidden, then run flame profile --fit");
  }
  return std::make_unique<LinearPredictor>(std::string(name), approach, maps, options.depth, profile);
}

}  // namespace flame::routing
