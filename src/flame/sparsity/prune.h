#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flame/base/json.h"
#include "flame/io/atomic_output.h"
#include "flame/model/moe_device.h"
#include "flame/sparsity/baselines.h"
#include "flame/sparsity/calibration.h"
#include "flame/sparsity/index_storage.h"
#include "flame/sparsity/pattern.h"

namespace flame::sparsity {

/// How the weights that stay are chosen.
enum class Method : std::uint8_t {
  kMagnitude,     ///< N:M, the largest of each group (the paper)
  kWanda,         ///< N:M by |weight| * norm of its input over calibration tokens
  kSparseGpt,     ///< N:M with the removed weights' error made up for by those that stay
  kUnstructured,  ///< the largest of each matrix, wherever they stand
  kColumnBlock,   ///< whole columns of blocks
};

[[nodiscard]] std::string_view name_of(Method method);
/// Every name that parse_method takes, the paper's first.
[[nodiscard]] std::vector<std::string_view> method_names();
/// Those of them that is_pattern_method.
[[nodiscard]] std::vector<std::string_view> pattern_method_names();
/// UsageError that lists the names.
[[nodiscard]] Method parse_method(std::string_view name);
[[nodiscard]] bool needs_calibration(Method method);
/// Whether the method makes N:M, rather than some sparsity.
[[nodiscard]] bool is_pattern_method(Method method);

struct PruneOptions {
  Method method = Method::kMagnitude;
  /// N:M of each layer. The baselines take the sparsity of the pattern unless `sparsity` is given.
  LayerPatterns patterns;
  std::optional<double> sparsity;  ///< baselines: the share to remove, 0 <= sparsity < 1
  BlockShape block;                ///< column-block
  /// A row that M does not divide is pruned as if zeros followed it, instead of being refused.
  bool pad = false;
  /// Tensors beside the experts' that are pruned too, and experts' that are not: name patterns with * and ?.
  std::vector<std::string> include;
  std::vector<std::string> exclude;

  std::vector<CalibrationExample> calibration;
  std::string calibration_source;   ///< for the record: where the examples came from
  double damping = 0.01;            ///< sparsegpt: share of the Hessian's mean diagonal that is added to it
  std::size_t minimum_tokens = 64;  ///< an expert that calibration gave fewer is pruned by its layer's statistics

  /// Compute PrunedTensor::error (one more pass over the weights).
  bool measure_error = true;
  io::Existing existing = io::Existing::kRefuse;
};

struct PrunedTensor {
  std::string name;
  std::string how;  ///< "2:4", or for a baseline "50 % removed"
  std::uint64_t weights = 0;
  std::uint64_t zeros = 0;     ///< afterwards; weights that were zero before among them
  double squared_norm = 0.0;   ///< sum of the squares of the weights before
  double squared_error = 0.0;  ///< sum of the squares of what changed
};

/// An expert that calibration gave too few tokens.
struct Fallback {
  model::MoeLayer layer;
  std::size_t expert = 0;
  std::size_t tokens = 0;  ///< that reached it
};

struct PruneReport {
  std::vector<PrunedTensor> tensors;
  std::vector<Fallback> fallbacks;
  std::vector<std::string> left_out;  ///< files of the model directory that were not copied
  std::uint64_t weights = 0;          ///< of all pruned tensors
  std::uint64_t zeros = 0;
  std::size_t padded_tensors = 0;  ///< whose rows M does not divide
  std::uint64_t bytes = 0;         ///< stored bytes of all pruned tensors
  IndexStorage index_storage;      ///< of all pruned tensors, by encoding
  double selection_seconds = 0.0;  ///< choosing weights and zeroing the others, reading the source included
  double seconds = 0.0;

  /// sqrt(sum of squared errors / sum of squared norms): what the pruning took from the weights.
  [[nodiscard]] double relative_error() const;
};

/// Prunes the checkpoint directory `model` into the new checkpoint directory `output`, which Hugging Face transformers
/// loads: same types, everything but the pruned tensors byte for byte (see CheckpointCopy), and flame_pruning.json, the
/// record of how it was made. Nothing stands under the name `output` until all is done. Memory: a few tensors; with
/// calibration the model is run too, from its mapped files.
/// Throws UsageError for options that cannot be or have no effect, and where `output` is `model`; ModelError naming the
/// tensor that cannot be pruned (a type, a row that M does not divide, NaN or infinity in it), FileError, FormatError,
/// Interrupted.
[[nodiscard]] PruneReport prune_checkpoint(const std::filesystem::path& model, const std::filesystem::path& output,
                                           const PruneOptions& options, io::FileSystem& files = io::FileSystem::real());

/// The N:M pattern that flame_pruning.json says all experts of the checkpoint directory `model` were pruned to; nullopt
/// without such a record, and where it names none: by a baseline, with some excluded, or with nothing pruned. Throws FileError, FormatError.
[[nodiscard]] std::optional<std::string> recorded_pattern(const std::filesystem::path& model,
                                                          io::FileSystem& files = io::FileSystem::real());

/// The report as `flame prune --json` prints it and flame_pruning.json records it (there without the times).
[[nodiscard]] Json to_json(const PruneReport& report, const PruneOptions& options);

}  // namespace flame::sparsity
