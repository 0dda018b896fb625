#include "flame/sparsity/stored_matrix.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

namespace flame::sparsity {
namespace {

TEST(StoredMatrix, TheLargestStorableWeightIsTheLastThatStaysFinite) {
  for (const DataType type : {DataType::kF16, DataType::kBF16, DataType::kF32}) {
    const float largest = largest_storable(type);
    const std::array<float, 2> values = {largest, -std::nextafter(largest, std::numeric_limits<float>::infinity())};
    std::array<std::byte, 8> bytes = {};
    const auto stored = std::span(bytes).first(2 * size_of(type));
    narrow(values, type, stored);
    const Matrix<float> read = widen({type, 1, 2}, stored);
    EXPECT_TRUE(std::isfinite(read.row(0)[0])) << name_of(type);
    EXPECT_TRUE(std::isinf(read.row(0)[1])) << name_of(type);
  }
}

}  // namespace
}  // namespace flame::sparsity
