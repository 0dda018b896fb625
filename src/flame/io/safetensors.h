#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "flame/io/file.h"
#include "flame/io/safetensors_header.h"
#include "flame/io/tensor_file.h"

namespace flame::io {

/// A safetensors file, memory-mapped. Opening reads and checks the header only. Format: docs/checkpoints.md.
class SafetensorsFile : public TensorFile {
 public:
  /// Throws FileError or FormatError.
  explicit SafetensorsFile(const std::filesystem::path& path, FileSystem& files = FileSystem::real());

  [[nodiscard]] const std::filesystem::path& path() const override { return path_; }
  [[nodiscard]] const std::vector<std::string>& names() const override { return names_; }
  [[nodiscard]] const TensorView* find(std::string_view name) const override;
  void release(std::string_view name) const override;

  [[nodiscard]] const SafetensorsHeader& header() const { return header_; }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  [[nodiscard]] const MemoryMap& map() const { return map_; }

 private:
  std::filesystem::path path_;
  MemoryMap map_;
  SafetensorsHeader header_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, TensorView> tensors_;
};

}  // namespace flame::io
