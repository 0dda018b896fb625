#include "flame/sparsity/index_storage.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <vector>

namespace flame::sparsity {
namespace {

TEST(IndexStorage, PatternsOfASwitchBaseExpert) {
  // 2 * 768 * 3072 weights at 2:4: 0.59 MB of positions; a code of 3 bits for every four weights is smaller.
  const IndexStorage wi = pattern_index_storage(Pattern{2, 4}, 3072, 768);
  EXPECT_EQ(2 * wi.at("position"), 589824U);
  EXPECT_EQ(wi.at("bitmap"), wi.at("position"));
  EXPECT_EQ(smallest(wi), (std::pair<std::string, std::uint64_t>("code", 3072 * 768 / 4 * 3 / 8)));
}

TEST(IndexStorage, DensePatternsNeedNone) {
  for (const auto& [encoding, bytes] : pattern_index_storage(Pattern{4, 4}, 8, 8)) EXPECT_EQ(bytes, 0U) << encoding;
}

/// Relative indices written down one by one: how a decoder would find its way.
std::uint64_t encode_relative(const std::vector<std::uint8_t>& kept, std::uint64_t bits, std::uint64_t value_bits) {
  std::vector<std::uint64_t> distances;
  std::vector<bool> real;
  std::uint64_t zeros = 0;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (kept[i] != 0) {
      distances.push_back(zeros);
      real.push_back(true);
      zeros = 0;
    } else if (zeros == (std::uint64_t{1} << bits) - 1) {
      distances.push_back(zeros);
      real.push_back(false);
      zeros = 0;
    } else {
      ++zeros;
    }
  }
  while (!real.empty() && !real.back()) {  // nothing needs padding after the last kept weight
    real.pop_back();
    distances.pop_back();
  }
  std::vector<std::uint8_t> decoded(kept.size(), 0);
  std::size_t place = 0;
  std::uint64_t padding = 0;
  for (std::size_t i = 0; i < distances.size(); ++i) {
    place += distances[i];
    if (real[i]) decoded[place] = 1;
    padding += real[i] ? 0 : 1;
    ++place;
  }
  RC_ASSERT(decoded == kept);
  return (distances.size() * bits + padding * value_bits + 7) / 8;
}

RC_GTEST_PROP(IndexStorage, UnstructuredSizesAreThoseOfWrittenEncodings, ()) {
  const auto rows = static_cast<std::size_t>(*rc::gen::inRange(1, 30));
  const auto columns = static_cast<std::size_t>(*rc::gen::inRange(1, 60));
  const int share = *rc::gen::inRange(1, 40);
  const auto kept = *rc::gen::container<std::vector<std::uint8_t>>(
      rows * columns, rc::gen::map(rc::gen::inRange(0, share), [](int draw) { return std::uint8_t{draw == 0}; }));
  const IndexStorage storage =
      unstructured_index_storage(MatrixView<const std::uint8_t>(kept.data(), rows, columns), 8);
  for (std::uint64_t bits = 2; bits <= 8; ++bits) {
    RC_ASSERT(storage.at("relative-" + std::to_string(bits)) == encode_relative(kept, bits, 8));
  }
  RC_ASSERT(storage.at("bitmap") == (rows * columns + 7) / 8);
  std::uint64_t column_bits = 0;
  while ((std::size_t{1} << column_bits) < columns) ++column_bits;
  const auto count = static_cast<std::uint64_t>(std::count(kept.begin(), kept.end(), std::uint8_t{1}));
  RC_ASSERT(storage.at("csr") == rows * 4 + (count * column_bits + 7) / 8);
}

TEST(IndexStorage, ColumnBlocksNameColumnsNotWeights) {
  const IndexStorage storage = column_block_index_storage(0.75, BlockShape{32, 32}, 64, 96);
  EXPECT_EQ(storage.at("bitmap"), 2U * 96U / 8U);
  EXPECT_EQ(storage.at("column"), 2U * 3U * 8U * 5U / 8U);
}

TEST(IndexStorage, SizesAdd) {
  IndexStorage sum = {{"bitmap", 3}};
  add({{"bitmap", 4}, {"csr", 1}}, sum);
  EXPECT_EQ(sum, (IndexStorage{{"bitmap", 7}, {"csr", 1}}));
}

}  // namespace
}  // namespace flame::sparsity
