#include "flame/model/decoder.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "flame/kernels/linear.h"
#include "flame/kernels/vector_ops.h"

namespace flame::model {

Decoder::Decoder(const SwitchConfig& config, const DenseWeights& weights, MoeDevice& device)
    : config_(config),
      weights_(weights),
      device_(device),
      // A tied embedding is large for an output matrix: Mesh TensorFlow's scale, which T5 and transformers keep.
      head_scale_(config.tie_word_embeddings ? static_cast<float>(std::pow(double{1} * config.d_model, -0.5)) : 1.0F),
      bias_(weights.decoder.relative_bias, {.bidirectional = false,
                                            .count = config.relative_attention_num_buckets,
                                            .max_distance = config.relative_attention_max_distance}),
      self_cache_(weights.decoder.blocks.size(), config.inner_dim(), weights.key_value_type),
      cross_cache_(weights.key_value_type) {}

void Decoder::begin(const Sequences& examples, MatrixView<const float> encoded, std::size_t positions) {
  cross_cache_.compute(config_, weights_.decoder, examples, encoded);
  example_of_.resize(examples.count());
  for (std::size_t i = 0; i < example_of_.size(); ++i) example_of_[i] = static_cast<std::uint32_t>(i);
  self_cache_.start(examples.count(), positions);
  bias_.reserve(std::max<std::size_t>(positions, 1));
}

void Decoder::reorder(std::span<const std::uint32_t> parents) {
  device_.reorder(parents);
  self_cache_.reorder(parents);
  next_example_of_.clear();
  for (const std::uint32_t parent : parents) next_example_of_.push_back(example_of_[parent]);
  example_of_.swap(next_example_of_);
}

void Decoder::step(std::span<const std::int32_t> tokens, MatrixView<float> logits) {
  assert(tokens.size() == rows());
  device_.feed(tokens);
  sequences_.clear();
  hidden_.resize(tokens.size(), config_.d_model);
  for (std::size_t row = 0; row < tokens.size(); ++row) {
    sequences_.append(1);
    kernels::widen_row(weights_.decoder_embedding, static_cast<std::size_t>(tokens[row]), hidden_.row(row));
  }
  run(logits);
}

void Decoder::extend(std::span<const std::vector<std::int32_t>> tokens, MatrixView<float> logits) {
  assert(tokens.size() == rows());
  sequences_.clear();
  for (const std::vector<std::int32_t>& row : tokens) sequences_.append(row.size());
  hidden_.resize(sequences_.tokens(), config_.d_model);
  std::size_t position = 0;
  for (const std::vector<std::int32_t>& row : tokens) {
    for (const std::int32_t token : row) {
      kernels::widen_row(weights_.decoder_embedding, static_cast<std::size_t>(token), hidden_.row(position++));
    }
  }
  run(logits);
}

void Decoder::run(MatrixView<float> logits) {
  for (std::size_t row = 0; row < rows(); ++row) {
    self_cache_.extend(row, sequences_.length(row));
    bias_.reserve(self_cache_.length(row) + sequences_.length(row));
  }
  MoeLayer moe{.stack = Stack::kDecoder, .index = 0};
  for (std::size_t layer = 0; layer < weights_.decoder.blocks.size(); ++layer) {
    const BlockWeights& block = weights_.decoder.blocks[layer];
    if (block.router) device_.approach(moe, hidden_);
    decoder_self_attention(config_, block, layer, bias_, sequences_, self_cache_, hidden_, attention_scratch_);
    cross_attention(config_, block, layer, cross_cache_, example_of_, sequences_, hidden_, attention_scratch_);
    if (block.router) {
      moe_feed_forward(config_, block, moe, device_, sequences_, hidden_, feed_forward_scratch_);
      ++moe.index;
    } else {
      dense_feed_forward(config_, block, weights_.activation, sequences_, hidden_, feed_forward_scratch_);
    }
  }
  for (std::size_t row = 0; row < rows(); ++row) self_cache_.advance(row, sequences_.length(row));
  if (logits.empty()) return;
  kernels::rms_norm(hidden_, weights_.decoder.final_norm, config_.layer_norm_epsilon, hidden_);
  if (config_.tie_word_embeddings) kernels::scale(head_scale_, {hidden_.data(), hidden_.rows() * hidden_.columns()});
  linear_by_group(weights_.head, sequences_, hidden_, logits);
}

}  // namespace flame::model
