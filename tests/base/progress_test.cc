#include "flame/base/progress.h"

#include <gtest/gtest.h>

#include "flame/base/utf8.h"

namespace flame {
namespace {

constexpr std::size_t kWide = 200;

TEST(ProgressLine, ShowsShareAmountRateAndTimeLeft) {
  EXPECT_EQ(progress_line("packing", ProgressUnit::kBytes, std::uint64_t{1} << 30, std::uint64_t{4} << 30, 8.0, kWide),
            "packing   25%  1.00 GiB of 4.00 GiB  128.0 MiB/s  24 s left");
  EXPECT_EQ(progress_line("summarising", ProgressUnit::kItems, 20, 500, 40.0, kWide),
            "summarising    4%  20 of 500  0.5/s  16 min 00 s left");
  EXPECT_EQ(progress_line("training", ProgressUnit::kItems, 1, 7201, 1.0, kWide),
            "training    0%  1 of 7201  1/s  2 h 00 min left");
}

TEST(ProgressLine, LeavesOutWhatIsNotKnown) {
  EXPECT_EQ(progress_line("reading", ProgressUnit::kItems, 0, 10, 0.0, kWide), "reading    0%  0 of 10");
  EXPECT_EQ(progress_line("reading", ProgressUnit::kItems, 300, 0, 3.0, kWide), "reading  300  100/s");
  EXPECT_EQ(progress_line("reading", ProgressUnit::kItems, 10, 10, 5.0, kWide), "reading  100%  10 of 10  2/s");
}

TEST(ProgressLine, IsCutToTheTerminalWithoutCuttingACharacter) {
  EXPECT_EQ(progress_line("packing", ProgressUnit::kItems, 1, 2, 1.0, 10), "packing   ");
  EXPECT_EQ(progress_line("überlang", ProgressUnit::kItems, 1, 2, 1.0, 1), "");
}

TEST(Progress, CountsWhetherOrNotItIsDrawn) {
  Progress progress("counting", 10);
  progress.advance();
  progress.advance(4);
  EXPECT_EQ(progress.done(), 5U);
  progress.set(9);
  EXPECT_EQ(progress.done(), 9U);
  progress.finish();
}

}  // namespace
}  // namespace flame
