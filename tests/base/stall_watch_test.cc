#include "flame/base/stall_watch.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <future>

namespace flame {
namespace {

TEST(StallWatchTest, TellsOfWorkThatStandsStill) {
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  // Only the watch lets the read return.
  StallWatch watch(0.05, [&] { EXPECT_EQ(::write(pipe[1], "x", 1), 1); });
  char byte = 0;
  watch.begin();
  EXPECT_EQ(::read(pipe[0], &byte, 1), 1);
  watch.end();
  EXPECT_EQ(byte, 'x');
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST(StallWatchTest, LeavesAloneWhoComputesOrHasNothingToDo) {
  bool told = false;
  {
    StallWatch watch(0.05, [&] { told = true; });
    const std::clock_t begin = std::clock();  // processor time
    watch.begin();
    while (std::clock() - begin < CLOCKS_PER_SEC / 4) {
    }
    watch.end();
    // Idle for as long as another watch needs to tell of work that stands still.
    std::promise<void> told_of_other;
    StallWatch other(0.2, [&] { told_of_other.set_value(); });
    other.begin();
    told_of_other.get_future().wait();
  }
  EXPECT_FALSE(told);
}

}  // namespace
}  // namespace flame
