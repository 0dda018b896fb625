#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "flame/base/data_type.h"
#include "flame/model/config.h"

namespace flame::model {

/// A configuration by name: the dimensions of a published model (docs/generation.md says where each is from).
struct Preset {
  std::string_view name;
  SwitchConfig config;
};

/// switch-base-8, -16, -32, -64 and -128.
[[nodiscard]] std::span<const Preset> presets();

/// The preset of that name, or nullptr.
[[nodiscard]] const Preset* find_preset(std::string_view name);

/// "switch-base-8, switch-base-16, …".
[[nodiscard]] std::string preset_names();

/// The preset of that name, or the configuration of a config.json or model directory; "switch-base-N" with another
/// number of experts has the size of the presets. Throws FileError that names the presets when there is neither, and as
/// load_config does.
[[nodiscard]] SwitchConfig load_config_or_preset(const std::filesystem::path& name);

struct SynthOptions {
  DataType type = DataType::kBF16;  ///< of all tensors: kF32, kBF16 or kF16
  std::uint64_t seed = 0;
  std::uint64_t shard_bytes = 5'000'000'000;  ///< a checkpoint larger than this is written in shards of at most this
  std::optional<std::filesystem::path> tokenizer = std::nullopt;  ///< a spiece.model to copy
};

/// Bytes written so far and bytes in all.
using SynthProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

/// Writes a checkpoint with random weights: config.json, generation_config.json and model.safetensors (or shards with
/// their index), in Hugging Face's layout. The same config, type and seed give the same bytes on any number of threads.
/// Memory in use stays below 32 MiB. The directory is written under a temporary name and renamed: it is whole or
/// absent.
///
/// Matrices are normal, with standard deviations that keep activations finite however many layers there are and tokens
/// different from one another: sublayers add little to the embeddings. Embeddings have a common mean vector, and a
/// router's logits a deviation of 1.5: its choice follows the token, while the common part makes some experts busier
/// than others (docs/generation.md has measured shares). Throws FileError, UsageError when `directory` is there and not
/// empty, Interrupted.
void synthesise(const SwitchConfig& config, const std::filesystem::path& directory, const SynthOptions& options,
                const SynthProgress& progress = {});

}  // namespace flame::model
