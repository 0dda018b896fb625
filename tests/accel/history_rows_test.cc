#include "flame/accel/history_rows.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>

#include "flame/base/error.h"

namespace flame::accel {
namespace {

RC_GTEST_PROP(HistoryRows, EveryRowGoesOnFromItsParentsHistory, ()) {
  constexpr std::size_t kHistories = 9;
  HistoryRows rows(kHistories);
  std::size_t count = *rc::gen::inRange<std::size_t>(1, kHistories + 1);
  rows.begin(count);
  std::vector<std::string> histories(kHistories);  // the kernel's
  std::vector<std::string> expected(count);        // [rows]
  for (int step = 0; step < 12; ++step) {
    for (std::size_t row = 0; row < count; ++row) {
      const char decision = *rc::gen::inRange('a', 'z');
      expected[row] += decision;
      histories[rows.history_of(row)] += decision;
    }
    const auto next = *rc::gen::inRange<std::size_t>(1, kHistories + 1);
    const auto parents = *rc::gen::container<std::vector<std::uint32_t>>(
        next, rc::gen::inRange<std::uint32_t>(0, static_cast<std::uint32_t>(count)));
    for (const HistoryRows::Copy& copy : rows.reorder(parents)) histories[copy.to] = histories[copy.from];
    std::vector<std::string> followed;
    for (const std::uint32_t parent : parents) followed.push_back(expected[parent]);
    expected = followed;
    count = next;
    for (std::size_t row = 0; row < count; ++row) RC_ASSERT(histories[rows.history_of(row)] == expected[row]);
  }
}

TEST(HistoryRows, APermutationOfAllRowsCopiesNothing) {
  HistoryRows rows(64);
  rows.begin(64);
  std::vector<std::uint32_t> parents(64);
  for (std::uint32_t row = 0; row < 64; ++row) parents[row] = 63 - row;
  EXPECT_TRUE(rows.reorder(parents).empty());
  EXPECT_EQ(rows.history_of(0), 63U);
}

TEST(HistoryRows, MoreRowsThanHistoriesAreRefused) {
  HistoryRows rows(4);
  EXPECT_THROW(rows.begin(5), UsageError);
  rows.begin(1);
  EXPECT_THROW((void)rows.reorder(std::vector<std::uint32_t>(5, 0)), UsageError);
}

}  // namespace
}  // namespace flame::accel
