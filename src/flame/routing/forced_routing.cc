#include "flame/routing/forced_routing.h"

#include <utility>

#include "flame/base/error.h"

namespace flame::routing {

using model::MoeInput;
using model::RoutingDecision;
using model::Stack;

ForcedRouting::ForcedRouting(std::shared_ptr<const Trace> trace, std::uint32_t experts, std::uint32_t encoder_layers,
                             std::uint32_t decoder_layers)
    : trace_(std::move(trace)),
      experts_(experts),
      encoder_layers_(encoder_layers),
      decoder_layers_(decoder_layers),
      encoder_examples_(examples_of(trace_->encoder)),
      decoder_examples_(examples_of(trace_->decoder)) {
  if (decoder_examples_.empty()) throw UsageError("the routing trace has no decoder steps: nothing to follow");
}

void ForcedRouting::begin_batch(std::size_t sequences) {
  rows_.assign(sequences, {});
  for (Row& row : rows_) {
    const std::size_t example = next_example_++ % decoder_examples_.size();
    row.step = decoder_examples_[example].first;
    if (example < encoder_examples_.size()) {
      row.encoder_first = encoder_examples_[example].first;
      row.encoder_steps = encoder_examples_[example].end - row.encoder_first;
    }
  }
}

void ForcedRouting::reorder(std::span<const std::uint32_t> parents) {
  spare_.clear();
  for (const std::uint32_t parent : parents) spare_.push_back(rows_.at(parent));
  rows_.swap(spare_);
}

std::span<const std::int32_t> ForcedRouting::feed() {
  tokens_.clear();
  for (Row& row : rows_) {
    if (std::exchange(row.started, true)) row.step = (row.step + 1) % trace_->decoder.steps();
    tokens_.push_back(trace_->decoder.token[row.step]);
  }
  return tokens_;
}

std::size_t ForcedRouting::layer_of(model::MoeLayer layer) const {
  const bool decoder = layer.stack == Stack::kDecoder;
  const std::size_t layers = decoder ? trace_->decoder.layers : trace_->encoder.layers;
  return std::size_t{layer.index} * layers / (decoder ? decoder_layers_ : encoder_layers_);
}

MatrixView<const float> ForcedRouting::approach(model::MoeLayer layer, MatrixView<const float> own) {
  return states(trace_->decoder.approach, layer, own);
}

MatrixView<const float> ForcedRouting::hidden(model::MoeLayer layer, MatrixView<const float> own) {
  return states(trace_->decoder.hidden, layer, own);
}

MatrixView<const float> ForcedRouting::states(const std::vector<BFloat16>& states, model::MoeLayer layer,
                                              MatrixView<const float> own) {
  const StackTrace& stack = trace_->decoder;
  if (layer.stack != Stack::kDecoder || states.empty()) return own;
  const std::size_t width = states.size() / (stack.steps() * stack.layers);
  if (width > own.columns()) return own;
  if (shown_.rows() != rows_.size() || shown_.columns() != own.columns()) {
    shown_ = Matrix<float>(rows_.size(), own.columns());
  }
  for (std::size_t row = 0; row < rows_.size(); ++row) {
    const BFloat16* const from = states.data() + (rows_[row].step * stack.layers + layer_of(layer)) * width;
    const std::span<float> to = shown_.row(row);
    for (std::size_t i = 0; i < width; ++i) to[i] = from[i].to_float();
  }
  return shown_.view();
}

void ForcedRouting::decide(const MoeInput& input, std::span<RoutingDecision> decisions) const {
  const bool decoder = input.layer.stack == Stack::kDecoder;
  const StackTrace& stack = decoder ? trace_->decoder : trace_->encoder;
  if (stack.steps() == 0) return;  // a trace without encoder decisions leaves the encoder to its own router
  const std::size_t layer = layer_of(input.layer);
  std::size_t token_of_row = 0;
  for (std::size_t token = 0; token < decisions.size(); ++token) {
    const std::uint32_t sequence = input.sequence[token];
    token_of_row = token > 0 && input.sequence[token - 1] == sequence ? token_of_row + 1 : 0;
    const Row& row = rows_.at(sequence);
    const std::size_t step = decoder ? row.step : row.encoder_first + token_of_row % row.encoder_steps;
    const std::size_t position = step * stack.layers + layer;
    decisions[token].expert = static_cast<std::uint16_t>(stack.experts[position] % experts_);
    decisions[token].probability = stack.probability[position].to_float();
    decisions[token].dropped = !decoder && stack.dropped[position] != 0;
  }
}

ForcedRoutingDevice::ForcedRoutingDevice(std::unique_ptr<model::MoeDevice> device, ForcedRouting routing)
    : device_(std::move(device)), routing_(std::move(routing)) {}

void ForcedRoutingDevice::begin_batch(std::size_t sequences) {
  routing_.begin_batch(sequences);
  device_->begin_batch(sequences);
}

void ForcedRoutingDevice::reorder(std::span<const std::uint32_t> parents) {
  routing_.reorder(parents);
  device_->reorder(parents);
}

void ForcedRoutingDevice::feed(std::span<const std::int32_t> /*tokens*/) { device_->feed(routing_.feed()); }

void ForcedRoutingDevice::approach(model::MoeLayer layer, MatrixView<const float> hidden) {
  device_->approach(layer, routing_.approach(layer, hidden));
}

void ForcedRoutingDevice::route(const MoeInput& input, std::span<RoutingDecision> decisions) {
  device_->route(input, decisions);
  routing_.decide(input, decisions);
}

void ForcedRoutingDevice::compute(const MoeInput& input, std::span<const RoutingDecision> decisions,
                                  MatrixView<float> output) {
  device_->compute(input, decisions, output);
}

void ForcedRoutingDevice::begin_statistics() { device_->begin_statistics(); }
model::MoeStatistics ForcedRoutingDevice::statistics() const { return device_->statistics(); }
void ForcedRoutingDevice::finish() { device_->finish(); }
std::string ForcedRoutingDevice::describe() const { return device_->describe() + ", routed by a trace"; }

}  // namespace flame::routing
