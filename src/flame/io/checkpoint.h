#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "flame/io/file.h"
#include "flame/io/tensor_file.h"

namespace flame::io {

/// All tensors of a Hugging Face model, in whatever files they lie, memory-mapped.
class Checkpoint {
 public:
  /// `path` is a model directory or one weight file. In a directory the first of these that is there is read, as
  /// transformers does: model.safetensors, model.safetensors.index.json, pytorch_model.bin,
  /// pytorch_model.bin.index.json. Throws FileError, FormatError, or ModelError naming a missing shard, a tensor the
  /// index promises and its shard lacks, or a tensor in two shards; a directory without weights is named with what was
  /// looked for.
  [[nodiscard]] static Checkpoint open(const std::filesystem::path& path, FileSystem& files = FileSystem::real());

  /// What was opened: the directory or file.
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// The weight files, in the order of their names.
  [[nodiscard]] std::vector<std::filesystem::path> files() const;

  /// Sorted.
  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }
  /// Null when there is none of that name.
  [[nodiscard]] const TensorView* find(std::string_view name) const;
  /// Throws ModelError naming the tensor and the files that lack it.
  [[nodiscard]] const TensorView& tensor(std::string_view name) const;
  /// The file that holds the tensor; for messages. The tensor must be there.
  [[nodiscard]] const std::filesystem::path& file_of(std::string_view name) const;

  /// Sum of the tensors' bytes.
  [[nodiscard]] std::uint64_t total_bytes() const;
  /// The tensor has been converted or copied: its pages leave this process's resident memory (they come back when
  /// touched).
  void release(std::string_view name) const;
  void release_all() const;

  /// XXH3 over every tensor's name, type, shape and bytes, in the order of names: the same for the same weights however
  /// they are sharded or stored. Reads everything once (pages are released as it goes) and remembers the result. Not
  /// thread-safe at its first call.
  [[nodiscard]] std::uint64_t content_checksum() const;

 private:
  explicit Checkpoint(std::filesystem::path path) : path_(std::move(path)) {}
  void add_file(std::unique_ptr<TensorFile> file);
  void add_shards(const std::filesystem::path& index, FileSystem& files);

  std::filesystem::path path_;
  std::vector<std::unique_ptr<TensorFile>> files_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, const TensorFile*> owners_;
  mutable bool checksum_known_ = false;
  mutable std::uint64_t checksum_ = 0;
};

}  // namespace flame::io
