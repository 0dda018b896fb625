#include "flame/base/stall_watch.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <future>

namespace flame {
namespace {

/// Waits as a page fault does, which no signal interrupts: until the child that vfork() made ends, for which a byte has
/// to come through the pipe.
void wait_for_byte(const std::array<int, 2>& pipe) {
  const pid_t child = ::vfork();
  if (child == 0) {
    char byte = 0;
    ::_exit(::read(pipe[0], &byte, 1) == 1 ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(StallWatchTest, TellsOfAWaitThatNothingInterrupts) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer makes a fork of vfork, and a parent that waits for a fork can be interrupted";
#endif
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  {
    StallWatch watch(0.05, [&] { EXPECT_EQ(::write(pipe[1], "x", 1), 1); });
    wait_for_byte(pipe);
  }
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST(StallWatchTest, LeavesAloneWhoComputesAndWhatCanBeInterrupted) {
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  bool told = false;
  {
    StallWatch watch(0.05, [&] { told = true; });
    auto reader = std::async(std::launch::async, [&] {
      char byte = 0;
      return ::read(pipe[0], &byte, 1);  // as a prompt is waited for
    });
    const std::clock_t begin = std::clock();  // processor time
    while (std::clock() - begin < CLOCKS_PER_SEC / 4) {
    }
    EXPECT_EQ(::write(pipe[1], "x", 1), 1);
    EXPECT_EQ(reader.get(), 1);
  }
  EXPECT_FALSE(told);
  for (const int end : pipe) ::close(end);
}

}  // namespace
}  // namespace flame
