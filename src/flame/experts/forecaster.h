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
#include "flame/routing/drift.h"
#include "flame/routing/predictor.h"

namespace flame::experts {

/// Turns a predictor's rankings, one a batch row, into the probability that at least one row needs an expert, for the
/// decoder layers close ahead.
class Forecaster {
 public:
  /// `depth`: layers ahead that are ranked at most. Beyond those that the predictor was made to tell apart it goes by
  /// popularity and what else it knows, such as the token. A predictor may be shared by forecasters that are used one
  /// after the other.
  Forecaster(std::shared_ptr<routing::Predictor> predictor, const ExpertGrid& grid, std::uint32_t depth);

  void begin(std::size_t sequences);
  void reorder(std::span<const std::uint32_t> parents);
  void feed(std::span<const std::int32_t> tokens);
  void approach(std::uint32_t decoder_layer, MatrixView<const float> hidden);
  void hidden(std::uint32_t decoder_layer, MatrixView<const float> hidden);
  /// One decision a row, of a decoder layer.
  void observe(std::uint32_t decoder_layer, std::span<const model::RoutingDecision> decisions,
               std::span<const std::uint32_t> sequence);

  /// What the two experts ranked first for the next layer were promised, against what its router chose.
  [[nodiscard]] routing::DriftMeter::Report drift() const { return drift_.report(); }

  /// Gives `outlook` the forecasts of the next `depth` decoder layers (depth() at most) from where it stands.
  void update(Outlook& outlook, std::uint32_t depth);

  [[nodiscard]] std::uint32_t depth() const { return depth_; }
  [[nodiscard]] bool needs_hidden() const { return predictor_->needs_hidden(); }
  [[nodiscard]] bool needs_approach() const { return predictor_->needs_approach(); }
  [[nodiscard]] std::string name() const { return predictor_->name(); }
  [[nodiscard]] routing::Predictor& predictor() { return *predictor_; }

 private:
  static constexpr std::size_t kPromised = 2;
  static constexpr std::uint32_t kNone = 0xffffffffU;

  std::shared_ptr<routing::Predictor> predictor_;
  ExpertGrid grid_;
  std::uint32_t depth_;
  std::size_t sequences_ = 0;
  std::vector<routing::RankedExpert> ranking_;  ///< [experts per layer]
  /// [sequences, kPromised]: the best of the next layer's ranking, till its router decides.
  std::vector<routing::RankedExpert> promised_;
  std::size_t promised_each_ = 0;         ///< experts promised a row
  std::uint32_t promised_layer_ = kNone;  ///< a decoder layer
  routing::DriftMeter drift_;
};

}  // namespace flame::experts
