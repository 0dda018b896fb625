#include "flame/experts/use_log.h"

#include <gtest/gtest.h>

namespace flame::experts {
namespace {

TEST(UseLog, GrowsNoMoreOnceItIsFull) {
  const std::vector<ExpertIndex> four{0, 1, 2, 3};
  UseLog uses;
  uses.begin({});
  for (std::size_t pass = 0; pass < UseLog::kMostUses / 4; ++pass) {
    if (pass % 100 == 0) uses.begin_example();
    uses.add(0, four);
  }
  const std::size_t examples = uses.examples().size();
  const std::size_t passes = uses.passes();
  for (int more = 0; more < 1000; ++more) {
    uses.begin_example();
    uses.add(0, four);
  }
  EXPECT_EQ(uses.all().size(), UseLog::kMostUses);
  EXPECT_EQ(uses.passes(), passes);
  EXPECT_EQ(uses.examples().size(), examples);
}

}  // namespace
}  // namespace flame::experts
