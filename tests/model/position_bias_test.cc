#include "flame/model/position_bias.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/io/file.h"
#include "support/test_data.h"

namespace flame::model {
namespace {

TEST(PositionBiasTest, BucketsAreTransformers) {
  const auto path = test::data_path("model/buckets.json");
  const Json cases = parse_json(io::read_file(path), path);
  ASSERT_GE(cases.size(), 16U);
  for (const Json& entry : cases) {
    const PositionBuckets buckets{.bidirectional = entry["bidirectional"].get<bool>(),
                                  .count = entry["buckets"].get<std::uint32_t>(),
                                  .max_distance = entry["max_distance"].get<std::uint32_t>()};
    auto distance = entry["first"].get<std::int64_t>();
    for (const Json& run : entry["runs"]) {
      for (int i = 0; i < run[1].get<int>(); ++i, ++distance) {
        ASSERT_EQ(position_bucket(distance, buckets), run[0].get<std::int64_t>())
            << "distance " << distance << " of " << buckets.count << " buckets to " << buckets.max_distance
            << (buckets.bidirectional ? ", both ways" : "");
      }
    }
  }
}

TEST(PositionBiasTest, SequencesWhoseDistancesHaveNoBucketAreRefused) {
  const Matrix<float> table(32, 2);
  PositionBias bias(table, {.bidirectional = false, .count = 32, .max_distance = 9});
  std::size_t longest = 1;
  while (position_bucket(-static_cast<std::int64_t>(longest), {false, 32, 9}) >= 0) ++longest;
  EXPECT_NO_THROW(bias.reserve(longest));
  EXPECT_THROW(bias.reserve(longest + 1), ModelError);
  EXPECT_NO_THROW(bias.reserve(longest));
}

TEST(PositionBiasTest, AViewHoldsTheBiasOfEveryQueryAndKey) {
  constexpr std::size_t kHeads = 3;
  Matrix<float> table(8, kHeads);
  for (std::size_t i = 0; i < 8 * kHeads; ++i) table.data()[i] = static_cast<float>(i);
  for (const bool bidirectional : {true, false}) {
    const PositionBuckets buckets{bidirectional, 8, 20};
    PositionBias bias(table, buckets);
    for (const std::size_t length : {1U, 5U, 6U, 40U}) {
      bias.reserve(length);
      for (std::size_t first = 0; first < length; ++first) {
        const kernels::AttentionBias view = bias.view(first);
        for (std::size_t query = first; query < length; ++query) {
          for (std::size_t key = 0; key < length; ++key) {
            const auto distance = static_cast<std::int64_t>(key) - static_cast<std::int64_t>(query);
            for (std::size_t head = 0; head < kHeads; ++head) {
              const float found = view.data[static_cast<std::ptrdiff_t>(head) * view.head_stride +
                                            static_cast<std::ptrdiff_t>(query - first) * view.query_stride +
                                            static_cast<std::ptrdiff_t>(key)];
              ASSERT_EQ(found, table.row(static_cast<std::size_t>(position_bucket(distance, buckets)))[head]);
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace flame::model
