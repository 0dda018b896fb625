#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/base/data_type.h"
#include "flame/base/function_ref.h"
#include "flame/base/large_pages.h"
#include "flame/base/matrix_view.h"
#include "flame/model/config.h"
#include "flame/model/kv_cache.h"
#include "flame/model/position_bias.h"
#include "flame/model/sequences.h"
#include "flame/model/weights.h"

namespace flame::model {

/// Scratch of the attention sublayers, kept from call to call so that a decode step allocates nothing.
struct AttentionScratch {
  Matrix<float> normed;     // [tokens, d_model]
  Matrix<float> query;      // [tokens, inner_dim]
  Matrix<float> key;        // [tokens, inner_dim]
  Matrix<float> value;      // [tokens, inner_dim]
  Matrix<float> attended;   // [tokens, inner_dim]
  Matrix<float> projected;  // [tokens, d_model]
};

/// Keys and values of the decoder's cross-attention: computed once for each example and shared by all its rows. Those
/// of a head lie together, position after position, because that is how a decoding step reads them.
class CrossAttentionCache {
 public:
  /// `type` is kF32, or kBF16 to round them.
  explicit CrossAttentionCache(DataType type) : type_(type) {}

  /// From the encoder's output [tokens, d_model] of `examples`.
  void compute(const SwitchConfig& config, const StackWeights& decoder, const Sequences& examples,
               MatrixView<const float> encoded);

  [[nodiscard]] kernels::KeyValueView keys(std::size_t example, std::size_t layer) const;
  [[nodiscard]] kernels::KeyValueView values(std::size_t example, std::size_t layer) const;
  [[nodiscard]] std::size_t examples() const { return examples_.count(); }
  [[nodiscard]] std::size_t bytes() const;

 private:
  [[nodiscard]] std::size_t token_bytes() const { return heads_ * head_size_ * size_of(type_); }
  // Where a layer's keys (part 0) or values (1) begin: [example][heads][length of the example][head_size].
  [[nodiscard]] std::byte* begin_of(std::size_t layer, std::size_t part) const {
    return memory_.bytes().data() + (2 * layer + part) * examples_.tokens() * token_bytes();
  }
  [[nodiscard]] kernels::KeyValueView view(std::size_t layer, std::size_t part, std::size_t example) const;

  DataType type_;
  std::size_t layers_ = 0;
  std::size_t heads_ = 0;
  std::size_t head_size_ = 0;
  Sequences examples_;
  LargePageMemory memory_;  // [layers][keys, values]; kept from batch to batch where it is large enough
};

/// hidden += attention of each sequence over itself, both ways (an encoder block's first sublayer). `check` is called
/// now and then within a long sequence, whose work grows with the square of its length.
void encoder_self_attention(const SwitchConfig& config, const BlockWeights& block, const PositionBias& bias,
                            const Sequences& sequences, FunctionRef<void()> check, MatrixView<float> hidden,
                            AttentionScratch& scratch);

/// hidden += causal attention of each sequence's tokens over its row of the cache and themselves. Their keys and values
/// are written to the cache, which the caller has extended and advances when all layers are done.
void decoder_self_attention(const SwitchConfig& config, const BlockWeights& block, std::size_t layer,
                            const PositionBias& bias, const Sequences& sequences, KeyValueCache& cache,
                            MatrixView<float> hidden, AttentionScratch& scratch);

/// hidden += attention over the encoder's output; example_of[s] is that of sequence s.
void cross_attention(const SwitchConfig& config, const BlockWeights& block, std::size_t layer,
                     const CrossAttentionCache& cache, std::span<const std::uint32_t> example_of,
                     const Sequences& sequences, MatrixView<float> hidden, AttentionScratch& scratch);

}  // namespace flame::model
