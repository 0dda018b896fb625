#include "flame/io/tensor_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "flame/base/error.h"

namespace flame::io {

std::string describe(DataType type, std::span<const std::uint64_t> shape) {
  return fmt::format("{} [{}]", name_of(type), fmt::join(shape, ", "));
}

std::string describe(const TensorView& tensor) { return describe(tensor.type, tensor.shape); }

bool tensor_bytes(DataType type, std::span<const std::uint64_t> shape, std::uint64_t& bytes) {
  bytes = size_of(type);
  for (const std::uint64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return false;
  }
  return true;
}

const TensorView& TensorFile::tensor(std::string_view name) const {
  if (const TensorView* found = find(name); found != nullptr) return *found;
  throw ModelError(fmt::format("{}: the tensor \"{}\" is missing", path().string(), name));
}

}  // namespace flame::io
