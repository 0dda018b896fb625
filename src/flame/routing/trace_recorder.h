#pragma once

#include <memory>
#include <vector>

#include "flame/model/moe_device.h"
#include "flame/routing/trace.h"

namespace flame::routing {

struct TraceRecorderOptions {
  bool hidden = false;    ///< keep the decoder routers' inputs
  bool approach = false;  ///< keep the residual stream before the attention of the decoder's MoE blocks
};

/// Passes every call on to the device it wraps and keeps what the routers decided. Costs a copy of a few bytes a token.
/// Batch rows may leave (reorder), but no row may be doubled: a trace follows one path an example. Throws UsageError
/// otherwise (beam search).
class TraceRecorder final : public model::MoeDevice {
 public:
  explicit TraceRecorder(std::unique_ptr<model::MoeDevice> device, const TraceRecorderOptions& options = {});
  ~TraceRecorder() override;

  /// What has been recorded of the batch since begin_batch, examples in the order of the batch's rows, numbered from 0.
  /// The device never sees the encoder's tokens: `encoder_tokens` has them, one vector a row.
  /// Leaves TraceInfo empty. Throws Error when a row's encoder tokens are not as many as were routed.
  [[nodiscard]] Trace take(std::span<const std::vector<std::int32_t>> encoder_tokens);

  [[nodiscard]] model::MoeDevice& device() { return *device_; }

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
  struct Row;

  std::unique_ptr<model::MoeDevice> device_;
  TraceRecorderOptions options_;
  std::vector<Row> examples_;              ///< one for every row the batch began with
  std::vector<std::uint32_t> example_of_;  ///< [rows now]
};

}  // namespace flame::routing
