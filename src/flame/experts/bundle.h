#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "flame/experts/expert_grid.h"
#include "flame/io/file.h"
#include "flame/kernels/expert.h"
#include "flame/model/config.h"
#include "flame/model/weights.h"
#include "flame/routing/profile.h"

namespace flame::experts {

/// What one checksum of experts.safetensors covers, counted from the start of an expert; the last block is shorter.
inline constexpr std::uint32_t kBundleBlockBytes = 64 * 1024;
inline constexpr int kBundleVersion = 1;

/// Where a packed expert lies.
struct StoredExpert {
  std::uint64_t offset = 0;                        ///< in experts.safetensors, a multiple of 4096
  std::uint64_t stored_bytes = 0;                  ///< with zeros up to the next multiple of 4096
  std::uint64_t checksum = 0;                      ///< XXH3-64 of the stored bytes
  std::span<const std::uint64_t> block_checksums;  ///< of each kBundleBlockBytes; live as long as the bundle
};

/// A bundle (docs/bundle.md): a model whose experts are packed to be read one by one.
class Bundle {
 public:
  /// True when `path` is a directory that holds flame.json: a bundle rather than a checkpoint. One with packed experts
  /// that has lost its flame.json is a bundle as well, and open() says what is missing.
  [[nodiscard]] static bool is_bundle(const std::filesystem::path& path,
                                      io::FileSystem& files = io::FileSystem::real());

  /// Reads flame.json, config.json, the header of experts.safetensors and its checksums, and checks all of them against
  /// one another; no expert is read. Every file that flame.json names has to be there in its size, and those of at most
  /// 4 MiB (configuration, tokenizer) with their checksum: what else is in them `verify_bundle` compares. Throws
  /// FileError, FormatError or ModelError.
  [[nodiscard]] static Bundle open(const std::filesystem::path& directory,
                                   io::FileSystem& files = io::FileSystem::real());

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path experts_file() const { return path_ / "experts.safetensors"; }
  [[nodiscard]] std::filesystem::path dense_file() const { return path_ / "model.safetensors"; }
  [[nodiscard]] const model::SwitchConfig& config() const { return config_; }
  [[nodiscard]] const ExpertGrid& grid() const { return grid_; }

  /// How the experts of a layer are packed; layers may have patterns of their own, but one value type.
  [[nodiscard]] const kernels::PackedExpertLayout& layout(LayerIndex layer) const { return layouts_[layer]; }
  [[nodiscard]] const StoredExpert& expert(ExpertIndex expert) const { return experts_[expert]; }
  /// Of the largest expert: what a slot must hold.
  [[nodiscard]] std::uint64_t slot_bytes() const { return slot_bytes_; }
  /// Of all experts.
  [[nodiscard]] std::uint64_t packed_bytes() const { return packed_bytes_; }

  /// "2:4", or a list as LayerPatterns writes it; "dense" without N:M.
  [[nodiscard]] const std::string& pattern() const { return pattern_; }
  /// "2:4 int8": for the first line of --stats.
  [[nodiscard]] std::string describe() const;
  /// Checksum of the checkpoint that was packed (io::Checkpoint::content_checksum), in hexadecimal.
  [[nodiscard]] const std::string& model_checksum() const { return model_checksum_; }

  [[nodiscard]] bool has_profile() const { return has_profile_; }
  /// Reads profile.json and checks that it is of this model's shape. Throws FormatError or UsageError.
  [[nodiscard]] routing::Profile profile() const;

 private:
  Bundle() = default;

  std::filesystem::path path_;
  model::SwitchConfig config_;
  ExpertGrid grid_;
  std::vector<kernels::PackedExpertLayout> layouts_;  ///< [layers]
  std::vector<StoredExpert> experts_;                 ///< [experts of the grid]
  std::shared_ptr<std::vector<std::uint64_t>> block_checksums_;
  std::uint64_t slot_bytes_ = 0;
  std::uint64_t packed_bytes_ = 0;
  std::string pattern_;
  std::string model_checksum_;
  bool has_profile_ = false;
};

/// Reads every byte of every file of a bundle and compares all checksums. Throws as Bundle::open does; damage is a
/// FormatError that names the file, and for an expert its name, offset and block. Files that flame.json does not name
/// are an error too. Returns the number of bytes read.
std::uint64_t verify_bundle(const std::filesystem::path& directory, io::FileSystem& files = io::FileSystem::real());

/// "64 experts of 52.0 KiB each", or where patterns differ between layers "64 experts of up to 60.0 KiB each".
/// `largest`: bytes of a slot; `all`: of all experts.
[[nodiscard]] std::string describe_experts(std::uint64_t experts, std::uint64_t largest, std::uint64_t all);

}  // namespace flame::experts
