#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace flame::test {

/// Path of a committed fixture, for example data_path("io/two_tensors.safetensors") for tests/data/io/….
[[nodiscard]] std::filesystem::path data_path(std::string_view relative);

/// Path below the repository's root, for example source_path("models/switch-dialogsum-8").
[[nodiscard]] std::filesystem::path source_path(std::string_view relative);

/// A directory of its own that is removed with all it holds when the object goes.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// While it lives, temporary directories are made in this one: those of processes that a death test starts, which get
/// no chance to remove them, go with it.
class TemporariesIn {
 public:
  explicit TemporariesIn(const std::filesystem::path& directory);
  ~TemporariesIn();
  TemporariesIn(const TemporariesIn&) = delete;
  TemporariesIn& operator=(const TemporariesIn&) = delete;

 private:
  std::optional<std::string> before_;
};

}  // namespace flame::test
