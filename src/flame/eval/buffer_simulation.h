#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "flame/base/matrix_view.h"
#include "flame/experts/pipeline.h"
#include "flame/experts/simulated_loader.h"

namespace flame::eval {

/// The time model of a replay, in seconds.
struct BufferTimes {
  double load = 0.0;     ///< one packed expert from storage
  double chunk = 0.0;    ///< what a prefetch under way may hold up a demand load
  double compute = 0.0;  ///< one expert for one token
  double gap = 0.0;      ///< the dense layers between one MoE layer and the next
};

/// Loads are counted in thousandths of an expert.
inline constexpr std::uint64_t kExpertUnits = 1000;

/// The live device's pipeline over simulated storage, and the loop that a MoE layer is.
class BufferSimulation {
 public:
  BufferSimulation(const experts::ExpertGrid& grid, std::size_t slots, const BufferTimes& times, bool speculate_always,
                   std::unique_ptr<experts::ReplacementPolicy> policy, std::unique_ptr<experts::Forecaster> forecaster,
                   std::span<const float> popularity);

  /// The dense layers before `layer`; where `approach` is not empty, a predictor sees it half-way.
  void approach(model::MoeLayer layer, MatrixView<const float> approach);
  /// The router decides, and the experts are computed.
  void pass(model::MoeLayer layer, std::span<const model::RoutingDecision> decisions,
            std::span<const std::uint32_t> rows);

  [[nodiscard]] experts::ExpertPipeline& pipeline() { return pipeline_; }
  [[nodiscard]] experts::SimulatedLoader& loader() { return loader_; }

 private:
  BufferTimes times_;
  experts::SimulatedLoader loader_;
  experts::ExpertPipeline pipeline_;
};

}  // namespace flame::eval
