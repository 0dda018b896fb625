#pragma once

#include <algorithm>
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
  /// Forecasts are kept by the number of visits they looked ahead, 1 to kDepths (farther ones with these), since each
  /// kind has its own errors.
  static constexpr std::uint32_t kDepths = 6;

  /// `popularity`: [experts of the grid], the share of a layer's tokens that takes each; empty: uniform.
  Outlook(const ExpertGrid& grid, std::span<const float> popularity);

  /// New examples start: the next layer is the encoder's first.
  void begin_example();
  /// The router of `layer` has decided: `used` are the distinct experts of the pass. Settles the layer's forecast.
  void visit(LayerIndex layer, std::span<const ExpertIndex> used);
  /// To be filled with the probability of each expert of `layer` at its next visit, [experts per layer], as it looks
  /// from here.
  [[nodiscard]] std::span<float> forecast(LayerIndex layer);
  [[nodiscard]] bool has_forecast(LayerIndex layer) const { return latest_[layer] != 0; }

  /// Visits from now to the next visit of the layer, at least 1.
  [[nodiscard]] std::uint32_t distance(LayerIndex layer) const { return distance_[layer]; }
  /// The layer `ahead` visits from now (1: the next one), as far as the order is known: after the last decoder layer
  /// comes the first of the next token.
  [[nodiscard]] LayerIndex layer_ahead(std::uint32_t ahead) const;
  /// The probability that the next visit of its layer uses the expert: the forecast, corrected by experience with it,
  /// as long as forecasts have told more than usage does.
  [[nodiscard]] double probability(ExpertIndex expert) const {
    look_at(layer_of_[expert]);
    return worth_[expert].probability;
  }
  /// Uses that are expected of the expert for each visit that it is held: the inverse of its expected next use. The
  /// higher, the more it is worth keeping.
  [[nodiscard]] double use_rate(ExpertIndex expert) const {
    look_at(layer_of_[expert]);
    return worth_[expert].use_rate;
  }
  /// The share of passes that used the expert, the last ones counting most.
  [[nodiscard]] double usage(ExpertIndex expert) const { return usage_[expert]; }

  [[nodiscard]] const ExpertGrid& grid() const { return grid_; }
  /// Forecasts have had smaller squared errors than usage, of late.
  [[nodiscard]] bool believes_forecasts() const { return forecast_error_ <= usage_error_; }

 private:
  /// How an expert's forecasts for the next layer have been kept, forgotten slowly. What is loaded is not a fair sample
  /// of what is promised: an expert that is promised again and again and never comes must not be believed because
  /// others, which are in memory already, do come.
  struct Kept {
    double promised = 0.0;  ///< sum of probabilities, corrected as those of all experts
    double used = 0.0;
    double ratio = 1.0;  ///< at most 1
  };
  /// What is known of an expert, put together.
  struct Worth {
    double probability = 0.0;
    double use_rate = 0.0;
  };

  /// Most experts are asked about several times between two visits, some not at all: a layer's are put together when
  /// the first is asked about.
  void look_at(LayerIndex layer) const {
    if (looked_at_[layer] == 0) put_together(layer);
  }
  void put_together(LayerIndex layer) const;
  /// Everything is to be put together anew.
  void forget_worth() { std::fill(looked_at_.begin(), looked_at_.end(), std::uint8_t{0}); }
  [[nodiscard]] double remaining_decoder_visits() const;
  /// Reckons distance_ from where the model stands.
  void look_around();

  ExpertGrid grid_;
  std::vector<LayerIndex> layer_of_;             ///< [experts of the grid]
  std::vector<double> usage_;                    ///< [experts of the grid]
  std::vector<float> forecast_[kDepths];         ///< [experts of the grid]
  std::vector<std::uint8_t> made_[kDepths];      ///< [layers]
  std::vector<std::uint8_t> latest_;             ///< [layers]: visits ahead of the last forecast; 0: there is none
  std::vector<Kept> kept_;                       ///< [experts of the grid]
  std::vector<std::uint8_t> used_now_;           ///< [experts per layer], scratch of visit()
  std::vector<std::uint32_t> distance_;          ///< [layers]
  mutable std::vector<Worth> worth_;             ///< [experts of the grid]
  mutable std::vector<std::uint8_t> looked_at_;  ///< [layers]: its worth_ is up to date
  Calibration calibration_[kDepths];
  Calibration usage_calibration_;  ///< of the decoder: the highest of many noisy shares are too high
  double forecast_error_ = 0.0;    ///< sum of squared errors, forgotten slowly
  double usage_error_ = 0.0;
  std::int64_t position_ = -1;  ///< layer last visited, -1 before the first
  std::uint64_t visits_ = 0;    ///< of decoder layers in this example
  double expected_visits_;      ///< of decoder layers in an example
};

}  // namespace flame::experts
