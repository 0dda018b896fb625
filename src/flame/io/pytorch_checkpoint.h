#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "flame/io/file.h"
#include "flame/io/tensor_file.h"

namespace flame::io {

/// A PyTorch checkpoint in the zip form (torch.save since 1.6) that holds a dictionary of tensors, memory-mapped:
/// tensors lie in the file's stored entries, and nothing is copied. The pickle inside is read by a machine that can
/// build tensors, dictionaries and plain values only (pickle_reader.h); anything else it asks for is refused by name.
class PytorchCheckpoint : public TensorFile {
 public:
  /// Throws FileError or FormatError. A tensor stored in another order than row-major (a transposed one) is refused.
  explicit PytorchCheckpoint(const std::filesystem::path& path, FileSystem& files = FileSystem::real());

  [[nodiscard]] const std::filesystem::path& path() const override { return path_; }
  [[nodiscard]] const std::vector<std::string>& names() const override { return names_; }
  [[nodiscard]] const TensorView* find(std::string_view name) const override;
  void release(std::string_view name) const override;

 private:
  std::filesystem::path path_;
  MemoryMap map_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, TensorView> tensors_;
};

}  // namespace flame::io
