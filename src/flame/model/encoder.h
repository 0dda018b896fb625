#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "flame/base/function_ref.h"
#include "flame/base/matrix_view.h"
#include "flame/model/attention.h"
#include "flame/model/config.h"
#include "flame/model/feed_forward.h"
#include "flame/model/moe_device.h"
#include "flame/model/position_bias.h"
#include "flame/model/sequences.h"
#include "flame/model/weights.h"

namespace flame::model {

/// The encoder stack over a batch of sequences of different lengths. No padding is computed, and a sequence's output
/// does not depend on the others. Not thread-safe.
class Encoder {
 public:
  /// All must outlive the encoder.
  Encoder(const SwitchConfig& config, const DenseWeights& weights, MoeDevice& device);

  /// Encodes token ids; no input is empty, every id is in the vocabulary. The caller has called device.begin_batch().
  /// Result: [sum of lengths, d_model] after the last norm, valid until the next call; sequences() is its layout.
  /// `check` is called now and then on this thread; what it throws ends the work.
  MatrixView<const float> encode(
      std::span<const std::vector<std::int32_t>> inputs, FunctionRef<void()> check = [] {});

  [[nodiscard]] const Sequences& sequences() const { return sequences_; }

 private:
  const SwitchConfig& config_;
  const DenseWeights& weights_;
  MoeDevice& device_;
  PositionBias bias_;
  Sequences sequences_;
  Matrix<float> hidden_;
  AttentionScratch attention_scratch_;
  FeedForwardScratch feed_forward_scratch_;
};

}  // namespace flame::model
