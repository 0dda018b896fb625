#pragma once

#include <memory>
#include <string>
#include <vector>

#include "flame/model/moe_device.h"

namespace flame::routing::test {

inline constexpr std::size_t kFakeWidth = 2;

/// Decides experts 0, 1, 2, … modulo 8 in the order of the tokens it sees, with rising probabilities, and remembers
/// what it was fed. Every fourth decision from the second on is dropped.
class FakeDevice final : public model::MoeDevice {
 public:
  void begin_batch(std::size_t /*sequences*/) override {}
  void reorder(std::span<const std::uint32_t> /*parents*/) override {}
  void feed(std::span<const std::int32_t> tokens) override { fed.assign(tokens.begin(), tokens.end()); }
  void approach(model::MoeLayer /*layer*/, MatrixView<const float> /*hidden*/) override {}
  void route(const model::MoeInput& /*input*/, std::span<model::RoutingDecision> decisions) override {
    for (model::RoutingDecision& decision : decisions) {
      decision = {static_cast<std::uint16_t>(next % 8), next % 4 == 1, static_cast<float>(next % 16) / 16.0F};
      ++next;
    }
  }
  void compute(const model::MoeInput& /*input*/, std::span<const model::RoutingDecision> decisions,
               MatrixView<float> /*output*/) override {
    computed.assign(decisions.begin(), decisions.end());
  }
  void begin_statistics() override {}
  [[nodiscard]] model::MoeStatistics statistics() const override { return {}; }
  [[nodiscard]] std::string describe() const override { return "fake"; }

  std::uint32_t next = 0;
  std::vector<std::int32_t> fed;
  std::vector<model::RoutingDecision> computed;
};

/// One route() call with a token for each of `sequence`; hidden states are filled with `value`.
inline std::vector<model::RoutingDecision> route(model::MoeDevice& device, model::MoeLayer layer,
                                                 const std::vector<std::uint32_t>& sequence, float value = 0.0F) {
  const Matrix<float> hidden(sequence.size(), kFakeWidth, value);
  std::vector<model::RoutingDecision> decisions(sequence.size());
  device.route({layer, hidden, sequence}, decisions);
  return decisions;
}

}  // namespace flame::routing::test
