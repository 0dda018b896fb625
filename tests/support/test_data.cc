#include "support/test_data.h"

#include <stdlib.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace flame::test {

std::filesystem::path data_path(std::string_view relative) { return std::filesystem::path(FLAME_TEST_DATA) / relative; }

std::filesystem::path source_path(std::string_view relative) {
  return std::filesystem::path(FLAME_SOURCE_DIRECTORY) / relative;
}

TemporaryDirectory::TemporaryDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "flame-test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    throw std::system_error(errno, std::generic_category(), "mkdtemp " + name);
  }
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;  // a left-over directory below /tmp fails no test
  std::filesystem::remove_all(path_, ignored);
}

TemporariesIn::TemporariesIn(const std::filesystem::path& directory) {
  if (const char* before = std::getenv("TMPDIR")) before_ = before;
  std::filesystem::create_directories(directory);
  ::setenv("TMPDIR", directory.c_str(), 1);
}

TemporariesIn::~TemporariesIn() {
  if (before_) {
    ::setenv("TMPDIR", before_->c_str(), 1);
  } else {
    ::unsetenv("TMPDIR");
  }
}

}  // namespace flame::test
