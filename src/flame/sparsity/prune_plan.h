#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "flame/io/checkpoint.h"
#include "flame/model/config.h"
#include "flame/sparsity/prune.h"
#include "flame/sparsity/stored_matrix.h"

namespace flame::sparsity {

/// One tensor that is to be pruned.
struct PlannedTensor {
  std::string name;
  StoredShape shape;
  Pattern pattern;        ///< for pattern methods
  double sparsity = 0.0;  ///< for the others
};

/// Which tensors of a checkpoint `options` prunes, in the order of their names, each checked against what the method
/// demands. Throws as prune_checkpoint does.
[[nodiscard]] std::vector<PlannedTensor> plan_pruning(const io::Checkpoint& checkpoint,
                                                      const model::SwitchConfig& config, const PruneOptions& options);

/// The index storage of a pruned tensor with these bytes; padding weights, where an encoding needs them, are stored
/// with `value_bits` each.
[[nodiscard]] IndexStorage index_storage_of(const PlannedTensor& tensor, const PruneOptions& options,
                                            std::span<const std::byte> pruned, std::size_t value_bits);

}  // namespace flame::sparsity
