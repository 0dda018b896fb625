#include "flame/model/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <vector>

namespace flame::model {
namespace {

constexpr std::size_t kLayers = 2;
constexpr std::size_t kWidth = 3;

/// Writes one position that can be told apart from all others.
void add_position(KeyValueCache& cache, std::size_t row, float value) {
  cache.extend(row, 1);
  for (std::size_t layer = 0; layer < kLayers; ++layer) {
    std::ranges::fill(cache.new_keys(row, layer, 1).row(0), value + 0.25F * static_cast<float>(layer));
    std::ranges::fill(cache.new_values(row, layer, 1).row(0), -value - 0.25F * static_cast<float>(layer));
  }
  cache.advance(row, 1);
}

std::vector<float> history(const KeyValueCache& cache, std::size_t row) {
  std::vector<float> values;
  for (std::size_t layer = 0; layer < kLayers; ++layer) {
    const kernels::KeyValueView keys = cache.keys(row, layer, 0);
    const kernels::KeyValueView held = cache.values(row, layer, 0);
    for (std::size_t i = 0; i < keys.length; ++i) {
      const float key = reinterpret_cast<const float*>(keys.data)[i * keys.stride + kWidth - 1];
      const float value = reinterpret_cast<const float*>(held.data)[i * held.stride];
      RC_ASSERT(key == -value);
      if (layer == 0) values.push_back(key);
    }
  }
  return values;
}

RC_GTEST_PROP(KeyValueCacheTest, RowsCarryTheirHistoryThroughAnyReordering, ()) {
  KeyValueCache cache(kLayers, kWidth);
  std::vector<std::vector<float>> wanted(*rc::gen::inRange<std::size_t>(1, 4));
  cache.start(wanted.size(), *rc::gen::inRange<std::size_t>(0, 3));
  float next = 1.0F;
  const auto steps = *rc::gen::inRange(1, 12);
  for (int step = 0; step < steps; ++step) {
    for (std::size_t row = 0; row < wanted.size(); ++row) {
      add_position(cache, row, next);
      wanted[row].push_back(next);
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

TEST(KeyValueCacheTest, ARowWithOneChildIsNotCopied) {
  KeyValueCache cache(kLayers, kWidth);
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
  KeyValueCache cache(kLayers, kWidth);
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
