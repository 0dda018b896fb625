#include "flame/model/feed_forward.h"

#include <array>
#include <span>

#include "flame/kernels/linear.h"
#include "flame/kernels/vector_ops.h"

namespace flame::model {
namespace {

void norm_hidden(const SwitchConfig& config, const BlockWeights& block, MatrixView<const float> hidden,
                 FeedForwardScratch& scratch) {
  scratch.normed.resize(hidden.rows(), config.d_model);
  scratch.output.resize(hidden.rows(), config.d_model);
  kernels::rms_norm(hidden, block.feed_forward_norm, config.layer_norm_epsilon, scratch.normed);
}

void add_output(const FeedForwardScratch& scratch, MatrixView<float> hidden) {
  for (std::size_t row = 0; row < hidden.rows(); ++row) kernels::add(scratch.output.row(row), hidden.row(row));
}

}  // namespace

void dense_feed_forward(const SwitchConfig& config, const BlockWeights& block, Activation activation,
                        const Sequences& sequences, MatrixView<float> hidden, FeedForwardScratch& scratch) {
  const FeedForwardWeights& weights = *block.feed_forward;
  norm_hidden(config, block, hidden, scratch);
  for_each_group(sequences, [&](std::size_t first, std::size_t count) {
    const MatrixView<const float> input = scratch.normed.view().rows_from(first, count);
    scratch.inner.resize(count, config.d_ff);
    std::array<kernels::LinearProduct, 2> products{{{weights.wi, scratch.inner}, {}}};
    if (weights.gated()) {
      scratch.gate.resize(count, config.d_ff);
      products[1] = {weights.gate, scratch.gate};
    }
    kernels::linear(std::span(products).first(weights.gated() ? 2 : 1), input);
    const std::span<float> inner(scratch.inner.data(), count * config.d_ff);
    kernels::activate(activation, inner);
    if (weights.gated()) kernels::multiply({scratch.gate.data(), inner.size()}, inner);
    kernels::linear(weights.wo, scratch.inner, scratch.output.view().rows_from(first, count));
  });
  add_output(scratch, hidden);
}

void moe_feed_forward(const SwitchConfig& config, const BlockWeights& block, MoeLayer layer, MoeDevice& device,
                      const Sequences& sequences, MatrixView<float> hidden, FeedForwardScratch& scratch) {
  norm_hidden(config, block, hidden, scratch);
  scratch.decisions.resize(hidden.rows());
  const MoeInput input{.layer = layer, .hidden = scratch.normed.view(), .sequence = sequences.sequence_of_token()};
  device.route(input, scratch.decisions);
  device.compute(input, scratch.decisions, scratch.output);
  add_output(scratch, hidden);
}

}  // namespace flame::model
