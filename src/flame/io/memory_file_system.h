#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "flame/io/file.h"

namespace flame::io {

/// Files that live in this object only: for tests, and for parsing bytes that never were a file. Paths are compared
/// after lexically_normal(). A file that is open or mapped keeps the bytes it had.
class MemoryFileSystem : public FileSystem {
 public:
  MemoryFileSystem();

  /// A file with that content, its directories included.
  void put(const std::filesystem::path& path, std::string_view content);
  void put(const std::filesystem::path& path, std::span<const std::byte> content);

  [[nodiscard]] std::unique_ptr<ReadableFile> open(const std::filesystem::path& path) override;
  [[nodiscard]] std::unique_ptr<WritableFile> create(const std::filesystem::path& path) override;
  [[nodiscard]] std::unique_ptr<WritableFile> open_to_append(const std::filesystem::path& path,
                                                             std::uint64_t keep) override;
  [[nodiscard]] MemoryMap map(const std::filesystem::path& path) override;
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override;
  [[nodiscard]] bool exchange(const std::filesystem::path& a, const std::filesystem::path& b) override;
  void remove(const std::filesystem::path& path) override;
  void create_directories(const std::filesystem::path& path) override;
  void sync(const std::filesystem::path& path) override;
  [[nodiscard]] bool exists(const std::filesystem::path& path) override;
  [[nodiscard]] bool is_directory(const std::filesystem::path& path) override;
  [[nodiscard]] bool is_regular(const std::filesystem::path& path) override;
  [[nodiscard]] std::vector<std::string> list(const std::filesystem::path& directory) override;

 private:
  using Content = std::shared_ptr<std::vector<std::byte>>;
  class Reader;
  class Writer;

  /// Caller holds mutex_.
  [[nodiscard]] Content content_of(const std::filesystem::path& path, const char* what) const;
  void require_parent(const std::filesystem::path& path, const char* what) const;
  void move_entries(const std::filesystem::path& from, const std::filesystem::path& to);

  mutable std::mutex mutex_;
  std::map<std::filesystem::path, Content> files_;
  std::set<std::filesystem::path> directories_;
};

}  // namespace flame::io
