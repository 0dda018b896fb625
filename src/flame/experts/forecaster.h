#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "flame/base/matrix_view.h"
#include "flame/experts/expert_grid.h"
#include "flame/experts/outlook.h"
#include "flame/model/moe_device.h"
#include "flame/routing/predictor.h"

namespace flame::experts {

/// Turns a predictor's rankings, one a batch row, into the probability that at least one row needs an expert, for the
/// decoder layers close ahead.
class Forecaster {
 public:
  /// `depth`: layers ahead that are ranked, at most what the predictor was made for.
  Forecaster(std::unique_ptr<routing::Predictor> predictor, const ExpertGrid& grid, std::uint32_t depth);

  void begin(std::size_t sequences);
  void reorder(std::span<const std::uint32_t> parents);
  void feed(std::span<const std::int32_t> tokens);
  void approach(std::uint32_t decoder_layer, MatrixView<const float> hidden);
  void hidden(std::uint32_t decoder_layer, MatrixView<const float> hidden);
  /// One decision a row, of a decoder layer.
  void observe(std::uint32_t decoder_layer, std::span<const model::RoutingDecision> decisions,
               std::span<const std::uint32_t> sequence);

  /// For the bounds that know the future: what row 0 will observe from the next begin() on. The span must live till
  /// then and through the example.
  void set_future(std::span<const std::uint16_t> future) { future_ = future; }

  /// Gives `outlook` the forecasts of the decoder layers up to depth() visits ahead of where it stands.
  void update(Outlook& outlook);

  [[nodiscard]] std::uint32_t depth() const { return depth_; }
  [[nodiscard]] bool needs_hidden() const { return predictor_->needs_hidden(); }
  [[nodiscard]] bool needs_approach() const { return predictor_->needs_approach(); }
  [[nodiscard]] std::string name() const { return predictor_->name(); }
  [[nodiscard]] routing::Predictor& predictor() { return *predictor_; }

 private:
  std::unique_ptr<routing::Predictor> predictor_;
  ExpertGrid grid_;
  std::uint32_t depth_;
  std::size_t sequences_ = 0;
  std::span<const std::uint16_t> future_;
  std::vector<routing::RankedExpert> ranking_;  ///< [experts per layer]
  std::vector<float> needed_;                   ///< [experts per layer]
};

}  // namespace flame::experts
