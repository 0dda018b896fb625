#include "flame/sparsity/stored_matrix.h"

#include <fmt/format.h>

#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "flame/base/error.h"
#include "flame/base/thread_pool.h"
#include "flame/kernels/weight_matrix.h"

namespace flame::sparsity {
namespace {

constexpr std::size_t kGrain = std::size_t{1} << 15;  // elements that one thread converts at a time

template <typename Half>
void narrow_to_halves(std::span<const float> values, std::span<std::byte> output) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Half half = Half::from_float(values[i]);
    std::memcpy(output.data() + i * sizeof(half.bits), &half.bits, sizeof(half.bits));
  }
}

}  // namespace

StoredShape stored_shape(std::string_view name, const io::TensorView& tensor) {
  if (tensor.shape.size() != 2 || tensor.elements() == 0) {
    throw ModelError(fmt::format("tensor {}: only matrices can be pruned, found {}", name, io::describe(tensor)));
  }
  if (tensor.type != DataType::kF32 && tensor.type != DataType::kBF16 && tensor.type != DataType::kF16) {
    throw ModelError(fmt::format("tensor {}: expected F32, BF16 or F16 weights, found {}", name, io::describe(tensor)));
  }
  return {tensor.type, static_cast<std::size_t>(tensor.shape[0]), static_cast<std::size_t>(tensor.shape[1])};
}

void narrow(std::span<const float> values, DataType type, std::span<std::byte> output) {
  assert(output.size() == values.size() * size_of(type));
  ThreadPool::parallel_for(values.size(), kGrain, [&](std::size_t begin, std::size_t end) {
    const auto from = values.subspan(begin, end - begin);
    const auto to = output.subspan(begin * size_of(type), (end - begin) * size_of(type));
    if (type == DataType::kF32) {
      std::memcpy(to.data(), from.data(), to.size());
    } else if (type == DataType::kBF16) {
      narrow_to_halves<BFloat16>(from, to);
    } else {
      narrow_to_halves<Float16>(from, to);
    }
  });
}

float largest_storable(DataType type) {
  // Half a unit in the last place above the largest number, from where on rounding to nearest even gives infinity.
  constexpr float kF16End = 65520.0F;
  constexpr float kBF16End = 0x1.FFp127F;
  switch (type) {
    case DataType::kF16:
      return std::nextafter(kF16End, 0.0F);
    case DataType::kBF16:
      return std::nextafter(kBF16End, 0.0F);
    default:
      return std::numeric_limits<float>::max();
  }
}

Matrix<float> widen(const StoredShape& shape, std::span<const std::byte> elements) {
  Matrix<float> matrix(shape.rows, shape.columns);
  kernels::widen({shape.type, elements.data(), shape.rows, shape.columns},
                 std::span(matrix.data(), shape.rows * shape.columns));
  return matrix;
}

}  // namespace flame::sparsity
