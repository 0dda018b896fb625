#include "flame/routing/trace_recorder.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "flame/base/error.h"

namespace flame::routing {

using model::MoeInput;
using model::MoeLayer;
using model::RoutingDecision;
using model::Stack;

/// One example while it is recorded: columns by layer, as the calls come; take() turns them into rows by step.
struct TraceRecorder::Row {
  std::vector<std::vector<RoutingDecision>> encoder;  ///< [layers][tokens]
  std::vector<std::vector<RoutingDecision>> decoder;  ///< [layers][steps]
  std::vector<std::vector<BFloat16>> hidden;          ///< [layers][steps * d_model]
  std::vector<std::vector<BFloat16>> approach;        ///< [layers][steps * d_model]
  std::vector<std::int32_t> tokens;                   ///< [steps]
};

namespace {

template <typename T>
std::vector<T>& column(std::vector<std::vector<T>>& columns, std::size_t layer) {
  if (columns.size() <= layer) columns.resize(layer + 1);
  return columns[layer];
}

void append_state(std::vector<BFloat16>& to, std::span<const float> state) {
  for (const float value : state) to.push_back(BFloat16::from_float(value));
}

void append_steps(StackTrace& trace, const std::vector<std::vector<RoutingDecision>>& columns,
                  std::span<const std::int32_t> tokens, std::int32_t example, bool dropped) {
  trace.layers = std::max(trace.layers, static_cast<std::uint32_t>(columns.size()));
  for (std::size_t step = 0; step < tokens.size(); ++step) {
    for (const std::vector<RoutingDecision>& layer : columns) {
      trace.experts.push_back(layer[step].expert);
      trace.probability.push_back(Float16::from_float(layer[step].probability));
      if (dropped) trace.dropped.push_back(layer[step].dropped ? 1 : 0);
    }
    trace.token.push_back(tokens[step]);
    trace.example.push_back(example);
  }
}

void append_states(std::vector<BFloat16>& to, const std::vector<std::vector<BFloat16>>& columns, std::size_t steps) {
  if (columns.empty() || steps == 0) return;
  const std::size_t width = columns.front().size() / steps;
  for (std::size_t step = 0; step < steps; ++step) {
    for (const std::vector<BFloat16>& layer : columns) {
      const auto first = layer.begin() + static_cast<std::ptrdiff_t>(step * width);
      to.insert(to.end(), first, first + static_cast<std::ptrdiff_t>(width));
    }
  }
}

}  // namespace

TraceRecorder::TraceRecorder(std::unique_ptr<model::MoeDevice> device, const TraceRecorderOptions& options)
    : device_(std::move(device)), options_(options) {}

TraceRecorder::~TraceRecorder() = default;

void TraceRecorder::begin_batch(std::size_t sequences) {
  device_->begin_batch(sequences);
  examples_.assign(sequences, {});
  example_of_.resize(sequences);
  for (std::size_t row = 0; row < sequences; ++row) example_of_[row] = static_cast<std::uint32_t>(row);
}

void TraceRecorder::reorder(std::span<const std::uint32_t> parents) {
  std::vector<std::uint32_t> moved;
  for (const std::uint32_t parent : parents) moved.push_back(example_of_.at(parent));
  std::vector<std::uint32_t> sorted = moved;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    throw UsageError("a trace follows one path an example: trace with greedy decoding or one sample, not with beams");
  }
  device_->reorder(parents);
  example_of_ = std::move(moved);
}

void TraceRecorder::feed(std::span<const std::int32_t> tokens) {
  device_->feed(tokens);
  for (std::size_t row = 0; row < tokens.size(); ++row) examples_[example_of_.at(row)].tokens.push_back(tokens[row]);
}

void TraceRecorder::approach(MoeLayer layer, MatrixView<const float> hidden) {
  device_->approach(layer, hidden);
  if (!options_.approach || layer.stack != Stack::kDecoder) return;
  for (std::size_t row = 0; row < hidden.rows(); ++row) {
    append_state(column(examples_[example_of_.at(row)].approach, layer.index), hidden.row(row));
  }
}

void TraceRecorder::route(const MoeInput& input, std::span<RoutingDecision> decisions) {
  device_->route(input, decisions);
  const bool decoder = input.layer.stack == Stack::kDecoder;
  for (std::size_t token = 0; token < decisions.size(); ++token) {
    Row& row = examples_[example_of_.at(input.sequence[token])];
    column(decoder ? row.decoder : row.encoder, input.layer.index).push_back(decisions[token]);
    if (decoder && options_.hidden) append_state(column(row.hidden, input.layer.index), input.hidden.row(token));
  }
}

void TraceRecorder::compute(const MoeInput& input, std::span<const RoutingDecision> decisions,
                            MatrixView<float> output) {
  device_->compute(input, decisions, output);
}

void TraceRecorder::begin_statistics() { device_->begin_statistics(); }
model::MoeStatistics TraceRecorder::statistics() const { return device_->statistics(); }
void TraceRecorder::finish() { device_->finish(); }
std::string TraceRecorder::describe() const { return device_->describe() + ", traced"; }

Trace TraceRecorder::take(std::span<const std::vector<std::int32_t>> encoder_tokens) {
  Trace trace;
  if (encoder_tokens.size() != examples_.size()) {
    throw Error(fmt::format("trace: {} inputs were encoded, the encoder's tokens of {} are given", examples_.size(),
                            encoder_tokens.size()));
  }
  for (std::size_t example = 0; example < examples_.size(); ++example) {
    const Row& row = examples_[example];
    const auto number = static_cast<std::int32_t>(example);
    for (const std::vector<RoutingDecision>& layer : row.encoder) {
      if (layer.size() != encoder_tokens[example].size()) {
        throw Error(fmt::format("trace: {} tokens of input {} were routed in the encoder, it has {}", layer.size(),
                                example, encoder_tokens[example].size()));
      }
    }
    for (const std::vector<RoutingDecision>& layer : row.decoder) {
      if (layer.size() != row.tokens.size()) {
        throw Error(fmt::format("trace: {} steps of input {} were routed in the decoder, {} tokens were fed",
                                layer.size(), example, row.tokens.size()));
      }
    }
    if (!row.encoder.empty()) append_steps(trace.encoder, row.encoder, encoder_tokens[example], number, true);
    append_steps(trace.decoder, row.decoder, row.tokens, number, false);
    append_states(trace.decoder.hidden, row.hidden, row.tokens.size());
    append_states(trace.decoder.approach, row.approach, row.tokens.size());
  }
  examples_.assign(examples_.size(), {});
  return trace;
}

}  // namespace flame::routing
