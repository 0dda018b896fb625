#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/experts/cost_model.h"
#include "flame/experts/expert_grid.h"

namespace flame::experts {

/// What is known of the experts' coming uses: where in the order of MoE layers the model stands, how often each expert
/// has been used, and what a predictor promises for the layers close ahead. Distances count MoE layers ("visits").
/// A use is a pass through a layer in which at least one token takes the expert.
class Outlook {
 public:
  /// `popularity`: [experts of the grid], the share of a layer's tokens that takes each; empty: uniform.
  Outlook(const ExpertGrid& grid, std::span<const float> popularity);

  /// New examples start: the next layer is the encoder's first.
  void begin_example();
  /// The router of `layer` has decided: `used` are the distinct experts of the pass. Settles the layer's forecast.
  void visit(LayerIndex layer, std::span<const ExpertIndex> used);
  /// The probability of each expert of `layer` at its next visit, [experts per layer], as it looks from here.
  void forecast(LayerIndex layer, std::span<const float> probabilities);
  [[nodiscard]] bool has_forecast(LayerIndex layer) const { return latest_[layer] != 0; }

  /// Visits from now to the next visit of the layer, at least 1.
  [[nodiscard]] std::uint32_t distance(LayerIndex layer) const { return coming_[layer].distance; }
  /// The layer `ahead` visits from now (1: the next one), as far as the order is known: after the last decoder layer
  /// comes the first of the next token.
  [[nodiscard]] LayerIndex layer_ahead(std::uint32_t ahead) const;
  /// The probability that the next visit of its layer uses the expert: the forecast, corrected by experience with it,
  /// as long as forecasts have told more than usage does.
  [[nodiscard]] double probability(ExpertIndex expert) const { return probability(expert, grid_.layer_of(expert)); }
  /// Uses that are expected of the expert for each visit that it is held: the inverse of its expected next use. The
  /// higher, the more it is worth keeping.
  [[nodiscard]] double use_rate(ExpertIndex expert) const {
    const LayerIndex layer = grid_.layer_of(expert);
    const Coming& coming = coming_[layer];
    // At the layer's next visit, else at the one after it.
    const double used = probability(expert, layer);
    return used * coming.first + (1.0 - used) * usage_[expert] * coming.second;
  }
  /// The share of passes that used the expert, the last ones counting most.
  [[nodiscard]] double usage(ExpertIndex expert) const { return usage_[expert]; }

  [[nodiscard]] const ExpertGrid& grid() const { return grid_; }
  /// Forecasts have had smaller squared errors than usage, of late.
  [[nodiscard]] bool believes_forecasts() const { return forecast_error_ <= usage_error_; }

 private:
  /// When a layer comes next.
  struct Coming {
    std::uint32_t distance = 1;  ///< visits
    double first = 1.0;          ///< 1 / distance
    double second = 1.0;         ///< 1 / (distance of the visit after that)
  };

  [[nodiscard]] double probability(ExpertIndex expert, LayerIndex layer) const {
    const std::uint8_t ahead = latest_[layer];
    if (layer < grid_.encoder_layers) return usage_[expert];
    if (ahead == 0 || !believes_forecasts()) return usage_calibration_.corrected(usage_[expert]);
    return calibration_[ahead - 1].corrected(forecast_[ahead - 1][expert]);
  }
  [[nodiscard]] double remaining_decoder_visits() const;
  /// Reckons coming_ from where the model stands.
  void look_around();
  [[nodiscard]] std::uint32_t distance_from_here(LayerIndex layer) const;

  ExpertGrid grid_;
  std::vector<double> usage_;  ///< [experts of the grid]
  /// Forecasts are kept by the number of visits they looked ahead, 1 to kDepths, since each kind has its own errors.
  static constexpr std::uint32_t kDepths = 3;
  std::vector<float> forecast_[kDepths];     ///< [experts of the grid]
  std::vector<std::uint8_t> made_[kDepths];  ///< [layers]
  std::vector<std::uint8_t> latest_;         ///< [layers]: visits ahead of the last forecast; 0: there is none
  std::vector<std::uint8_t> used_now_;       ///< [experts per layer], scratch of visit()
  std::vector<Coming> coming_;               ///< [layers]
  Calibration calibration_[kDepths];
  Calibration usage_calibration_;  ///< of the decoder: the highest of many noisy shares are too high
  double forecast_error_ = 0.0;    ///< sum of squared errors, forgotten slowly
  double usage_error_ = 0.0;
  std::int64_t position_ = -1;  ///< layer last visited, -1 before the first
  std::uint64_t visits_ = 0;    ///< of decoder layers in this example
  double expected_visits_;      ///< of decoder layers in an example
};

}  // namespace flame::experts
