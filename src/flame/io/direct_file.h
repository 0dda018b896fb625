#pragma once

#include <filesystem>

namespace flame::io {

/// A file descriptor open for reading, past the page cache where the file system allows it. Closed when it goes.
class DirectFile {
 public:
  /// Throws FileError.
  DirectFile(const std::filesystem::path& path, bool direct);
  ~DirectFile();
  DirectFile(DirectFile&& other) noexcept;
  DirectFile& operator=(DirectFile&&) = delete;

  [[nodiscard]] int descriptor() const { return descriptor_; }
  /// O_DIRECT is in force (tmpfs and some network file systems refuse it).
  [[nodiscard]] bool direct() const { return direct_; }

 private:
  int descriptor_ = -1;
  bool direct_ = false;
};

}  // namespace flame::io
