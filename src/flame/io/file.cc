#include "flame/io/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

#include "flame/base/checksum.h"
#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/io/descriptor_input.h"
#include "flame/io/mapping_faults.h"

namespace flame::io {
namespace {

constexpr int kReading = O_RDONLY | O_NONBLOCK;                 // a pipe that nobody writes is refused, not waited for
constexpr std::size_t kLargestTransfer = std::size_t{1} << 30;  // Linux moves at most 2^31 - 4096 bytes a call

/// open(); where that would wait for the reader of a pipe, in steps between which Ctrl-C is seen.
int open_descriptor(const std::filesystem::path& path, int flags) {
  constexpr std::chrono::milliseconds kStep{20};
  struct stat status {};
  const bool waits = (flags & O_ACCMODE) == O_WRONLY && ::stat(path.c_str(), &status) == 0 && S_ISFIFO(status.st_mode);
  if (!waits) return ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  while (true) {
    const int number = ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK);
    if (number >= 0) {
      ::fcntl(number, F_SETFL, flags & O_APPEND);  // writes wait for room again
      return number;
    }
    if (errno != ENXIO) return number;
    throw_if_interrupted();
    std::this_thread::sleep_for(kStep);
  }
}

/// An open file; closes it when it goes.
class Descriptor {
 public:
  Descriptor(const std::filesystem::path& path, int flags) : number_(open_descriptor(path, flags)) {
    const bool writing = (flags & O_ACCMODE) != O_RDONLY;
    if (number_ < 0) throw FileError(path, writing ? "cannot open for writing" : "cannot open", errno);
  }
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  [[nodiscard]] int number() const { return number_; }
  /// Closes now; returns errno, 0 for success. An error at closing is how network file systems report a full disk.
  int close() { return ::close(std::exchange(number_, -1)) == 0 ? 0 : errno; }

  /// Locks a regular file against other writers until it is closed, in whatever process.
  void hold(const std::filesystem::path& path) const {
    if (flock(number_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;  // others: file systems without locks
    throw FileError(path, "another run is writing to it");
  }
  /// Not a pipe, socket or device: every byte has a position.
  [[nodiscard]] bool is_regular() const {
    struct stat status {};
    return fstat(number_, &status) == 0 && S_ISREG(status.st_mode);
  }
  /// Size of a regular file. Throws FileError for anything else.
  [[nodiscard]] std::uint64_t size(const std::filesystem::path& path) const {
    struct stat status {};
    if (fstat(number_, &status) != 0) throw FileError(path, "cannot read its size", errno);
    if (S_ISDIR(status.st_mode)) throw FileError(path, "cannot read", EISDIR);
    if (!S_ISREG(status.st_mode)) throw FileError(path, "expected a file, found a pipe, socket or device");
    return static_cast<std::uint64_t>(status.st_size);
  }

 private:
  int number_;
};

class RealReadableFile : public ReadableFile {
 public:
  explicit RealReadableFile(const std::filesystem::path& path)
      : path_(path), descriptor_(path, kReading), size_(descriptor_.size(path)) {}

  void read_at(std::uint64_t offset, std::span<std::byte> into) const override {
    std::size_t done = 0;
    while (done < into.size()) {
      const std::size_t wanted = std::min(into.size() - done, kLargestTransfer);
      const ssize_t got = pread(descriptor_.number(), into.data() + done, wanted, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw FileError(path_, fmt::format("cannot read {} bytes at {}", into.size(), offset), errno);
      if (got == 0) {
        throw FileError(
            path_, fmt::format("short read: wanted {} bytes at {}, the file ends after {}", into.size(), offset, done));
      }
      done += static_cast<std::size_t>(got);
    }
  }
  [[nodiscard]] std::uint64_t size() const override { return size_; }
  [[nodiscard]] const std::filesystem::path& path() const override { return path_; }

 private:
  std::filesystem::path path_;
  Descriptor descriptor_;
  std::uint64_t size_;
};

class RealWritableFile : public WritableFile {
 public:
  RealWritableFile(const std::filesystem::path& path, int flags)
      : path_(path), descriptor_(path, flags), stream_(!descriptor_.is_regular()) {
    if (!stream_) cut(0);
  }
  RealWritableFile(const std::filesystem::path& path, std::uint64_t keep) : path_(path), descriptor_(path, O_WRONLY) {
    const std::uint64_t length = descriptor_.size(path);
    if (keep > length) throw FileError(path, fmt::format("cannot go on after byte {}: it has {}", keep, length));
    cut(keep);
  }

  void append(std::span<const std::byte> bytes) override {
    write_all(size_, bytes);
    size_ += bytes.size();
  }
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (offset > size_ || bytes.size() > size_ - offset) {
      throw std::logic_error(fmt::format("{}: write past its end", path_.string()));
    }
    if (stream_) throw FileError(path_, "cannot go back in a pipe or device");
    write_all(offset, bytes);
  }
  [[nodiscard]] std::uint64_t size() const override { return size_; }
  void sync() override {
    // EINVAL: pipes and some devices have nothing to sync.
    if (fdatasync(descriptor_.number()) != 0 && errno != EINVAL) throw FileError(path_, "cannot sync", errno);
  }
  void close() override {
    if (const int error = descriptor_.close(); error != 0) throw FileError(path_, "cannot close", error);
  }
  [[nodiscard]] const std::filesystem::path& path() const override { return path_; }

 private:
  /// Becomes the file's only writer before anything in it is lost.
  void cut(std::uint64_t keep) {
    descriptor_.hold(path_);
    if (ftruncate(descriptor_.number(), static_cast<off_t>(keep)) != 0) throw FileError(path_, "cannot cut", errno);
    size_ = keep;
  }
  void write_all(std::uint64_t offset, std::span<const std::byte> bytes) {
    std::size_t done = 0;
    while (done < bytes.size()) {
      const std::size_t wanted = std::min(bytes.size() - done, kLargestTransfer);
      const std::byte* const from = bytes.data() + done;
      const ssize_t put = stream_ ? ::write(descriptor_.number(), from, wanted)
                                  : pwrite(descriptor_.number(), from, wanted, static_cast<off_t>(offset + done));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) throw FileError(path_, fmt::format("cannot write {} bytes at {}", bytes.size(), offset), errno);
      done += static_cast<std::size_t>(put);
    }
  }

  std::filesystem::path path_;
  Descriptor descriptor_;
  bool stream_ = false;  ///< a pipe or device: bytes go where the last ones ended
  std::uint64_t size_ = 0;
};

class RealFileSystem : public FileSystem {
 public:
  std::unique_ptr<ReadableFile> open(const std::filesystem::path& path) override {
    return std::make_unique<RealReadableFile>(path);
  }

  std::unique_ptr<WritableFile> create(const std::filesystem::path& path) override {
    return std::make_unique<RealWritableFile>(path, O_WRONLY | O_CREAT);
  }

  std::unique_ptr<WritableFile> open_to_append(const std::filesystem::path& path, std::uint64_t keep) override {
    return std::make_unique<RealWritableFile>(path, keep);
  }

  MemoryMap map(const std::filesystem::path& path) override {
    const Descriptor descriptor(path, kReading);
    const std::uint64_t size = descriptor.size(path);
    if (size == 0) return {};
    void* const mapped = mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor.number(), 0);
    if (mapped == MAP_FAILED) throw FileError(path, fmt::format("cannot map {} bytes into memory", size), errno);
    remember_mapping(mapped, size, path);
    return MemoryMap::of_mapping(mapped, size, 0, size);
  }

  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) {
      throw FileError(from, fmt::format("cannot rename to {}", to.string()), errno);
    }
  }

  bool exchange(const std::filesystem::path& a, const std::filesystem::path& b) override {
    if (renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0) return true;
    if (errno == EINVAL || errno == ENOSYS || errno == ENOTSUP) return false;
    throw FileError(a, fmt::format("cannot swap with {}", b.string()), errno);
  }

  void remove(const std::filesystem::path& path) override {
    std::error_code error;
    std::filesystem::remove_all(path, error);
    if (error) throw FileError(path, "cannot remove", error.value());
  }

  void create_directories(const std::filesystem::path& path) override {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error) throw FileError(path, "cannot create directory", error.value());
  }

  void sync(const std::filesystem::path& path) override {
    const Descriptor descriptor(path, O_RDONLY);
    if (fsync(descriptor.number()) != 0 && errno != EINVAL) throw FileError(path, "cannot sync", errno);
  }

  bool exists(const std::filesystem::path& path) override {
    std::error_code ignored;  // what cannot be looked at counts as absent; opening it will say why
    return std::filesystem::exists(path, ignored);
  }

  bool is_directory(const std::filesystem::path& path) override {
    std::error_code ignored;
    return std::filesystem::is_directory(path, ignored);
  }

  bool is_regular(const std::filesystem::path& path) override {
    std::error_code ignored;
    return std::filesystem::is_regular_file(path, ignored);
  }

  std::vector<std::string> list(const std::filesystem::path& directory) override {
    std::error_code error;
    std::vector<std::string> names;
    for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
         entry.increment(error)) {
      names.push_back(entry->path().filename().string());
    }
    if (error) throw FileError(directory, "cannot list", error.value());
    std::sort(names.begin(), names.end());
    return names;
  }
};

}  // namespace

FileSystem& FileSystem::real() {
  static RealFileSystem files;
  return files;
}

std::string read_file(const std::filesystem::path& path, FileSystem& files, std::uint64_t limit) {
  std::error_code ignored;
  if (&files == &FileSystem::real() && std::filesystem::is_fifo(path, ignored)) {
    return read_all(Descriptor(path, kReading).number(), path, limit);
  }
  const auto file = files.open(path);
  const std::uint64_t size = file->size();
  if (size > limit) throw FileError(path, fmt::format("has {} bytes; at most {} are read", size, limit));
  std::string content(size, '\0');
  file->read_at(0, std::as_writable_bytes(std::span(content)));
  return content;
}

std::uint64_t file_checksum(const std::filesystem::path& path, FileSystem& files) {
  constexpr std::uint64_t kPiece = std::uint64_t{1} << 20;
  const auto file = files.open(path);
  const std::uint64_t size = file->size();
  std::vector<std::byte> piece(std::min(size, kPiece));
  Checksum checksum;
  for (std::uint64_t offset = 0; offset < size; offset += kPiece) {
    const std::span<std::byte> bytes = std::span(piece).first(std::min(size - offset, kPiece));
    file->read_at(offset, bytes);
    checksum.add(bytes);
  }
  return checksum.value();
}

}  // namespace flame::io
