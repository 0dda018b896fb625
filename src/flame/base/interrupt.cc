#include "flame/base/interrupt.h"

#include <signal.h>

#include <atomic>

#include "flame/base/error.h"

namespace flame {
namespace {

std::atomic<bool> requested = false;
std::atomic<int> signal_number = SIGINT;
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free,
              "a signal handler may only touch lock-free atomics");

// SA_RESETHAND has already restored the default action, so a second signal of the kind ends the process.
void handle_signal(int number) {
  signal_number.store(number, std::memory_order_relaxed);
  requested.store(true, std::memory_order_relaxed);
}

}  // namespace

void install_interrupt_handlers() {
  struct sigaction action {};
  action.sa_handler = handle_signal;
  // SA_RESTART: reads and writes in libraries are not to fail with EINTR; the flag is looked at between them.
  action.sa_flags = static_cast<int>(SA_RESETHAND | static_cast<unsigned>(SA_RESTART));
  sigemptyset(&action.sa_mask);
  for (const int number : {SIGINT, SIGTERM}) sigaction(number, &action, nullptr);
}

bool interrupted() { return requested.load(std::memory_order_relaxed); }

int interrupt_signal() { return signal_number.load(std::memory_order_relaxed); }

void throw_if_interrupted() {
  if (interrupted()) throw Interrupted("interrupted");
}

void request_interrupt() { requested.store(true, std::memory_order_relaxed); }

void clear_interrupt() { requested.store(false, std::memory_order_relaxed); }

}  // namespace flame
