#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "flame/routing/trace.h"

namespace flame::routing::test {

inline TraceInfo synthetic_info(std::uint32_t experts, std::uint32_t layers) {
  TraceInfo info;
  info.model = "synthetic";
  info.checksum = "00000000000000aa";
  info.data = "none";
  info.decoding = "greedy";
  info.experts = experts;
  info.decoder_layers = layers;
  info.d_model = 2;
  info.vocabulary = 1000;
  return info;
}

/// The next expert of a circular path, given the path so far in this example, the layer and the token fed.
using NextExpert =
    std::function<std::uint16_t(const std::vector<std::uint16_t>& path, std::uint32_t layer, std::int32_t token)>;

/// A decoder trace of `examples` examples of `steps` steps. Tokens are drawn from [0, tokens).
inline Trace synthetic_trace(std::uint32_t experts, std::uint32_t layers, std::size_t examples, std::size_t steps,
                             std::uint64_t seed, const NextExpert& next, std::uint32_t tokens = 1000) {
  Trace trace;
  trace.info = synthetic_info(experts, layers);
  trace.decoder.layers = layers;
  std::mt19937_64 random(seed);
  for (std::size_t example = 0; example < examples; ++example) {
    std::vector<std::uint16_t> path;
    for (std::size_t step = 0; step < steps; ++step) {
      const auto token = static_cast<std::int32_t>(random() % tokens);
      for (std::uint32_t layer = 0; layer < layers; ++layer) {
        path.push_back(next(path, layer, token));
        trace.decoder.experts.push_back(path.back());
        trace.decoder.probability.push_back(Float16::from_float(0.5F));
      }
      trace.decoder.token.push_back(token);
      trace.decoder.example.push_back(static_cast<std::int32_t>(example));
    }
  }
  return trace;
}

/// Experts drawn uniformly.
inline Trace random_trace(std::uint32_t experts, std::uint32_t layers, std::size_t examples, std::size_t steps,
                          std::uint64_t seed) {
  std::mt19937_64 random(seed * 7919 + 1);
  return synthetic_trace(experts, layers, examples, steps, seed, [&](const auto&, std::uint32_t, std::int32_t) {
    return static_cast<std::uint16_t>(random() % experts);
  });
}

}  // namespace flame::routing::test
