#include "flame/console.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>

#include "flame/base/error.h"
#include "flame/base/progress.h"

namespace flame::cli {
namespace {

bool quiet_mode = false;

}  // namespace

void set_quiet(bool quiet) {
  quiet_mode = quiet;
  Progress::set_quiet(quiet);
}

void complain(std::string_view message) {
  const std::string line = fmt::format("flame: {}\n", message);
  std::fwrite(line.data(), 1, line.size(), stderr);  // where it fails there is nobody left to tell
}

void warn(std::string_view message) {
  if (!quiet_mode) complain(fmt::format("warning: {}", message));
}

void tell(std::string_view message) {
  const std::string line = fmt::format("{}\n", message);
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void note(std::string_view message) {
  if (!quiet_mode) tell(message);
}

void show_status(std::string_view text) {
  if (quiet_mode || isatty(STDERR_FILENO) != 1) return;
  const std::string line = fmt::format("\r{}\033[K", text);
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw FileError("standard output", "cannot write", errno);
  }
}

bool input_is_terminal() { return isatty(STDIN_FILENO) == 1; }

}  // namespace flame::cli
