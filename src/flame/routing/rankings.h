#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/routing/predictor.h"

namespace flame::routing {

/// The rankings of a layer's contexts, worked out beforehand, so that a prediction copies one or two cache lines
/// instead of ordering counts. A row keeps all experts of up to 16, the best 8 of more: what lies beyond those is for
/// the table that the rankings were made from.
class Rankings {
 public:
  Rankings() = default;
  Rankings(std::uint32_t experts, std::size_t rows);

  /// The head of a row's ranking, all that the row keeps of it, to be filled before the first copy.
  [[nodiscard]] std::span<RankedExpert> row(std::size_t row) { return {lines_[row * lines_a_row_].data(), kept_}; }

  /// Whether the first `wanted` experts of a ranking can be had from here.
  [[nodiscard]] bool covers(std::size_t wanted) const { return wanted <= kept_ || (whole_ && kept_ > 0); }

  /// The first out.size() experts of the row, all there are where that is more. Requires covers(out.size()).
  /// Returns the number written.
  std::size_t copy(std::size_t row, std::span<RankedExpert> out) const;

 private:
  /// Eight experts fill a cache line.
  struct alignas(64) Line : std::array<RankedExpert, 8> {};

  std::size_t kept_ = 0;
  bool whole_ = false;  ///< a row keeps every expert of the layer
  std::size_t lines_a_row_ = 1;
  std::vector<Line> lines_;
};

}  // namespace flame::routing
