#include "flame/sparsity/expert_pruning.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/base/thread_pool.h"
#include "flame/model/weights.h"
#include "flame/sparsity/activation_score.h"
#include "flame/sparsity/expert_network.h"
#include "flame/sparsity/group_select.h"
#include "flame/sparsity/obs_update.h"

namespace flame::sparsity {
namespace {

/// What a method has to know of a matrix's inputs; shared by the matrices that take the same ones.
class InputStatistics {
 public:
  InputStatistics(const PruneOptions& options, MatrixView<const float> inputs) : method_(options.method) {
    if (method_ == Method::kWanda) {
      norms_ = column_norms(inputs);
    } else {
      factor_ = gram_matrix(inputs);
      factor_inverse(factor_, options.damping);
    }
  }

  void prune(Pattern pattern, MatrixView<float> weights) const {
    if (method_ == Method::kWanda) {
      const Matrix<float> scores = activation_scores(weights, norms_);
      ThreadPool::parallel_for(weights.rows(), 16, [&](std::size_t begin, std::size_t end) {
        keep_largest(pattern, scores.view().rows_from(begin, end - begin), weights.rows_from(begin, end - begin));
      });
    } else {
      prune_with_update(pattern, factor_, weights);
    }
  }

 private:
  Method method_;
  std::vector<float> norms_;
  Matrix<float> factor_;
};

Matrix<float> read_weights(const io::Checkpoint& checkpoint, const std::string& name) {
  const io::TensorView& tensor = checkpoint.tensor(name);
  const StoredShape shape = stored_shape(name, tensor);
  model::require_finite(checkpoint, name);
  return widen(shape, tensor.bytes);
}

}  // namespace

void prune_layer(const io::Checkpoint& checkpoint, const model::SwitchConfig& config, model::MoeLayer layer,
                 const LayerActivations& activations, model::Activation activation,
                 const std::map<std::string, PlannedTensor>& plan, const PruneOptions& options,
                 const StorePruned& store, std::vector<Fallback>& fallbacks) {
  const bool gated = model::find_gating(checkpoint) == model::Gating::kGated;
  for (std::size_t expert = 0; expert < config.num_experts; ++expert) {
    throw_if_interrupted();
    const auto name_of_matrix = [&](std::string_view matrix) {
      return model::expert_tensor_name(config, layer, expert, matrix);
    };
    const std::vector<std::string> inner =
        gated ? std::vector{name_of_matrix("wi_0"), name_of_matrix("wi_1")} : std::vector{name_of_matrix("wi")};
    const std::string outer = name_of_matrix("wo");
    const bool any_inner =
        std::any_of(inner.begin(), inner.end(), [&](const auto& name) { return plan.contains(name); });
    if (!any_inner && !plan.contains(outer)) continue;

    std::vector<std::size_t> tokens;
    for (std::size_t t = 0; t < activations.expert.size(); ++t) {
      if (activations.expert[t] == expert && activations.dropped[t] == 0) tokens.push_back(t);
    }
    // Without any token there is nothing to tell one weight from another by.
    if (tokens.size() < std::max<std::size_t>(options.minimum_tokens, 1)) {
      fallbacks.push_back({layer, expert, tokens.size()});
      tokens.resize(activations.expert.size());
      for (std::size_t t = 0; t < tokens.size(); ++t) tokens[t] = t;
    }
    const Matrix<float> inputs = gather_rows(activations.hidden, tokens);

    std::vector<Matrix<float>> weights;
    for (const std::string& name : inner) weights.push_back(read_weights(checkpoint, name));
    if (any_inner) {
      const InputStatistics statistics(options, inputs);
      for (std::size_t i = 0; i < inner.size(); ++i) {
        const auto planned = plan.find(inner[i]);
        if (planned == plan.end()) continue;
        statistics.prune(planned->second.pattern, weights[i]);
        store(planned->second, weights[i]);
      }
    }
    if (const auto planned = plan.find(outer); planned != plan.end()) {
      const kernels::WeightMatrix gate = gated ? as_weight(weights[1]) : kernels::WeightMatrix();
      const InputStatistics statistics(options, expert_hidden(as_weight(weights[0]), gate, activation, inputs));
      Matrix<float> wo = read_weights(checkpoint, outer);
      statistics.prune(planned->second.pattern, wo);
      store(planned->second, wo);
    }
  }
}

}  // namespace flame::sparsity
