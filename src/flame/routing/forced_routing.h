#pragma once

#include <memory>
#include <span>
#include <vector>

#include "flame/model/moe_device.h"
#include "flame/routing/trace.h"

namespace flame::routing {

/// Routing taken from a trace instead of from the routers, so that a model with random weights is routed as a trained
/// one (`flame bench --route-trace`). A device whose loads follow its own decisions asks this object inside route().
///
/// Mapping. Layer l of the model's L takes the decisions of layer floor(l * Lt / L) of the trace's Lt; expert e becomes
/// e mod E. Row r of a batch follows example r (counted over all batches since construction, round and round); an
/// example that is too short is followed by the next one. Encoder inputs take the example's encoder steps, round and
/// round. Where the trace has hidden states, predictors are shown these, widened with zeros to what the model's own
/// have; layers as for decisions.
class ForcedRouting {
 public:
  /// The model that is to be routed has `experts` a layer and these numbers of MoE layers.
  /// Throws UsageError when the trace has no decoder steps. States that are wider than the model's are not shown.
  ForcedRouting(std::shared_ptr<const Trace> trace, std::uint32_t experts, std::uint32_t encoder_layers,
                std::uint32_t decoder_layers);

  void begin_batch(std::size_t sequences);
  void reorder(std::span<const std::uint32_t> parents);

  /// Every row goes to its next step. Returns the tokens the trace was made with, one a row: what a predictor is to be
  /// fed. The span lives until the next call.
  std::span<const std::int32_t> feed();

  /// What a predictor is to be shown at a layer instead of the model's own states, one row a sequence: the trace's
  /// where it has them, else `own`. The view lives until the next call.
  [[nodiscard]] MatrixView<const float> approach(model::MoeLayer layer, MatrixView<const float> own);
  [[nodiscard]] MatrixView<const float> hidden(model::MoeLayer layer, MatrixView<const float> own);

  /// Overwrites the decisions of one route() call.
  void decide(const model::MoeInput& input, std::span<model::RoutingDecision> decisions) const;

 private:
  struct Row {
    std::size_t encoder_first = 0;
    std::size_t encoder_steps = 0;
    std::size_t step = 0;  ///< the decoder step it is at
    bool started = false;
  };

  MatrixView<const float> states(const std::vector<BFloat16>& states, model::MoeLayer layer,
                                 MatrixView<const float> own);
  [[nodiscard]] std::size_t layer_of(model::MoeLayer layer) const;

  std::shared_ptr<const Trace> trace_;
  std::uint32_t experts_;
  std::uint32_t encoder_layers_;
  std::uint32_t decoder_layers_;
  std::vector<StepRange> encoder_examples_;
  std::vector<StepRange> decoder_examples_;
  std::size_t next_example_ = 0;
  std::vector<Row> rows_;
  std::vector<Row> spare_;
  std::vector<std::int32_t> tokens_;
  Matrix<float> shown_;
};

/// ForcedRouting around a device that decides nothing before compute() (resident experts).
class ForcedRoutingDevice final : public model::MoeDevice {
 public:
  ForcedRoutingDevice(std::unique_ptr<model::MoeDevice> device, ForcedRouting routing);

  void begin_batch(std::size_t sequences) override;
  void reorder(std::span<const std::uint32_t> parents) override;
  void feed(std::span<const std::int32_t> tokens) override;
  void approach(model::MoeLayer layer, MatrixView<const float> hidden) override;
  void route(const model::MoeInput& input, std::span<model::RoutingDecision> decisions) override;
  void compute(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions,
               MatrixView<float> output) override;
  void begin_statistics() override;
  [[nodiscard]] model::MoeStatistics statistics() const override;
  void finish() override;
  [[nodiscard]] std::string describe() const override;

 private:
  std::unique_ptr<model::MoeDevice> device_;
  ForcedRouting routing_;
};

}  // namespace flame::routing
