#include "flame/routing/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "flame/base/checksum.h"
#include "flame/base/error.h"

namespace flame::routing {
namespace {

template <typename T>
void extend(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

void append_stack(StackTrace& to, const StackTrace& from, std::int32_t offset) {
  extend(to.experts, from.experts);
  extend(to.probability, from.probability);
  extend(to.token, from.token);
  for (const std::int32_t example : from.example) to.example.push_back(example + offset);
  extend(to.dropped, from.dropped);
  extend(to.hidden, from.hidden);
  extend(to.approach, from.approach);
}

std::uint64_t fingerprint_of(std::span<const std::int32_t> tokens) {
  constexpr std::uint64_t kFortyBits = (std::uint64_t{1} << 40) - 1;
  return checksum_of(std::as_bytes(tokens)) & kFortyBits;
}

/// Appends the steps' part of a column of `width` values a step; a column that is not there stays empty.
template <typename Value>
void append_steps(const std::vector<Value>& from, StepRange steps, std::size_t width, std::vector<Value>& to) {
  if (from.empty()) return;
  const auto begin = from.begin();
  to.insert(to.end(), begin + static_cast<std::ptrdiff_t>(steps.first * width),
            begin + static_cast<std::ptrdiff_t>(steps.end * width));
}

}  // namespace

Trace select_examples(const Trace& trace, const std::vector<bool>& keep) {
  Trace selected;
  selected.info = trace.info;
  const auto select = [&](const StackTrace& from, StackTrace& to) {
    to.layers = from.layers;
    const std::size_t state = std::size_t{from.layers} * trace.info.d_model;
    const std::vector<StepRange> examples = examples_of(from);
    std::int32_t number = 0;
    for (std::size_t place = 0; place < examples.size(); ++place) {
      if (place < keep.size() && !keep[place]) continue;
      const StepRange& steps = examples[place];
      append_steps(from.experts, steps, from.layers, to.experts);
      append_steps(from.probability, steps, from.layers, to.probability);
      append_steps(from.token, steps, 1, to.token);
      append_steps(from.dropped, steps, from.layers, to.dropped);
      append_steps(from.hidden, steps, state, to.hidden);
      append_steps(from.approach, steps, state, to.approach);
      to.example.insert(to.example.end(), steps.end - steps.first, number++);
    }
  };
  select(trace.encoder, selected.encoder);
  select(trace.decoder, selected.decoder);
  return selected;
}

std::vector<StepRange> examples_of(const StackTrace& stack) {
  std::vector<StepRange> ranges;
  for (std::size_t step = 0; step < stack.steps(); ++step) {
    if (step == 0 || stack.example[step] != stack.example[step - 1]) {
      ranges.push_back({step, step + 1});
    } else {
      ranges.back().end = step + 1;
    }
  }
  return ranges;
}

std::vector<std::uint64_t> example_fingerprints(const Trace& trace) {
  const StackTrace& stack = trace.encoder.steps() > 0 ? trace.encoder : trace.decoder;
  std::vector<std::uint64_t> fingerprints;
  for (const StepRange& range : examples_of(stack)) {
    fingerprints.push_back(fingerprint_of(std::span(stack.token).subspan(range.first, range.end - range.first)));
  }
  return fingerprints;
}

void Trace::append(const Trace& more) {
  if (more.decoder.steps() == 0) return;
  if (decoder.steps() == 0) {
    *this = more;
    return;
  }
  TraceInfo other = more.info;
  other.data = info.data;
  if (other != info) {
    throw UsageError(
        fmt::format("traces of different models or decoding settings cannot be joined: {} ({}, {}) and {} "
                    "({}, {})",
                    info.model, info.checksum, info.decoding, more.info.model, more.info.checksum, more.info.decoding));
  }
  if (decoder.hidden.empty() != more.decoder.hidden.empty() ||
      decoder.approach.empty() != more.decoder.approach.empty() ||
      (encoder.steps() == 0) != (more.encoder.steps() == 0)) {
    throw UsageError("traces with and without hidden states or encoder decisions cannot be joined");
  }
  const std::int64_t offset = std::int64_t{decoder.example.back()} + 1;
  if (offset + more.decoder.example.back() > std::numeric_limits<std::int32_t>::max()) {
    throw UsageError("the joined traces would have more examples than a 32-bit example number can count");
  }
  append_stack(encoder, more.encoder, static_cast<std::int32_t>(offset));
  append_stack(decoder, more.decoder, static_cast<std::int32_t>(offset));
}

}  // namespace flame::routing
