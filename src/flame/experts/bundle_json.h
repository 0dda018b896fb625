#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "flame/experts/expert_grid.h"
#include "flame/kernels/expert.h"
#include "flame/model/config.h"
#include "flame/routing/trace.h"

namespace flame::experts {

/// Names inside a bundle that its reader and its writer share.
inline constexpr const char* kManifestFile = "flame.json";
inline constexpr const char* kConfigFile = "config.json";
inline constexpr const char* kDenseFile = "model.safetensors";
inline constexpr const char* kExpertsFile = "experts.safetensors";
inline constexpr const char* kProfileFile = "profile.json";
inline constexpr const char* kBlockChecksums = "block_xxh3";

/// Size and checksum of one file of a bundle.
struct BundleFile {
  std::uint64_t bytes = 0;
  std::uint64_t checksum = 0;
};

/// flame.json as values. Its format: docs/bundle.md.
struct BundleManifest {
  std::string model_checksum;
  std::string pattern;
  std::vector<kernels::PackedFormat> formats;  ///< [layers]
  bool gated = false;
  kernels::Activation activation = kernels::Activation::kRelu;
  std::vector<std::string> names;        ///< [experts of the grid], tensors of experts.safetensors
  std::vector<std::uint64_t> checksums;  ///< [experts of the grid]
  std::uint64_t block_table_checksum = 0;
  std::map<std::string, BundleFile> files;  ///< every file but flame.json
};

/// The content of flame.json.
[[nodiscard]] std::string manifest_text(const BundleManifest& manifest, const ExpertGrid& grid);

/// Checks everything that can be checked without the other files. Throws FormatError.
[[nodiscard]] BundleManifest parse_manifest(const std::string& text, const std::filesystem::path& source,
                                            const ExpertGrid& grid);

/// What a trace or a profile of a bundle must say of its model: the shape, and the checksum of the packed checkpoint.
[[nodiscard]] routing::TraceInfo packed_model(const model::SwitchConfig& config, const ExpertGrid& grid,
                                              const std::string& checksum);

[[nodiscard]] ExpertGrid grid_of(const model::SwitchConfig& config);

/// The name of an expert in experts.safetensors, for example "decoder.block.1.layer.2.mlp.experts.expert_3".
[[nodiscard]] std::string stored_name(const model::SwitchConfig& config, const ExpertGrid& grid, ExpertIndex expert);

/// `bytes` up to the next multiple of 4096.
[[nodiscard]] constexpr std::uint64_t padded_bytes(std::uint64_t bytes) { return (bytes + 4095) / 4096 * 4096; }

}  // namespace flame::experts
