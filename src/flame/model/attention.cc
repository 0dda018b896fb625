#include "flame/model/attention.h"

#include <algorithm>
#include <array>
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

// The part before attention: scratch.normed.
void norm_hidden(const SwitchConfig& config, const std::vector<float>& norm, MatrixView<const float> hidden,
                 AttentionScratch& scratch) {
  scratch.normed.resize(hidden.rows(), config.d_model);
  scratch.query.resize(hidden.rows(), config.inner_dim());
  scratch.attended.resize(hidden.rows(), config.inner_dim());
  kernels::rms_norm(hidden, norm, config.layer_norm_epsilon, scratch.normed);
}

// scratch.query, key and value of self-attention.
void project(const SwitchConfig& config, const BlockWeights& block, const Sequences& sequences,
             MatrixView<const float> hidden, AttentionScratch& scratch) {
  norm_hidden(config, block.self_norm, hidden, scratch);
  scratch.key.resize(hidden.rows(), config.inner_dim());
  scratch.value.resize(hidden.rows(), config.inner_dim());
  const std::array<kernels::LinearProduct, 3> products{{{block.self_attention.q, scratch.query},
                                                        {block.self_attention.k, scratch.key},
                                                        {block.self_attention.v, scratch.value}}};
  linear_by_group(products, sequences, scratch.normed);
}

// The part after it: hidden += o · scratch.attended.
void project_output(const SwitchConfig& config, const AttentionWeights& weights, const Sequences& sequences,
                    MatrixView<float> hidden, AttentionScratch& scratch) {
  scratch.projected.resize(hidden.rows(), config.d_model);
  linear_by_group(weights.o, sequences, scratch.attended, scratch.projected);
  add_rows(scratch.projected, hidden);
}

// Tokens worth handing to another thread when their keys or values are stored.
constexpr std::size_t kTokenGrain = 16;

kernels::KeyValueView view_of(MatrixView<const float> rows) {
  return {.type = DataType::kF32,
          .data = reinterpret_cast<const std::byte*>(rows.data()),
          .length = rows.rows(),
          .stride = rows.stride()};
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
  layers_ = decoder.blocks.size();
  heads_ = config.num_heads;
  head_size_ = config.d_kv;
  if (memory_.bytes().size() < bytes()) {
    memory_ = {};  // before the larger one, not beside it
    memory_ = LargePageMemory(bytes());
  }
  Matrix<float> projected(encoded.rows(), config.inner_dim());
  const auto fill = [&](const kernels::WeightMatrix& weight, std::byte* stored) {
    linear_by_group(weight, examples, encoded, projected);
    ThreadPool::parallel_for(encoded.rows(), kTokenGrain, [&](std::size_t begin, std::size_t end) {
      for (std::size_t token = begin; token < end; ++token) {
        const std::size_t example = examples.sequence_of_token()[token];
        const std::size_t first = examples.begin(example);
        for (std::size_t head = 0; head < heads_; ++head) {
          const std::size_t place = first * heads_ + head * examples.length(example) + token - first;
          kernels::store(projected.row(token).subspan(head * head_size_, head_size_), type_,
                         stored + place * head_size_ * size_of(type_));
        }
      }
    });
  };
  for (std::size_t layer = 0; layer < layers_; ++layer) {
    fill(decoder.blocks[layer].cross_attention.k, begin_of(layer, 0));
    fill(decoder.blocks[layer].cross_attention.v, begin_of(layer, 1));
  }
}

kernels::KeyValueView CrossAttentionCache::view(std::size_t layer, std::size_t part, std::size_t example) const {
  const std::size_t length = examples_.length(example);
  return {.type = type_,
          .data = begin_of(layer, part) + examples_.begin(example) * token_bytes(),
          .length = length,
          .stride = head_size_,
          .head_stride = length * head_size_};
}

kernels::KeyValueView CrossAttentionCache::keys(std::size_t example, std::size_t layer) const {
  return view(layer, 0, example);
}

kernels::KeyValueView CrossAttentionCache::values(std::size_t example, std::size_t layer) const {
  return view(layer, 1, example);
}

std::size_t CrossAttentionCache::bytes() const { return 2 * layers_ * examples_.tokens() * token_bytes(); }

void encoder_self_attention(const SwitchConfig& config, const BlockWeights& block, const PositionBias& bias,
                            const Sequences& sequences, FunctionRef<void()> check, MatrixView<float> hidden,
                            AttentionScratch& scratch) {
  project(config, block, sequences, hidden, scratch);
  for_each_sequence(sequences.count(), [&](std::size_t sequence) {
    kernels::AttentionInput input = attention_input(config, sequences, sequence, scratch);
    input.keys = view_of(sequences.rows<const float>(scratch.key.view(), sequence));
    input.values = view_of(sequences.rows<const float>(scratch.value.view(), sequence));
    input.bias = bias.view(0);
    const MatrixView<float> attended = sequences.rows(scratch.attended.view(), sequence);
    if (input.query.rows() < 2 * kLargestGroup || sequences.count() >= ThreadPool::threads()) {
      return kernels::attend(input, attended);
    }
    for (std::size_t first = 0; first < input.query.rows();) {
      const std::size_t left = input.query.rows() - first;
      const std::size_t count = left < 2 * kLargestGroup ? left : kLargestGroup;
      kernels::AttentionInput part = input;
      part.query = input.query.rows_from(first, count);
      part.bias = bias.view(first);
      check();
      kernels::attend(part, attended.rows_from(first, count));
      first += count;
    }
  });
  project_output(config, block.self_attention, sequences, hidden, scratch);
}

void decoder_self_attention(const SwitchConfig& config, const BlockWeights& block, std::size_t layer,
                            const PositionBias& bias, const Sequences& sequences, KeyValueCache& cache,
                            MatrixView<float> hidden, AttentionScratch& scratch) {
  assert(cache.rows() == sequences.count());
  project(config, block, sequences, hidden, scratch);
  for_each_sequence(sequences.count(), [&](std::size_t sequence) {
    const std::size_t count = sequences.length(sequence);
    const std::size_t past = cache.length(sequence);
    cache.write(sequence, layer, sequences.rows<const float>(scratch.key.view(), sequence),
                sequences.rows<const float>(scratch.value.view(), sequence));
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
  norm_hidden(config, block.cross_norm, hidden, scratch);
  linear_by_group(block.cross_attention.q, sequences, scratch.normed, scratch.query);
  for_each_sequence(sequences.count(), [&](std::size_t sequence) {
    kernels::AttentionInput input = attention_input(config, sequences, sequence, scratch);
    input.keys = cache.keys(example_of[sequence], layer);
    input.values = cache.values(example_of[sequence], layer);
    kernels::attend(input, sequences.rows(scratch.attended.view(), sequence));
  });
  project_output(config, block.cross_attention, sequences, hidden, scratch);
}

}  // namespace flame::model
