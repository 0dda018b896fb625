#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "flame/base/json.h"
#include "flame/eval/buffer.h"
#include "flame/experts/pack_bundle.h"
#include "flame/sparsity/prune.h"

namespace flame::eval {

/// The whole offline stage: calibrate, prune, pack, trace the packed model, add its profile.
struct CompileOptions {
  std::filesystem::path data;  ///< JSON lines
  std::string field;           ///< key of the input text
  std::optional<std::string> prefix;
  std::optional<std::string> task;
  std::string pattern = "2:4";  ///< "dense": nothing is pruned
  std::string method = "magnitude";
  kernels::PackedType type = kernels::PackedType::kInt8;
  std::size_t calibration_samples = 128;
  std::size_t trace_samples = 500;
  std::size_t max_new_tokens = 64;
  std::uint32_t context = 3;
  io::Existing existing = io::Existing::kRefuse;
};

struct CompileReport {
  experts::PackReport pack;
  double relative_error = 0.0;  ///< what pruning took from the weights
  std::uint64_t examples = 0;   ///< traced
  std::uint64_t decoder_steps = 0;
  std::vector<std::string> stages;     ///< what was done, and what an earlier run had done
  std::string predictor;               ///< what the bundle's profile makes of --predictor auto
  std::vector<BufferResult> expected;  ///< replays of the last fifth of the traced examples, profiled on the others
};

/// Writes the bundle `output`. Finished stages are kept in OUTPUT.stages until the bundle is there: run again with the
/// same options, it goes on from there. Only what the stages wrote is deleted with them. Throws UsageError when
/// OUTPUT.stages belongs to other options or holds something else, FileError when another run works in it, FormatError
/// for a text that is missing before anything is written, and whatever the stages throw.
[[nodiscard]] CompileReport compile_bundle(const std::filesystem::path& model, const std::filesystem::path& output,
                                           const CompileOptions& options,
                                           const std::function<void(const std::string& line)>& note);

}  // namespace flame::eval
