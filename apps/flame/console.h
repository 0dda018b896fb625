#pragma once

#include <string_view>

namespace flame::cli {

// stdout carries results, stderr the talk. These write to stderr.

/// -q: warnings and notes are not written. Called once, before any command runs.
void set_quiet(bool quiet);

/// "flame: MESSAGE": why the program ends. Written even with -q.
void complain(std::string_view message);

/// "flame: warning: MESSAGE".
void warn(std::string_view message);

/// A line that an option such as --stats asks for. Written even with -q.
void tell(std::string_view message);

/// A line of information about the run.
void note(std::string_view message);

/// A line that the next one replaces, for work whose steps are of very different lengths; drawn only when stderr is a
/// terminal and without -q. An empty text wipes it.
void show_status(std::string_view text);

/// Writes to stdout and flushes, so that a reader sees it at once. Throws FileError when stdout is full or closed.
void print(std::string_view text);

/// True when stdin is a terminal: nothing has been piped in.
[[nodiscard]] bool input_is_terminal();

}  // namespace flame::cli
