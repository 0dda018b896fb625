#pragma once

#include <signal.h>

namespace flame {

/// Holds back the signals that come from outside (SIGINT, timers, profilers) from the calling thread while it lives;
/// they are delivered when it ends, or to another thread. Signals that an instruction raises itself (SIGSEGV, SIGBUS,
/// SIGFPE, SIGILL, SIGTRAP, SIGABRT) still arrive. Costs two system calls, a third of a microsecond.
class BlockedSignals {
 public:
  BlockedSignals();
  ~BlockedSignals();
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace flame
