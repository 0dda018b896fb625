#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/base/matrix_view.h"
#include "flame/model/moe_device.h"

namespace flame::experts {

/// The tokens of a pass that one expert computes, put side by side. Keeps its memory for the next expert.
class ExpertTokens {
 public:
  /// Those that `decisions` give to the expert of this number and that are not dropped.
  void gather(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions, std::uint32_t expert);
  /// Copies computed() to the tokens' rows of `output`.
  void scatter(MatrixView<float> output) const;

  [[nodiscard]] std::size_t size() const { return tokens_.size(); }
  [[nodiscard]] MatrixView<const float> input() const { return input_.view(); }  ///< [size, d_model]
  [[nodiscard]] std::span<const float> probabilities() const { return probabilities_; }
  [[nodiscard]] MatrixView<float> computed() { return computed_.view(); }  ///< [size, d_model]: the expert's output

 private:
  std::vector<std::uint32_t> tokens_;
  std::vector<float> probabilities_;
  Matrix<float> input_;
  Matrix<float> computed_;
};

}  // namespace flame::experts
