#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flame/base/progress.h"
#include "flame/io/atomic_output.h"
#include "flame/io/checkpoint.h"

namespace flame::sparsity {

/// A Hugging Face model directory written like another one, with the bytes of some tensors changed: same shards, same
/// tensor order, types and shapes, every other file copied. Memory: one tensor. Until commit() nothing stands under the
/// final name.
///
/// safetensors files keep their headers byte for byte. PyTorch files (.bin) become safetensors files of the
/// corresponding names ("pytorch_model-00001-of-00002.bin" becomes "model-00001-of-00002.safetensors"), each with its
/// tensors in sorted order; tensors that shared storage are written out separately.
/// Weights in formats that were not read (a .h5 beside the .safetensors) would still be the unchanged ones, so they are
/// left out, like subdirectories; left_out() names them.
class CheckpointCopy {
 public:
  /// `source` (opened from the directory `model`) and `files` must outlive the copy. Throws UsageError when `model` is
  /// not a directory, and as io::AtomicDirectory does.
  CheckpointCopy(const std::filesystem::path& model, const io::Checkpoint& source, const std::filesystem::path& target,
                 io::Existing existing, io::FileSystem& files);

  /// Fills `copy` (as long as original.bytes, contents unspecified) with the tensor's new bytes.
  using Edit = std::function<void(std::string_view name, const io::TensorView& original, std::span<std::byte> copy)>;
  using Edits = std::map<std::string, Edit, std::less<>>;

  /// Writes everything but the file `replaced`, which add_file() will write anew; `edits` has an entry for every tensor
  /// that changes. Shows progress; throws Interrupted.
  void write(const Edits& edits, std::string_view replaced);

  /// After write(): replaces a tensor's bytes in its file. Maps of the file see the new bytes at once.
  void overwrite(std::string_view name, std::span<const std::byte> bytes);

  /// The directory while it is being made: io::Checkpoint::open reads it after write().
  [[nodiscard]] const std::filesystem::path& path() const { return directory_.path(); }
  [[nodiscard]] const std::vector<std::string>& left_out() const { return left_out_; }
  /// Names of the files made so far, sorted.
  [[nodiscard]] std::vector<std::string> written() const;

  void add_file(const std::string& name, std::string_view text);
  void commit();

 private:
  /// One weight file: what it was and what it becomes.
  struct Shard {
    std::filesystem::path source;
    std::string name;                  ///< of the file written
    std::vector<std::string> tensors;  ///< sorted
    bool safetensors = true;           ///< what the source is
  };
  struct Place {
    io::WritableFile* file = nullptr;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
  };

  void plan_shards();
  void write_safetensors(const Shard& shard, const Edits& edits, Progress& progress);
  void write_converted(const Shard& shard, const Edits& edits, Progress& progress);
  /// The tensor's new bytes in pieces.
  void stream(std::string_view name, const Edits& edits, const std::function<void(std::span<const std::byte>)>& sink,
              Progress& progress);
  void write_index_of_converted();
  void copy_other_files(std::string_view replaced);
  /// Stays open until commit().
  io::WritableFile& create(const std::string& name);

  std::filesystem::path model_;
  const io::Checkpoint& source_;
  io::FileSystem& files_;
  io::AtomicDirectory directory_;
  std::vector<Shard> shards_;
  std::vector<std::unique_ptr<io::WritableFile>> open_files_;
  std::map<std::string, Place, std::less<>> places_;
  std::vector<std::string> left_out_;
  std::vector<std::byte> buffer_;  // an edited tensor
};

}  // namespace flame::sparsity
