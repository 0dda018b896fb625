#include "flame/io/failing_file_system.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "flame/base/error.h"

namespace flame::io {

class FailingFileSystem::Reader : public ReadableFile {
 public:
  Reader(std::unique_ptr<ReadableFile> base, FailingFileSystem& files) : base_(std::move(base)), files_(files) {}

  void read_at(std::uint64_t offset, std::span<std::byte> into) const override {
    files_.step(path(), "cannot read");
    if (const auto& limit = files_.plan_.readable_bytes; limit) {
      const std::uint64_t available = offset < *limit ? *limit - offset : 0;
      if (into.size() > available) {
        throw FileError(path(), fmt::format("short read: wanted {} bytes at {}, the file ends after {}", into.size(),
                                            offset, available));
      }
    }
    base_->read_at(offset, into);
  }
  [[nodiscard]] std::uint64_t size() const override { return base_->size(); }
  [[nodiscard]] const std::filesystem::path& path() const override { return base_->path(); }

 private:
  std::unique_ptr<ReadableFile> base_;
  FailingFileSystem& files_;
};

class FailingFileSystem::Writer : public WritableFile {
 public:
  Writer(std::unique_ptr<WritableFile> base, FailingFileSystem& files) : base_(std::move(base)), files_(files) {}

  void append(std::span<const std::byte> bytes) override {
    files_.step(path(), "cannot write");
    if (const auto& room = files_.plan_.room_bytes; room) {
      const std::uint64_t before = files_.written_.fetch_add(bytes.size());
      const std::uint64_t left = before < *room ? *room - before : 0;
      if (bytes.size() > left) {
        base_->append(bytes.first(left));
        throw FileError(path(), fmt::format("cannot write {} bytes at {}", bytes.size(), base_->size() - left), ENOSPC);
      }
    }
    base_->append(bytes);
  }
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    files_.step(path(), "cannot write");
    base_->write_at(offset, bytes);
  }
  [[nodiscard]] std::uint64_t size() const override { return base_->size(); }
  void sync() override {
    files_.step(path(), "cannot sync");
    base_->sync();
  }
  void close() override {
    files_.step(path(), "cannot close");
    base_->close();
  }
  [[nodiscard]] const std::filesystem::path& path() const override { return base_->path(); }

 private:
  std::unique_ptr<WritableFile> base_;
  FailingFileSystem& files_;
};

FailingFileSystem::FailingFileSystem(FileSystem& base, const FailurePlan& plan) : base_(base), plan_(plan) {}

void FailingFileSystem::set_plan(const FailurePlan& plan) {
  plan_ = plan;
  operations_ = 0;
  written_ = 0;
}

void FailingFileSystem::step(const std::filesystem::path& path, const char* what) {
  const std::uint64_t number = operations_.fetch_add(1);
  if (!plan_.fail_operation) return;
  if (number == *plan_.fail_operation || (plan_.persistent && number > *plan_.fail_operation)) {
    throw FileError(path, what, EIO);
  }
}

std::unique_ptr<ReadableFile> FailingFileSystem::open(const std::filesystem::path& path) {
  step(path, "cannot open");
  return std::make_unique<Reader>(base_.open(path), *this);
}

std::unique_ptr<WritableFile> FailingFileSystem::create(const std::filesystem::path& path) {
  step(path, "cannot open for writing");
  return std::make_unique<Writer>(base_.create(path), *this);
}

std::unique_ptr<WritableFile> FailingFileSystem::open_to_append(const std::filesystem::path& path, std::uint64_t keep) {
  step(path, "cannot open for writing");
  return std::make_unique<Writer>(base_.open_to_append(path, keep), *this);
}

MemoryMap FailingFileSystem::map(const std::filesystem::path& path) {
  step(path, "cannot map into memory");
  auto whole = std::make_shared<MemoryMap>(base_.map(path));
  std::span<const std::byte> bytes = whole->bytes();
  if (plan_.readable_bytes) bytes = bytes.first(std::min<std::uint64_t>(bytes.size(), *plan_.readable_bytes));
  return MemoryMap::of_buffer(std::move(whole), bytes);
}

void FailingFileSystem::rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  step(from, "cannot rename");
  base_.rename(from, to);
}

bool FailingFileSystem::exchange(const std::filesystem::path& a, const std::filesystem::path& b) {
  step(a, "cannot swap");
  return base_.exchange(a, b);
}

void FailingFileSystem::remove(const std::filesystem::path& path) { base_.remove(path); }

void FailingFileSystem::create_directories(const std::filesystem::path& path) {
  step(path, "cannot create directory");
  base_.create_directories(path);
}

void FailingFileSystem::sync(const std::filesystem::path& path) {
  step(path, "cannot sync");
  base_.sync(path);
}

bool FailingFileSystem::exists(const std::filesystem::path& path) { return base_.exists(path); }

bool FailingFileSystem::is_directory(const std::filesystem::path& path) { return base_.is_directory(path); }

bool FailingFileSystem::is_regular(const std::filesystem::path& path) { return base_.is_regular(path); }

std::vector<std::string> FailingFileSystem::list(const std::filesystem::path& directory) {
  step(directory, "cannot list");
  return base_.list(directory);
}

}  // namespace flame::io
