#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "flame/io/file.h"

namespace flame::io {

/// When FailingFileSystem lets its operations fail. Nothing set: never.
struct FailurePlan {
  /// Every operation on files is counted from 0; this one, and every later one when `persistent`, fails with EIO. Not
  /// counted are remove(), exists(), is_directory() and is_regular(): tests want to see the cleaning up after a failure.
  std::optional<std::uint64_t> fail_operation = {};
  bool persistent = false;
  /// Appends fail with ENOSPC once this many bytes have been written in all; what still fits is written first, as by a
  /// real disk. Removing files gives no room back.
  std::optional<std::uint64_t> room_bytes = {};
  /// Files appear to end after this many bytes for reads and maps, although size() tells the true length: what a file
  /// looks like that was cut while it was open.
  std::optional<std::uint64_t> readable_bytes = {};
};

/// Another file system with failures injected.
class FailingFileSystem : public FileSystem {
 public:
  /// `base` must outlive this object and all files opened through it.
  explicit FailingFileSystem(FileSystem& base, const FailurePlan& plan = {});

  /// Takes a new plan and counts from 0 again.
  void set_plan(const FailurePlan& plan);
  /// Operations so far: what a test walks `fail_operation` over to break every step of some work in turn.
  [[nodiscard]] std::uint64_t operations() const { return operations_.load(); }

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
  class Reader;
  class Writer;

  /// Counts one operation; throws when the plan says so.
  void step(const std::filesystem::path& path, const char* what);

  FileSystem& base_;
  FailurePlan plan_;
  std::atomic<std::uint64_t> operations_ = 0;
  std::atomic<std::uint64_t> written_ = 0;
};

}  // namespace flame::io
