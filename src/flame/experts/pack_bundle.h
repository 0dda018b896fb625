#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "flame/base/data_type.h"
#include "flame/io/atomic_output.h"
#include "flame/kernels/packed_matrix.h"
#include "flame/sparsity/pattern.h"

namespace flame::experts {

struct PackOptions {
  /// N:M of each layer; layers that it does not speak of are dense. Experts that are not pruned to it are pruned by
  /// magnitude on the way.
  sparsity::LayerPatterns patterns;
  kernels::PackedType type = kernels::PackedType::kBF16;
  std::uint8_t int4_group = 64;
  std::optional<std::filesystem::path> profile;  ///< copied into the bundle after a check against the model
  io::Existing existing = io::Existing::kRefuse;
};

struct PackReport {
  std::uint64_t experts = 0;
  std::uint64_t expert_bytes = 0;      ///< of the largest packed expert: a slot
  std::uint64_t packed_bytes = 0;      ///< of all experts
  std::uint64_t checkpoint_bytes = 0;  ///< of all experts as the checkpoint stored them
  std::uint64_t dense_bytes = 0;       ///< of everything else
  std::uint64_t pruned_experts = 0;    ///< how many had to be pruned here
  std::uint64_t bundle_bytes = 0;      ///< of all files
  std::uint64_t padded_matrices = 0;   ///< experts' matrices whose rows M does not divide: filled up with zeros
  std::optional<DataType> rounded;     ///< the experts' type in the checkpoint where bf16 does not hold it exactly
};

/// Writes the bundle `output` from a checkpoint directory: streaming, one expert in memory at a time, whole or absent,
/// and the same bytes for the same input. Throws UsageError, ModelError (naming the tensor), FileError, FormatError,
/// Interrupted.
[[nodiscard]] PackReport pack_bundle(const std::filesystem::path& checkpoint, const std::filesystem::path& output,
                                     const PackOptions& options, io::FileSystem& files = io::FileSystem::real());

/// Throws UsageError when `output` is there and kReplace would delete what is no bundle, or a file that its flame.json
/// does not name.
void require_replaceable(const std::filesystem::path& output, io::Existing existing,
                         io::FileSystem& files = io::FileSystem::real());

/// Puts a profile into a bundle that lies at `directory`, in place of the one it may have: what a bundle that was
/// packed to be traced first is finished with. One atomic step where the file system can exchange directories (see
/// AtomicDirectory); the other files are linked, or copied where links cannot be had. Throws as pack_bundle does.
void add_profile(const std::filesystem::path& directory, const std::filesystem::path& profile);

}  // namespace flame::experts
