#include "flame/base/interrupt.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "flame/base/error.h"

namespace flame {
namespace {

class InterruptTest : public ::testing::Test {
 protected:
  void TearDown() override { clear_interrupt(); }
};

TEST_F(InterruptTest, ARequestIsSeenUntilItIsCleared) {
  EXPECT_FALSE(interrupted());
  EXPECT_NO_THROW(throw_if_interrupted());
  request_interrupt();
  EXPECT_TRUE(interrupted());
  EXPECT_THROW(throw_if_interrupted(), Interrupted);
  clear_interrupt();
  EXPECT_FALSE(interrupted());
}

/// Runs `body` in a child process and returns its wait status.
template <typename Body>
int in_child(Body&& body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(99);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

TEST_F(InterruptTest, TheFirstSignalOnlySetsTheFlag) {
  for (const int signal_number : {SIGINT, SIGTERM}) {
    const int status = in_child([&] {
      install_interrupt_handlers();
      raise(signal_number);
      _exit(interrupted() ? 0 : 1);
    });
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
  }
}

TEST_F(InterruptTest, TheSecondSignalEndsTheProcess) {
  const int status = in_child([] {
    install_interrupt_handlers();
    raise(SIGINT);
    raise(SIGINT);
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGINT);
}

TEST_F(InterruptTest, ExitsAsShellsExpect) {
  EXPECT_EQ(Interrupted("interrupted").exit_code(), 130);
  for (const int signal_number : {SIGINT, SIGTERM}) {
    const int status = in_child([&] {
      install_interrupt_handlers();
      raise(signal_number);
      _exit(Interrupted("interrupted").exit_code());
    });
    EXPECT_EQ(WEXITSTATUS(status), 128 + signal_number);
  }
}

}  // namespace
}  // namespace flame
