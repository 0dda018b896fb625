#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "flame/base/data_type.h"
#include "flame/base/matrix_view.h"
#include "flame/io/tensor_file.h"

namespace flame::sparsity {

/// A two-dimensional weight tensor's shape and type, checked for pruning.
struct StoredShape {
  DataType type = DataType::kF32;
  std::size_t rows = 0;     ///< outputs
  std::size_t columns = 0;  ///< inputs
};

/// Throws ModelError naming the tensor when it is not a matrix of kF32, kBF16 or kF16, or has no elements.
[[nodiscard]] StoredShape stored_shape(std::string_view name, const io::TensorView& tensor);

/// Rounds to the stored type, to nearest; a value that came from widen() comes back bit for bit.
void narrow(std::span<const float> values, DataType type, std::span<std::byte> output);

/// The largest magnitude that narrow() does not round to infinity.
[[nodiscard]] float largest_storable(DataType type);

/// The whole tensor as floats, exactly.
[[nodiscard]] Matrix<float> widen(const StoredShape& shape, std::span<const std::byte> elements);

}  // namespace flame::sparsity
