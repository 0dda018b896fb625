#include "flame/model/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <vector>

#include "flame/base/data_type.h"
#include "flame/kernels/weight_matrix.h"

namespace flame::model {
namespace {

constexpr std::size_t kLayers = 2;
constexpr std::size_t kWidth = 3;

/// Writes one position that can be told apart from all others.
void add_position(KeyValueCache& cache, std::size_t row, float value) {
  cache.extend(row, 1);
  for (std::size_t layer = 0; layer < kLayers; ++layer) {
    const Matrix<float> keys(1, kWidth, value + 0.25F * static_cast<float>(layer));
    const Matrix<float> values(1, kWidth, -value - 0.25F * static_cast<float>(layer));
    cache.write(row, layer, keys, values);
  }
  cache.advance(row, 1);
}

float element(const kernels::KeyValueView& view, std::size_t index) {
  return kernels::weight_at({view.type, view.data, 1, view.length * view.stride}, 0, index);
}

std::vector<float> history(const KeyValueCache& cache, std::size_t row) {
  std::vector<float> values;
  for (std::size_t layer = 0; layer < kLayers; ++layer) {
    const kernels::KeyValueView keys = cache.keys(row, layer, 0);
    const kernels::KeyValueView held = cache.values(row, layer, 0);
    for (std::size_t i = 0; i < keys.length; ++i) {
      const float key = element(keys, i * keys.stride + kWidth - 1);
      const float value = element(held, i * held.stride);
      RC_ASSERT(key == -value);
      if (layer == 0) values.push_back(key);
    }
  }
  return values;
}

RC_GTEST_PROP(KeyValueCacheTest, RowsCarryTheirHistoryThroughAnyReordering, ()) {
  const DataType type = *rc::gen::element(DataType::kF32, DataType::kBF16);
  KeyValueCache cache(kLayers, kWidth, type);
  std::vector<std::vector<float>> wanted(*rc::gen::inRange<std::size_t>(1, 4));
  cache.start(wanted.size(), *rc::gen::inRange<std::size_t>(0, 3));
  float next = 1.0F;
  const auto steps = *rc::gen::inRange(1, 12);
  for (int step = 0; step < steps; ++step) {
    for (std::size_t row = 0; row < wanted.size(); ++row) {
      add_position(cache, row, next);
      wanted[row].push_back(type == DataType::kBF16 ? BFloat16::from_float(next).to_float() : next);
      next += 1.0F;
    }
    const auto parents = *rc::gen::nonEmpty(rc::gen::container<std::vector<std::uint32_t>>(
        rc::gen::inRange<std::uint32_t>(0, static_cast<std::uint32_t>(wanted.size()))));
    cache.reorder(parents);
    std::vector<std::vector<float>> reordered;
    for (const std::uint32_t parent : parents) reordered.push_back(wanted[parent]);
    wanted = reordered;
    RC_ASSERT(cache.rows() == wanted.size());
    for (std::size_t row = 0; row < wanted.size(); ++row) RC_ASSERT(history(cache, row) == wanted[row]);
  }
}

TEST(KeyValueCacheTest, Bf16RoundsAndTakesHalfTheMemory) {
  KeyValueCache cache(1, 1, DataType::kBF16);
  cache.start(1, 1);
  EXPECT_EQ(cache.bytes(), 2 * 2U);
  cache.write(0, 0, Matrix<float>(1, 1, 1.0F + 0x1p-7F + 0x1p-9F), Matrix<float>(1, 1, -3.0F));
  cache.advance(0, 1);
  EXPECT_EQ(element(cache.keys(0, 0, 0), 0), 1.0F + 0x1p-7F);
  EXPECT_EQ(element(cache.values(0, 0, 0), 0), -3.0F);
}

TEST(KeyValueCacheTest, ARowWithOneChildIsNotCopied) {
  KeyValueCache cache(kLayers, kWidth, DataType::kF32);
  cache.start(2, 4);
  add_position(cache, 0, 1.0F);
  add_position(cache, 1, 2.0F);
  const std::byte* first = cache.keys(0, 0, 0).data;
  const std::byte* second = cache.keys(1, 0, 0).data;
  cache.reorder(std::vector<std::uint32_t>{1, 0});
  EXPECT_EQ(cache.keys(0, 0, 0).data, second);
  EXPECT_EQ(cache.keys(1, 0, 0).data, first);
}

TEST(KeyValueCacheTest, KeepsItsMemoryForTheNextBatch) {
  KeyValueCache cache(kLayers, kWidth, DataType::kF32);
  cache.start(3, 8);
  const std::size_t bytes = cache.bytes();
  EXPECT_EQ(bytes, 3 * 8 * kWidth * 2 * kLayers * sizeof(float));
  add_position(cache, 0, 1.0F);
  cache.start(3, 8);
  EXPECT_EQ(cache.bytes(), bytes);
  EXPECT_EQ(cache.length(0), 0U);
}

}  // namespace
}  // namespace flame::model
