#include "flame/model/encoder.h"

#include "flame/kernels/linear.h"
#include "flame/kernels/vector_ops.h"

namespace flame::model {

Encoder::Encoder(const SwitchConfig& config, const DenseWeights& weights, MoeDevice& device)
    : config_(config),
      weights_(weights),
      device_(device),
      bias_(weights.encoder.relative_bias, {.bidirectional = true,
                                            .count = config.relative_attention_num_buckets,
                                            .max_distance = config.relative_attention_max_distance}) {}

MatrixView<const float> Encoder::encode(std::span<const std::vector<std::int32_t>> inputs, FunctionRef<void()> check) {
  sequences_.clear();
  for (const std::vector<std::int32_t>& input : inputs) sequences_.append(input.size());
  bias_.reserve(sequences_.longest());
  hidden_.resize(sequences_.tokens(), config_.d_model);
  std::size_t row = 0;
  for (const std::vector<std::int32_t>& input : inputs) {
    for (const std::int32_t token : input) {
      kernels::widen_row(weights_.encoder_embedding, static_cast<std::size_t>(token), hidden_.row(row++));
    }
  }

  MoeLayer moe{.stack = Stack::kEncoder, .index = 0};
  for (const BlockWeights& block : weights_.encoder.blocks) {
    if (block.router) device_.approach(moe, hidden_);
    check();
    encoder_self_attention(config_, block, bias_, sequences_, check, hidden_, attention_scratch_);
    if (block.router) {
      moe_feed_forward(config_, block, moe, device_, sequences_, hidden_, feed_forward_scratch_);
      ++moe.index;
    } else {
      dense_feed_forward(config_, block, weights_.activation, sequences_, hidden_, feed_forward_scratch_);
    }
  }
  kernels::rms_norm(hidden_, weights_.encoder.final_norm, config_.layer_norm_epsilon, hidden_);
  return hidden_;
}

}  // namespace flame::model
