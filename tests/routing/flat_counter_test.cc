#include "flame/routing/flat_counter.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>

namespace flame::routing {
namespace {

TEST(FlatCounter, HasNothingAtFirst) {
  const FlatCounter counter;
  EXPECT_EQ(counter.size(), 0U);
  EXPECT_EQ(counter.count(7), 0U);
  EXPECT_TRUE(counter.sorted().empty());
}

TEST(FlatCounter, CountsTheLargestKeyToo) {
  FlatCounter counter;
  counter.add(~std::uint64_t{0}, 3);
  counter.add(0, 2);
  EXPECT_EQ(counter.count(~std::uint64_t{0}), 3U);
  EXPECT_EQ(counter.count(0), 2U);
}

RC_GTEST_PROP(FlatCounter, CountsAsAnOrderedMapDoes,
              (const std::vector<std::pair<std::uint64_t, std::uint8_t>>& adds)) {
  FlatCounter counter;
  std::map<std::uint64_t, std::uint64_t> plain;
  for (const auto& [key, count] : adds) {
    counter.add(key % 97, count);
    if (count > 0) plain[key % 97] += count;
  }
  const std::vector<std::pair<std::uint64_t, std::uint64_t>> expected(plain.begin(), plain.end());
  RC_ASSERT(counter.sorted() == expected);
  RC_ASSERT(counter.size() == plain.size());
}

}  // namespace
}  // namespace flame::routing
