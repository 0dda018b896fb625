#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flame/io/memory_map.h"

namespace flame::io {

/// A file open for reading at any position, from any number of threads at once.
class ReadableFile {
 public:
  virtual ~ReadableFile() = default;

  /// Fills all of `into` from the file's bytes at `offset`. Throws FileError for a system error, and when the file ends
  /// first ("short read: wanted 4096 bytes at 8192, the file ends after 100").
  virtual void read_at(std::uint64_t offset, std::span<std::byte> into) const = 0;
  /// Bytes in the file when it was opened.
  [[nodiscard]] virtual std::uint64_t size() const = 0;
  [[nodiscard]] virtual const std::filesystem::path& path() const = 0;
};

/// A file open for writing, by one thread: the only one that has it open so, wherever the file system has locks
/// (opening it a second time is a FileError). Every error, a full disk included, is a FileError thrown by the call that
/// met it. The destructor closes without a word: what matters is close()d.
class WritableFile {
 public:
  virtual ~WritableFile() = default;

  /// Behind everything appended so far.
  virtual void append(std::span<const std::byte> bytes) = 0;
  /// Over bytes that were appended before; never past the end.
  virtual void write_at(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  /// Bytes in the file.
  [[nodiscard]] virtual std::uint64_t size() const = 0;
  /// Returns when the bytes are on the medium (fdatasync).
  virtual void sync() = 0;
  /// No calls are allowed afterwards. Does not sync.
  virtual void close() = 0;
  [[nodiscard]] virtual const std::filesystem::path& path() const = 0;

  void append(std::string_view text) { append(std::as_bytes(std::span(text))); }
};

/// The operating system's files behind one narrow interface: the real ones here, in memory (memory_file_system.h) and
/// with injected failures (failing_file_system.h), so that the same code meets short reads, broken disks and full ones
/// in tests. Errors are FileError. Safe to use from several threads.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  /// The machine's own.
  static FileSystem& real();

  [[nodiscard]] virtual std::unique_ptr<ReadableFile> open(const std::filesystem::path& path) = 0;
  /// A new, empty file; one that is there loses its bytes.
  [[nodiscard]] virtual std::unique_ptr<WritableFile> create(const std::filesystem::path& path) = 0;
  /// An existing file, cut to its first `keep` bytes, to go on from there. `keep` must not be past its end.
  [[nodiscard]] virtual std::unique_ptr<WritableFile> open_to_append(const std::filesystem::path& path,
                                                                     std::uint64_t keep) = 0;
  /// The whole file, read-only.
  [[nodiscard]] virtual MemoryMap map(const std::filesystem::path& path) = 0;

  /// Atomic; replaces a file or an empty directory at `to`.
  virtual void rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  /// Swaps two existing entries in one step. Returns false, with nothing done, where the file system cannot.
  [[nodiscard]] virtual bool exchange(const std::filesystem::path& a, const std::filesystem::path& b) = 0;
  /// A file, or a directory with all that is in it. Nothing happens when there is none.
  virtual void remove(const std::filesystem::path& path) = 0;
  /// With all its parents; existing ones are fine.
  virtual void create_directories(const std::filesystem::path& path) = 0;
  /// Returns when a file's bytes, or a directory's entries (renames and new files), would survive a power cut.
  virtual void sync(const std::filesystem::path& path) = 0;

  [[nodiscard]] virtual bool exists(const std::filesystem::path& path) = 0;
  [[nodiscard]] virtual bool is_directory(const std::filesystem::path& path) = 0;
  /// Not a directory, device, pipe or socket; a link counts as what it leads to.
  [[nodiscard]] virtual bool is_regular(const std::filesystem::path& path) = 0;
  /// Names (not paths) of a directory's entries, sorted.
  [[nodiscard]] virtual std::vector<std::string> list(const std::filesystem::path& directory) = 0;
};

/// The whole content of a file or pipe. Throws FileError, also for more than `limit` bytes (a file's size is named).
[[nodiscard]] std::string read_file(const std::filesystem::path& path, FileSystem& files = FileSystem::real(),
                                    std::uint64_t limit = std::uint64_t{256} << 20);

/// checksum_of() all bytes of a file of any size, a piece at a time. Throws FileError.
[[nodiscard]] std::uint64_t file_checksum(const std::filesystem::path& path, FileSystem& files = FileSystem::real());

}  // namespace flame::io
