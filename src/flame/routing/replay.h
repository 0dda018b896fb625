#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/routing/predictor.h"
#include "flame/routing/trace.h"

namespace flame::routing {

/// Feeds the decoder steps of one example to a predictor as decoding would (one row), and calls visit(step, layer)
/// right before each layer is decided: the token is fed, the layer's approach is known, its expert is not. A visit may
/// rank the layer itself and those after it.
class Replay {
 public:
  Replay(const Trace& trace, Predictor& predictor)
      : trace_(trace.decoder), d_model_(trace.info.d_model), predictor_(predictor) {
    buffer_.resize(d_model_);
    approach_ = predictor.needs_approach() && !trace_.approach.empty();
    hidden_ = predictor.needs_hidden() && !trace_.hidden.empty();
  }

  template <typename Visit>
  void run(StepRange range, Visit&& visit) {
    predictor_.begin(1);
    if (predictor_.needs_future()) {
      predictor_.foresee(
          0, std::span(trace_.experts).subspan(range.first * trace_.layers, (range.end - range.first) * trace_.layers));
    }
    for (std::size_t step = range.first; step < range.end; ++step) {
      predictor_.feed(std::span(trace_.token).subspan(step, 1));
      for (std::uint32_t layer = 0; layer < trace_.layers; ++layer) {
        const std::size_t position = step * trace_.layers + layer;
        if (approach_) predictor_.approach(layer, state(trace_.approach, position));
        visit(step, layer);
        if (hidden_) predictor_.hidden(layer, state(trace_.hidden, position));
        predictor_.observe(0, layer, trace_.experts[position]);
      }
    }
  }

 private:
  MatrixView<const float> state(const std::vector<BFloat16>& states, std::size_t position) {
    const auto first = states.begin() + static_cast<std::ptrdiff_t>(position * d_model_);
    std::transform(first, first + static_cast<std::ptrdiff_t>(d_model_), buffer_.begin(),
                   [](BFloat16 value) { return value.to_float(); });
    return {buffer_.data(), 1, d_model_};
  }

  const StackTrace& trace_;
  std::size_t d_model_;
  Predictor& predictor_;
  bool approach_ = false;
  bool hidden_ = false;
  std::vector<float> buffer_;  ///< [d_model]
};

}  // namespace flame::routing
