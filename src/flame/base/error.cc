#include "flame/base/error.h"

#include <fmt/format.h>

#include <system_error>

#include "flame/base/interrupt.h"

namespace flame {
namespace {

std::string describe(const std::filesystem::path& path, const std::string& what, int error_number) {
  if (error_number == 0) return fmt::format("{}: {}", path.string(), what);
  return fmt::format("{}: {}: {}", path.string(), what, std::generic_category().message(error_number));
}

}  // namespace

FileError::FileError(const std::filesystem::path& path, const std::string& what, int error_number)
    : Error(describe(path, what, error_number)), path_(path), error_number_(error_number) {}

FormatError::FormatError(const std::filesystem::path& path, const std::string& what)
    : Error(describe(path, what, 0)), path_(path) {}

int Interrupted::exit_code() const { return 128 + interrupt_signal(); }

}  // namespace flame
