#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "flame/model/config.h"
#include "flame/model/moe_device.h"
#include "flame/model/router.h"
#include "flame/model/weights.h"

namespace flame::experts {

/// The MoeDevice whose experts are all in memory: every lookup is a hit. Goes expert by expert, each one's tokens at
/// once.
class ResidentDevice final : public model::MoeDevice {
 public:
  /// `config` and `dense` (its routers) must outlive the device.
  ResidentDevice(const model::SwitchConfig& config, const model::DenseWeights& dense, model::ExpertWeights experts);
  ~ResidentDevice() override;

  void begin_batch(std::size_t sequences) override;
  void reorder(std::span<const std::uint32_t> parents) override;
  void feed(std::span<const std::int32_t> tokens) override;
  void approach(model::MoeLayer layer, MatrixView<const float> hidden) override;
  void route(const model::MoeInput& input, std::span<model::RoutingDecision> decisions) override;
  void compute(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions,
               MatrixView<float> output) override;
  void begin_statistics() override;
  [[nodiscard]] model::MoeStatistics statistics() const override;
  [[nodiscard]] std::string describe() const override;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace flame::experts
