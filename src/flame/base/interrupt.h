#pragma once

namespace flame {

/// From now on the first SIGINT or SIGTERM only sets a flag; the second ends the process at once, as if unhandled.
/// Called by the command line only: a library must not take its host's signals.
void install_interrupt_handlers();

/// True after a first signal. Cheap enough for inner loops over tokens, tensors and lines.
[[nodiscard]] bool interrupted();

/// The signal that came: SIGINT or SIGTERM; SIGINT also without one.
[[nodiscard]] int interrupt_signal();

/// Throws Interrupted when interrupted(). Long work calls it where stopping loses nothing that was finished.
void throw_if_interrupted();

/// What a signal handler does; also lets a host program (or a test) stop FLAME's work from another thread.
void request_interrupt();

/// Forgets a request.
void clear_interrupt();

}  // namespace flame
