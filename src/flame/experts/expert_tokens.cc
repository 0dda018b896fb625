#include "flame/experts/expert_tokens.h"

#include <algorithm>

namespace flame::experts {

void ExpertTokens::gather(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions,
                          std::uint32_t expert) {
  tokens_.clear();
  probabilities_.clear();
  for (std::uint32_t token = 0; token < decisions.size(); ++token) {
    if (decisions[token].dropped || decisions[token].expert != expert) continue;
    tokens_.push_back(token);
    probabilities_.push_back(decisions[token].probability);
  }
  input_.resize(tokens_.size(), input.hidden.columns());
  computed_.resize(tokens_.size(), input.hidden.columns());
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    std::ranges::copy(input.hidden.row(tokens_[i]), input_.row(i).begin());
  }
}

void ExpertTokens::scatter(MatrixView<float> output) const {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    std::ranges::copy(computed_.row(i), output.row(tokens_[i]).begin());
  }
}

}  // namespace flame::experts
