#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flame/base/data_type.h"

namespace flame::io {

/// A tensor's bytes where they lie in a mapped file: row-major, little-endian, without gaps. Valid as long as the file
/// object. bytes.size() is exactly elements() * size_of(type); bytes need not be aligned for their type.
struct TensorView {
  DataType type = DataType::kF32;
  std::vector<std::uint64_t> shape;  ///< empty for a scalar
  std::span<const std::byte> bytes;

  [[nodiscard]] std::uint64_t elements() const { return bytes.size() / size_of(type); }
};

/// "BF16 [768, 3072]", for messages.
[[nodiscard]] std::string describe(const TensorView& tensor);
[[nodiscard]] std::string describe(DataType type, std::span<const std::uint64_t> shape);

/// Product of the extents times the element size. Returns false when that does not fit in 64 bits.
[[nodiscard]] bool tensor_bytes(DataType type, std::span<const std::uint64_t> shape, std::uint64_t& bytes);

/// A mapped file of named tensors: what the safetensors and the PyTorch readers have in common.
class TensorFile {
 public:
  virtual ~TensorFile() = default;

  [[nodiscard]] virtual const std::filesystem::path& path() const = 0;
  /// Sorted.
  [[nodiscard]] virtual const std::vector<std::string>& names() const = 0;
  /// Null when there is none of that name.
  [[nodiscard]] virtual const TensorView* find(std::string_view name) const = 0;
  /// Throws ModelError naming file and tensor when there is none of that name.
  [[nodiscard]] const TensorView& tensor(std::string_view name) const;
  /// The tensor's pages are not needed for now: they leave this process's resident memory, and come back when touched.
  virtual void release(std::string_view name) const = 0;
};

}  // namespace flame::io
