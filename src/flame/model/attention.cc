#include "flame/model/attention.h"

#include <algorithm>
#include <cassert>

#include "flame/base/thread_pool.h"
#include "flame/kernels/attention.h"
#include "flame/kernels/linear.h"
#include "flame/kernels/vector_ops.h"

namespace flame::model {
namespace {

// With as many sequences as threads each thread takes whole sequences; with fewer, attend() shares out heads and
// queries.
template <typename Body>
void for_each_sequence(std::size_t count, Body body) {
  if (count >= ThreadPool::threads()) {
    ThreadPool::parallel_for(count, 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t sequence = begin; sequence < end; ++sequence) body(sequence);
    });
    return;
  }
  for (std::size_t sequence = 0; sequence < count; ++sequence) body(sequence);
}

void add_rows(MatrixView<const float> addend, MatrixView<float> hidden) {
  for (std::size_t row = 0; row < hidden.rows(); ++row) kernels::add(addend.row(row), hidden.row(row));
}

void copy_rows(MatrixView<const float> from, MatrixView<float> to) {
  for (std::size_t row = 0; row < to.rows(); ++row) std::ranges::copy(from.row(row), to.row(row).begin());
}

// The part before attention: scratch.normed and scratch.query.
void project_query(const SwitchConfig& config, const std::vector<float>& norm, const AttentionWeights& weights,
                   const Sequences& sequences, MatrixView<const float> hidden, AttentionScratch& scratch) {
  scratch.normed.resize(hidden.rows(), config.d_model);
  scratch.query.resize(hidden.rows(), config.inner_dim());
  scratch.attended.resize(hidden.rows(), config.inner_dim());
  kernels::rms_norm(hidden, norm, config.layer_norm_epsilon, scratch.normed);
  linear_by_group(weights.q, sequences, scratch.normed, scratch.query);
}

// The part after it: hidden += o · scratch.attended.
void project_output(const SwitchConfig& config, const AttentionWeights& weights, const Sequences& sequences,
                    MatrixView<float> hidden, AttentionScratch& scratch) {
  scratch.projected.resize(hidden.rows(), config.d_model);
  linear_by_group(weights.o, sequences, scratch.attended, scratch.projected);
  add_rows(scratch.projected, hidden);
}

kernels::KeyValueView view_of(MatrixView<const float> rows) {
  return {DataType::kF32, reinterpret_cast<const std::byte*>(rows.data()), rows.rows(), rows.stride()};
}

kernels::AttentionInput attention_input(const SwitchConfig& config, const Sequences& sequences, std::size_t sequence,
                                        AttentionScratch& scratch) {
  kernels::AttentionInput input;
  input.heads = config.num_heads;
  input.head_size = config.d_kv;
  input.query = sequences.rows<const float>(scratch.query.view(), sequence);
  return input;
}

}  // namespace

void CrossAttentionCache::compute(const SwitchConfig& config, const StackWeights& decoder, const Sequences& examples,
                                  MatrixView<const float> encoded) {
  examples_ = examples;
  keys_.resize(decoder.blocks.size());
  values_.resize(decoder.blocks.size());
  for (std::size_t layer = 0; layer < decoder.blocks.size(); ++layer) {
    const AttentionWeights& weights = decoder.blocks[layer].cross_attention;
    keys_[layer].resize(encoded.rows(), config.inner_dim());
    values_[layer].resize(encoded.rows(), config.inner_dim());
    linear_by_group(weights.k, examples, encoded, keys_[layer]);
    linear_by_group(weights.v, examples, encoded, values_[layer]);
  }
}

kernels::KeyValueView CrossAttentionCache::keys(std::size_t example, std::size_t layer) const {
  return view_of(examples_.rows(keys_[layer].view(), example));
}

kernels::KeyValueView CrossAttentionCache::values(std::size_t example, std::size_t layer) const {
  return view_of(examples_.rows(values_[layer].view(), example));
}

std::size_t CrossAttentionCache::bytes() const {
  std::size_t total = 0;
  for (const Matrix<float>& keys : keys_) total += 2 * keys.rows() * keys.columns() * sizeof(float);
  return total;
}

void encoder_self_attention(const SwitchConfig& config, const BlockWeights& block, const PositionBias& bias,
                            const Sequences& sequences, MatrixView<float> hidden, AttentionScratch& scratch) {
  project_query(config, block.self_norm, block.self_attention, sequences, hidden, scratch);
  scratch.key.resize(hidden.rows(), config.inner_dim());
  scratch.value.resize(hidden.rows(), config.inner_dim());
  linear_by_group(block.self_attention.k, sequences, scratch.normed, scratch.key);
  linear_by_group(block.self_attention.v, sequences, scratch.normed, scratch.value);
  for_each_sequence(sequences.count(), [&](std::size_t sequence) {
    kernels::AttentionInput input = attention_input(config, sequences, sequence, scratch);
    input.keys = view_of(sequences.rows<const float>(scratch.key.view(), sequence));
    input.values = view_of(sequences.rows<const float>(scratch.value.view(), sequence));
    input.bias = bias.view(0);
    kernels::attend(input, sequences.rows(scratch.attended.view(), sequence));
  });
  project_output(config, block.self_attention, sequences, hidden, scratch);
}

void decoder_self_attention(const SwitchConfig& config, const BlockWeights& block, std::size_t layer,
                            const PositionBias& bias, const Sequences& sequences, KeyValueCache& cache,
                            MatrixView<float> hidden, AttentionScratch& scratch) {
  assert(cache.rows() == sequences.count());
  project_query(config, block.self_norm, block.self_attention, sequences, hidden, scratch);
  scratch.key.resize(hidden.rows(), config.inner_dim());
  scratch.value.resize(hidden.rows(), config.inner_dim());
  linear_by_group(block.self_attention.k, sequences, scratch.normed, scratch.key);
  linear_by_group(block.self_attention.v, sequences, scratch.normed, scratch.value);
  for_each_sequence(sequences.count(), [&](std::size_t sequence) {
    const std::size_t count = sequences.length(sequence);
    const std::size_t past = cache.length(sequence);
    copy_rows(sequences.rows<const float>(scratch.key.view(), sequence), cache.new_keys(sequence, layer, count));
    copy_rows(sequences.rows<const float>(scratch.value.view(), sequence), cache.new_values(sequence, layer, count));
    kernels::AttentionInput input = attention_input(config, sequences, sequence, scratch);
    input.keys = cache.keys(sequence, layer, count);
    input.values = cache.values(sequence, layer, count);
    input.bias = bias.view(past);
    input.causal_keys = past + 1;
    kernels::attend(input, sequences.rows(scratch.attended.view(), sequence));
  });
  project_output(config, block.self_attention, sequences, hidden, scratch);
}

void cross_attention(const SwitchConfig& config, const BlockWeights& block, std::size_t layer,
                     const CrossAttentionCache& cache, std::span<const std::uint32_t> example_of,
                     const Sequences& sequences, MatrixView<float> hidden, AttentionScratch& scratch) {
  assert(example_of.size() == sequences.count());
  project_query(config, block.cross_norm, block.cross_attention, sequences, hidden, scratch);
  for_each_sequence(sequences.count(), [&](std::size_t sequence) {
    kernels::AttentionInput input = attention_input(config, sequences, sequence, scratch);
    input.keys = cache.keys(example_of[sequence], layer);
    input.values = cache.values(example_of[sequence], layer);
    kernels::attend(input, sequences.rows(scratch.attended.view(), sequence));
  });
  project_output(config, block.cross_attention, sequences, hidden, scratch);
}

}  // namespace flame::model
