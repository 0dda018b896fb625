#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "flame/base/matrix_view.h"
#include "flame/io/checkpoint.h"
#include "flame/model/config.h"
#include "flame/model/moe_device.h"

namespace flame::sparsity {

/// One example that the model is run on.
struct CalibrationExample {
  std::vector<std::int32_t> input;   ///< the encoder's token ids, the end token included; not empty
  std::vector<std::int32_t> target;  ///< what the decoder is to say, the end token included; empty: the model says it
};

/// What reached one MoE layer.
struct LayerActivations {
  Matrix<float> hidden;               ///< [tokens, d_model]: inputs of router and experts
  std::vector<std::uint16_t> expert;  ///< [tokens]: where each was routed
  std::vector<std::uint8_t> dropped;  ///< [tokens]: 1 when past the expert's capacity, so that no expert saw it
};

/// Runs a model over calibration examples, one MoE layer at a time: each capture() runs the whole model as its files
/// are at that moment, so that a layer's activations are those behind the layers that have been pruned before. Memory:
/// one layer's activations and the encoder's outputs; weights stay in their mapped files.
class Calibration {
 public:
  /// `checkpoint` is the model that is being pruned in place; `config` and `examples` must outlive this object.
  /// Examples without a target get the model's own greedy output now. Throws UsageError for ids that are not in the
  /// vocabulary.
  Calibration(const model::SwitchConfig& config, std::shared_ptr<const io::Checkpoint> checkpoint,
              std::span<const CalibrationExample> examples);
  ~Calibration();
  Calibration(const Calibration&) = delete;
  Calibration& operator=(const Calibration&) = delete;

  /// The activations of one layer over all examples, in their order. Encoder layers come before decoder layers: the
  /// first decoder layer fixes the encoder's outputs. Throws Interrupted.
  [[nodiscard]] LayerActivations capture(model::MoeLayer layer);

  /// Between an expert's two matrices.
  [[nodiscard]] model::Activation activation() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace flame::sparsity
