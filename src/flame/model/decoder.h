#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/base/matrix_view.h"
#include "flame/model/attention.h"
#include "flame/model/config.h"
#include "flame/model/feed_forward.h"
#include "flame/model/kv_cache.h"
#include "flame/model/moe_device.h"
#include "flame/model/position_bias.h"
#include "flame/model/sequences.h"
#include "flame/model/weights.h"

namespace flame::model {

/// The decoder stack and the output head, for a batch of rows that are decoded together. A row's result does not depend
/// on the others. Once the caches have grown, a step allocates nothing. Not thread-safe.
class Decoder {
 public:
  /// All must outlive the decoder.
  Decoder(const SwitchConfig& config, const DenseWeights& weights, MoeDevice& device);

  /// New examples, one batch row each: computes the cross-attention's keys and values from the encoder's output.
  /// `positions` is how many tokens a row is expected to get (room made ahead; more are fine).
  void begin(const Sequences& examples, MatrixView<const float> encoded, std::size_t positions);

  /// Row i goes on from what was row parents[i] (beams, finished rows removed). Tells the device too.
  void reorder(std::span<const std::uint32_t> parents);

  [[nodiscard]] std::size_t rows() const { return example_of_.size(); }

  /// One token a row; logits [rows, vocab] of the token after it.
  void step(std::span<const std::int32_t> tokens, MatrixView<float> logits);

  /// Several known tokens a row in one pass, none empty (teacher forcing). As in transformers, an expert's capacity
  /// counts over each row's tokens of this pass. logits [sum of lengths, vocab], or empty to leave the head out.
  void extend(std::span<const std::vector<std::int32_t>> tokens, MatrixView<float> logits);

  /// Bytes of keys and values held.
  [[nodiscard]] std::size_t cache_bytes() const { return self_cache_.bytes() + cross_cache_.bytes(); }

 private:
  void run(MatrixView<float> logits);

  const SwitchConfig& config_;
  const DenseWeights& weights_;
  MoeDevice& device_;
  float head_scale_;
  PositionBias bias_;
  KeyValueCache self_cache_;
  CrossAttentionCache cross_cache_;
  std::vector<std::uint32_t> example_of_;       // [rows]
  std::vector<std::uint32_t> next_example_of_;  // scratch of reorder()
  Sequences sequences_;                         // the tokens of the present pass
  Matrix<float> hidden_;                        // [tokens, d_model]
  AttentionScratch attention_scratch_;
  FeedForwardScratch feed_forward_scratch_;
};

}  // namespace flame::model
