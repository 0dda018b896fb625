#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "flame/routing/predictor.h"

namespace flame::eval {

/// What a predictor ranks in the course of one example, recorded once and played back to any number of replays of that
/// example: rankings follow from what was routed, not from the buffer. One row.
///
/// Recording: begin_recording(), then the calls that a predictor gets, up to the example's end. Every begin() after
/// that plays the example from its start; hidden states need not be given then. Only the `depth` layers that come next
/// may be asked for.
class RankingTape final : public routing::Predictor {
 public:
  /// `layers`: of the decoder; depth <= layers.
  RankingTape(std::shared_ptr<routing::Predictor> predictor, std::uint32_t layers, std::uint32_t experts,
              std::uint32_t depth);

  /// `future`: what will be observed.
  void begin_recording(std::span<const std::uint16_t> future);

  void begin(std::size_t sequences) override;
  void reorder(std::span<const std::uint32_t> parents) override;
  void feed(std::span<const std::int32_t> tokens) override;
  void approach(std::uint32_t layer, MatrixView<const float> hidden) override;
  void hidden(std::uint32_t layer, MatrixView<const float> hidden) override;
  void observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) override;
  std::size_t rank(std::size_t sequence, std::uint32_t layer, std::span<routing::RankedExpert> out) override;
  [[nodiscard]] bool has_probabilities() const override { return predictor_->has_probabilities(); }
  [[nodiscard]] bool needs_approach() const override { return predictor_->needs_approach(); }
  [[nodiscard]] bool needs_hidden() const override { return recording_ && predictor_->needs_hidden(); }
  [[nodiscard]] routing::PredictorCost cost(std::size_t k) const override { return predictor_->cost(k); }
  [[nodiscard]] std::string name() const override { return predictor_->name(); }

 private:
  /// A moment of the example at which rankings change: its start, the feed of a step, and each layer's approach and
  /// decision.
  void move_to(std::size_t moment, std::uint32_t next_layer);
  [[nodiscard]] std::size_t moment_of_step() const { return 1 + step_ * (2 * std::size_t{layers_} + 1); }

  std::shared_ptr<routing::Predictor> predictor_;
  std::uint32_t layers_;
  std::uint32_t experts_;
  std::uint32_t depth_;
  bool recording_ = false;
  std::size_t step_ = 0;  ///< of the example; those fed so far, less one
  bool fed_ = false;      ///< a step has been
  std::size_t moment_ = 0;
  std::uint32_t next_layer_ = 0;                 ///< whose router decides next
  std::vector<routing::RankedExpert> rankings_;  ///< [moments, depth, experts]
  std::vector<std::uint16_t> counts_;            ///< [moments, depth]: experts ranked
};

}  // namespace flame::eval
