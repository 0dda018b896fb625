#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "flame/io/checkpoint.h"
#include "flame/model/config.h"
#include "flame/sparsity/calibration.h"
#include "flame/sparsity/prune.h"
#include "flame/sparsity/prune_plan.h"

namespace flame::sparsity {

/// Where a pruned expert's matrix goes.
using StorePruned = std::function<void(const PlannedTensor& tensor, MatrixView<const float> pruned)>;

/// Prunes the planned tensors of one MoE layer by calibration (wanda or sparsegpt), expert by expert, each with the
/// statistics of the tokens routed to it; wo with what the expert's own, already pruned, wi makes of them. Experts with
/// fewer than options.minimum_tokens take all tokens of the layer and are added to `fallbacks`.
void prune_layer(const io::Checkpoint& checkpoint, const model::SwitchConfig& config, model::MoeLayer layer,
                 const LayerActivations& activations, model::Activation activation,
                 const std::map<std::string, PlannedTensor>& plan, const PruneOptions& options,
                 const StorePruned& store, std::vector<Fallback>& fallbacks);

}  // namespace flame::sparsity
