#include "flame/model/sequences.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace flame::model {
namespace {

using Groups = std::vector<std::pair<std::size_t, std::size_t>>;

Groups groups_of(const std::vector<std::size_t>& lengths) {
  Sequences sequences;
  for (const std::size_t length : lengths) sequences.append(length);
  Groups groups;
  for_each_group(sequences, [&](std::size_t first, std::size_t count) { groups.emplace_back(first, count); });
  return groups;
}

TEST(SequencesTest, KnowsWhereEachLies) {
  Sequences sequences;
  for (const std::size_t length : {3U, 1U, 2U}) sequences.append(length);
  EXPECT_EQ(sequences.count(), 3U);
  EXPECT_EQ(sequences.tokens(), 6U);
  EXPECT_EQ(sequences.longest(), 3U);
  EXPECT_EQ(sequences.begin(2), 4U);
  EXPECT_EQ(sequences.length(2), 2U);
  EXPECT_THAT(sequences.sequence_of_token(), testing::ElementsAre(0, 0, 0, 1, 2, 2));
  sequences.clear();
  EXPECT_EQ(sequences.tokens(), 0U);
}

TEST(SequencesTest, LongerSequencesAreMultipliedAlone) {
  EXPECT_EQ(groups_of({3, 2, 5}), (Groups{{0, 3}, {3, 2}, {5, 5}}));
}

TEST(SequencesTest, SingleTokensAreMultipliedTogether) {
  EXPECT_EQ(groups_of({1, 1, 1}), (Groups{{0, 3}}));
  EXPECT_EQ(groups_of({1, 1, 4, 1}), (Groups{{0, 2}, {2, 4}, {6, 1}}));
  EXPECT_EQ(groups_of(std::vector<std::size_t>(20, 1)), (Groups{{0, 16}, {16, 4}}));
}

TEST(SequencesTest, AVeryLongSequenceIsCutAtFixedPlaces) {
  EXPECT_EQ(groups_of({1100}), (Groups{{0, 512}, {512, 512}, {1024, 76}}));
}

}  // namespace
}  // namespace flame::model
