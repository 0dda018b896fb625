// The predictors that read hidden states: lookahead, next-router (the plain form of it) and pre-attention.
#include <algorithm>
#include <cassert>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "flame/base/error.h"
#include "flame/kernels/vector_ops.h"
#include "flame/routing/context_table.h"
#include "flame/routing/history.h"
#include "flame/routing/predictor_parts.h"
#include "flame/routing/smoothed_table.h"
#include "flame/routing/state_map.h"

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
      maps_[(positions - 1) * layers_ + map.layer] = StateMap(map);
    }
    for (std::uint32_t layer = 0; layer < layers_; ++layer) popularity_.push_back(history_table(profile, layer, 0, 1));
  }

  void begin(std::size_t sequences) override {
    histories_.begin(sequences);
    states_.assign(sequences * layers_, {});
    values_.resize(sequences * layers_ * d_model_);
    forecasts_.assign(sequences * maps_.size(), {});
    probability_.resize(sequences * maps_.size() * experts_);
  }

  void reorder(std::span<const std::uint32_t> parents) override {
    histories_.reorder(parents);
    gather(states_, spare_states_, layers_, parents);
    gather(values_, spare_values_, std::size_t{layers_} * d_model_, parents);
    gather(forecasts_, spare_forecasts_, maps_.size(), parents);
    gather(probability_, spare_probability_, maps_.size() * experts_, parents);
  }

  void feed(std::span<const std::int32_t> tokens) override { histories_.feed(tokens); }
  void approach(std::uint32_t layer, MatrixView<const float> hidden) override {
    if (approach_) take(layer, 0, hidden);
  }
  void hidden(std::uint32_t layer, MatrixView<const float> hidden) override {
    if (!approach_) take(layer, 1, hidden);
  }
  void observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) override {
    histories_.observe(sequence, layer, expert);
    if (!approach_) return;
    // Until the next block's input is known, what this one said of the layers after it holds: they are one nearer now.
    for (std::uint32_t d = 1; d < depth_; ++d) {
      const std::uint32_t target = (layer + d) % layers_;
      const std::size_t from = slot(sequence, target, d + 1);
      const std::size_t to = slot(sequence, target, d);
      forecasts_[to] = forecasts_[from];
      if (forecasts_[to].worked_out) {
        std::copy_n(probability_.begin() + static_cast<std::ptrdiff_t>(from * experts_), experts_,
                    probability_.begin() + static_cast<std::ptrdiff_t>(to * experts_));
      }
    }
  }

  std::size_t rank(std::size_t sequence, std::uint32_t layer, std::span<RankedExpert> out) override {
    if (!known(sequence, layer)) return popularity_[layer].rank(0, 0, out);
    const std::size_t place = slot(sequence, layer, histories_.depth(histories_.row(sequence), layer));
    const std::span<float> probability = std::span(probability_).subspan(place * experts_, experts_);
    Forecast& forecast = forecasts_[place];
    if (!forecast.worked_out) {
      const State& state = states_[sequence * layers_ + forecast.layer];
      const std::size_t first = (sequence * layers_ + forecast.layer) * d_model_;
      maps_[std::size_t{forecast.depth - 1} * layers_ + layer].apply(std::span(values_).subspan(first, d_model_),
                                                                     state.scale, probability);
      forecast.worked_out = true;
    }
    return rank_distribution(probability, out);
  }

  [[nodiscard]] std::optional<std::uint64_t> grounds(std::size_t sequence, std::uint32_t layer) const override {
    if (!known(sequence, layer)) return 0;
    const Forecast& forecast = forecasts_[slot(sequence, layer, histories_.depth(histories_.row(sequence), layer))];
    return forecast.state * (depth_ + 1ULL) + forecast.depth;
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
  /// The last state heard of a layer.
  struct State {
    std::uint64_t number = 0;  ///< of all states heard; 0: none yet
    float scale = 1.0F;        ///< 1 / rms
  };
  /// What a state says of a layer, until the next state of the same layer is heard: worked out when it is asked for,
  /// which it is for the nearest layers only where loads are short.
  struct Forecast {
    std::uint64_t state = 0;  ///< its number; 0: nothing is known
    std::uint32_t layer = 0;  ///< that the state is of
    std::uint32_t depth = 0;  ///< of the map
    bool worked_out = false;
  };

  [[nodiscard]] std::size_t slot(std::size_t sequence, std::uint32_t layer, std::uint32_t depth) const {
    return sequence * maps_.size() + std::size_t{depth - 1} * layers_ + layer;
  }

  [[nodiscard]] bool known(std::size_t sequence, std::uint32_t layer) const {
    const std::uint32_t depth = histories_.depth(histories_.row(sequence), layer);
    if (depth > depth_) return false;
    const Forecast& forecast = forecasts_[slot(sequence, layer, depth)];
    return forecast.state != 0 && states_[sequence * layers_ + forecast.layer].number == forecast.state;
  }

  /// The state of `layer` is known; the layer `first + i` after it will be asked for at depth 1 + i.
  void take(std::uint32_t layer, std::uint32_t first, MatrixView<const float> hidden) {
    assert(hidden.columns() == d_model_);
    ++heard_;
    for (std::size_t row = 0; row < hidden.rows(); ++row) {
      const std::span<const float> state = hidden.row(row);
      const float square = kernels::dot(state, state) / static_cast<float>(state.size());
      states_[row * layers_ + layer] = {heard_, 1.0F / std::sqrt(square + 1e-12F)};
      std::copy(state.begin(), state.end(),
                values_.begin() + static_cast<std::ptrdiff_t>((row * layers_ + layer) * d_model_));
      for (std::uint32_t depth = 1; depth <= depth_; ++depth) {
        const std::uint32_t target = (layer + first + depth - 1) % layers_;
        if (maps_[std::size_t{depth - 1} * layers_ + target].empty()) continue;
        forecasts_[slot(row, target, depth)] = {heard_, layer, depth, false};
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
  std::vector<StateMap> maps_;  ///< [depth, target layer]; empty where none is fitted
  Histories histories_;
  std::vector<ContextTable> popularity_;  ///< [layers]
  std::uint64_t heard_ = 0;               ///< states so far
  std::vector<State> states_;             ///< [rows, layers]
  std::vector<float> values_;             ///< [rows, layers, d_model]: the states themselves
  std::vector<Forecast> forecasts_;       ///< [rows, depth, layers]
  std::vector<float> probability_;        ///< [rows, depth, layers, E], where worked out
  std::vector<State> spare_states_;
  std::vector<float> spare_values_;
  std::vector<Forecast> spare_forecasts_;
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
