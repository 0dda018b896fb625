#include "flame/io/memory_file_system.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <utility>

#include "flame/base/error.h"

namespace flame::io {
namespace {

std::filesystem::path normal(const std::filesystem::path& path) {
  std::filesystem::path result = path.lexically_normal();
  if (!result.has_filename() && result.has_parent_path() && result != result.root_path()) result = result.parent_path();
  return result.empty() ? "." : result;
}

/// Whether `path` is `directory` or lies anywhere below it.
bool is_within(const std::filesystem::path& path, const std::filesystem::path& directory) {
  const auto [end, ignored] = std::mismatch(directory.begin(), directory.end(), path.begin(), path.end());
  return end == directory.end();
}

}  // namespace

class MemoryFileSystem::Reader : public ReadableFile {
 public:
  Reader(std::filesystem::path path, std::shared_ptr<const std::vector<std::byte>> content)
      : path_(std::move(path)), content_(std::move(content)) {}

  void read_at(std::uint64_t offset, std::span<std::byte> into) const override {
    const std::uint64_t available = offset < content_->size() ? content_->size() - offset : 0;
    if (into.size() > available) {
      throw FileError(path_, fmt::format("short read: wanted {} bytes at {}, the file ends after {}", into.size(),
                                         offset, available));
    }
    std::copy_n(content_->begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
  }
  [[nodiscard]] std::uint64_t size() const override { return content_->size(); }
  [[nodiscard]] const std::filesystem::path& path() const override { return path_; }

 private:
  std::filesystem::path path_;
  std::shared_ptr<const std::vector<std::byte>> content_;
};

class MemoryFileSystem::Writer : public WritableFile {
 public:
  Writer(std::filesystem::path path, MemoryFileSystem& files, Content content)
      : path_(std::move(path)), files_(files), content_(std::move(content)) {}

  void append(std::span<const std::byte> bytes) override {
    const std::lock_guard lock(files_.mutex_);
    content_->insert(content_->end(), bytes.begin(), bytes.end());
  }
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    const std::lock_guard lock(files_.mutex_);
    if (offset > content_->size() || bytes.size() > content_->size() - offset) {
      throw std::logic_error(fmt::format("{}: write past its end", path_.string()));
    }
    std::copy(bytes.begin(), bytes.end(), content_->begin() + static_cast<std::ptrdiff_t>(offset));
  }
  [[nodiscard]] std::uint64_t size() const override {
    const std::lock_guard lock(files_.mutex_);
    return content_->size();
  }
  void sync() override {}
  void close() override {}
  [[nodiscard]] const std::filesystem::path& path() const override { return path_; }

 private:
  std::filesystem::path path_;
  MemoryFileSystem& files_;
  Content content_;
};

MemoryFileSystem::MemoryFileSystem() : directories_{"/", "."} {}

void MemoryFileSystem::put(const std::filesystem::path& path, std::string_view content) {
  put(path, std::as_bytes(std::span(content)));
}

void MemoryFileSystem::put(const std::filesystem::path& path, std::span<const std::byte> content) {
  create_directories(normal(path).parent_path());
  const std::lock_guard lock(mutex_);
  files_[normal(path)] = std::make_shared<std::vector<std::byte>>(content.begin(), content.end());
}

MemoryFileSystem::Content MemoryFileSystem::content_of(const std::filesystem::path& path, const char* what) const {
  const auto file = files_.find(normal(path));
  if (file == files_.end()) throw FileError(path, what, directories_.contains(normal(path)) ? EISDIR : ENOENT);
  return file->second;
}

void MemoryFileSystem::require_parent(const std::filesystem::path& path, const char* what) const {
  const std::filesystem::path parent = normal(path).parent_path();
  if (!parent.empty() && !directories_.contains(parent)) throw FileError(path, what, ENOENT);
}

std::unique_ptr<ReadableFile> MemoryFileSystem::open(const std::filesystem::path& path) {
  const std::lock_guard lock(mutex_);
  // A copy, so that a later writer of the same file cannot change what this reader sees.
  return std::make_unique<Reader>(path, std::make_shared<std::vector<std::byte>>(*content_of(path, "cannot open")));
}

std::unique_ptr<WritableFile> MemoryFileSystem::create(const std::filesystem::path& path) {
  const std::lock_guard lock(mutex_);
  require_parent(path, "cannot open for writing");
  if (directories_.contains(normal(path))) throw FileError(path, "cannot open for writing", EISDIR);
  auto content = std::make_shared<std::vector<std::byte>>();
  files_[normal(path)] = content;
  return std::make_unique<Writer>(path, *this, std::move(content));
}

std::unique_ptr<WritableFile> MemoryFileSystem::open_to_append(const std::filesystem::path& path, std::uint64_t keep) {
  const std::lock_guard lock(mutex_);
  Content content = content_of(path, "cannot open for writing");
  if (keep > content->size()) {
    throw FileError(path, fmt::format("cannot go on after byte {}: it has {}", keep, content->size()));
  }
  content->resize(keep);
  return std::make_unique<Writer>(path, *this, std::move(content));
}

MemoryMap MemoryFileSystem::map(const std::filesystem::path& path) {
  const std::lock_guard lock(mutex_);
  auto copy = std::make_shared<std::vector<std::byte>>(*content_of(path, "cannot open"));
  const std::span<const std::byte> bytes(*copy);
  return MemoryMap::of_buffer(std::move(copy), bytes);
}

void MemoryFileSystem::move_entries(const std::filesystem::path& from, const std::filesystem::path& to) {
  const auto moved = [&](const std::filesystem::path& path) {
    return path == from ? to : normal(to / path.lexically_relative(from));
  };
  std::map<std::filesystem::path, Content> files;
  for (auto& [path, content] : files_) files[is_within(path, from) ? moved(path) : path] = std::move(content);
  std::set<std::filesystem::path> directories;
  for (const auto& path : directories_) directories.insert(is_within(path, from) ? moved(path) : path);
  files_ = std::move(files);
  directories_ = std::move(directories);
}

void MemoryFileSystem::rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  const std::lock_guard lock(mutex_);
  const std::filesystem::path source = normal(from);
  const std::filesystem::path target = normal(to);
  const std::string what = fmt::format("cannot rename to {}", to.string());
  require_parent(to, what.c_str());
  const bool directory = directories_.contains(source);
  if (!directory && !files_.contains(source)) throw FileError(from, what, ENOENT);
  if (directories_.contains(target)) {
    if (!directory) throw FileError(from, what, EISDIR);
    const auto inside = [&](const std::filesystem::path& path) { return path != target && is_within(path, target); };
    if (std::any_of(files_.begin(), files_.end(), [&](const auto& file) { return inside(file.first); }) ||
        std::any_of(directories_.begin(), directories_.end(), inside)) {
      throw FileError(from, what, ENOTEMPTY);
    }
  } else if (directory && files_.contains(target)) {
    throw FileError(from, what, ENOTDIR);
  }
  files_.erase(target);
  directories_.erase(target);
  move_entries(source, target);
}

bool MemoryFileSystem::exchange(const std::filesystem::path& a, const std::filesystem::path& b) {
  const std::lock_guard lock(mutex_);
  for (const auto& path : {a, b}) {
    if (!files_.contains(normal(path)) && !directories_.contains(normal(path))) {
      throw FileError(path, "cannot swap", ENOENT);
    }
  }
  const std::filesystem::path aside = normal(a).string() + ".exchange";
  move_entries(normal(a), aside);
  move_entries(normal(b), normal(a));
  move_entries(aside, normal(b));
  return true;
}

void MemoryFileSystem::remove(const std::filesystem::path& path) {
  const std::lock_guard lock(mutex_);
  const std::filesystem::path target = normal(path);
  std::erase_if(files_, [&](const auto& file) { return is_within(file.first, target); });
  std::erase_if(directories_, [&](const auto& directory) { return is_within(directory, target); });
}

void MemoryFileSystem::create_directories(const std::filesystem::path& path) {
  const std::lock_guard lock(mutex_);
  std::filesystem::path partial;
  for (const auto& part : normal(path)) {
    partial /= part;
    if (files_.contains(partial)) throw FileError(path, "cannot create directory", ENOTDIR);
    directories_.insert(partial);
  }
}

void MemoryFileSystem::sync(const std::filesystem::path& path) {
  if (!exists(path)) throw FileError(path, "cannot open", ENOENT);
}

bool MemoryFileSystem::exists(const std::filesystem::path& path) {
  const std::lock_guard lock(mutex_);
  return files_.contains(normal(path)) || directories_.contains(normal(path));
}

bool MemoryFileSystem::is_directory(const std::filesystem::path& path) {
  const std::lock_guard lock(mutex_);
  return directories_.contains(normal(path));
}

bool MemoryFileSystem::is_regular(const std::filesystem::path& path) {
  const std::lock_guard lock(mutex_);
  return files_.contains(normal(path));
}

std::vector<std::string> MemoryFileSystem::list(const std::filesystem::path& directory) {
  const std::lock_guard lock(mutex_);
  const std::filesystem::path target = normal(directory);
  if (!directories_.contains(target)) throw FileError(directory, "cannot list", ENOENT);
  std::set<std::string> names;
  const auto add = [&](const std::filesystem::path& path) {
    if (path != target && path.has_filename() && normal(path.parent_path()) == target) {
      names.insert(path.filename().string());
    }
  };
  for (const auto& [path, content] : files_) add(path);
  for (const auto& path : directories_) add(path);
  return {names.begin(), names.end()};
}

}  // namespace flame::io
