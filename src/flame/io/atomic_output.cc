#include "flame/io/atomic_output.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string_view>
#include <utility>

#include "flame/base/error.h"

namespace flame::io {
namespace {

constexpr std::string_view kPartial = ".partial-";
constexpr std::string_view kReplaced = ".replaced-";

std::filesystem::path directory_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

/// Where a link leads: renaming over the link would leave what it leads to as it was.
std::filesystem::path behind_links(const std::filesystem::path& path) {
  std::error_code absent;
  if (!std::filesystem::is_symlink(path, absent)) return path;
  const std::filesystem::path real = std::filesystem::canonical(path, absent);
  return absent ? path : real;
}

/// The same path for all ways to write one.
std::filesystem::path place_of(const std::filesystem::path& path) {
  std::error_code unknown;
  const std::filesystem::path whole = std::filesystem::absolute(path);
  const std::filesystem::path real = std::filesystem::weakly_canonical(whole, unknown);
  return without_trailing_slash(unknown ? whole : real);
}

bool contains(const std::filesystem::path& outer, const std::filesystem::path& inner) {
  return std::ranges::mismatch(outer, inner).in1 == outer.end();
}

std::filesystem::path temporary_name(const std::filesystem::path& target, std::string_view kind) {
  return fmt::format("{}{}{}", target.string(), kind, getpid());
}

/// Removes what was not committed. Nobody can be told about a failure here; abandoned_outputs() finds what stays.
void remove_quietly(FileSystem& files, const std::filesystem::path& path) noexcept {
  try {
    files.remove(path);
  } catch (const std::exception&) {
  }
}

void sync_all(FileSystem& files, const std::filesystem::path& path) {
  if (files.is_directory(path)) {
    for (const std::string& name : files.list(path)) sync_all(files, path / name);
  }
  files.sync(path);
}

bool still_runs(std::string_view process_text) {
  pid_t process = 0;
  const char* const end = process_text.data() + process_text.size();
  const auto [stop, error] = std::from_chars(process_text.data(), end, process);
  if (error != std::errc() || stop != end || process <= 0) return true;  // not a name of ours: leave it alone
  return kill(process, 0) == 0 || errno == EPERM;
}

std::vector<std::filesystem::path> left_by_dead(const std::filesystem::path& target, std::string_view kind,
                                                FileSystem& files) {
  std::vector<std::filesystem::path> found;
  const std::filesystem::path directory = directory_of(target);
  if (!files.is_directory(directory)) return found;
  const std::string prefix = target.filename().string() + std::string(kind);
  for (const std::string& name : files.list(directory)) {
    if (name.starts_with(prefix) && !still_runs(std::string_view(name).substr(prefix.size()))) {
      found.push_back(directory / name);
    }
  }
  return found;
}

/// Halves only: what was moved away to be replaced is somebody's whole old content.
void remove_abandoned_halves(FileSystem& files, const std::filesystem::path& target) {
  try {
    for (const std::filesystem::path& half : left_by_dead(target, kPartial, files)) remove_quietly(files, half);
  } catch (const FileError& error) {
    // One may write to a directory that one may not list.
    if (error.error_number() != EACCES) throw;
  }
}

[[noreturn]] void refuse_occupied(const std::filesystem::path& target) {
  throw UsageError(
      fmt::format("{}: is there already and not empty; name another directory, or remove it or replace it where the "
                  "command has --replace",
                  target.string()));
}

}  // namespace

bool is_occupied(const std::filesystem::path& target, FileSystem& files) {
  return files.is_directory(target) && !files.list(target).empty();
}

void require_file_target(const std::filesystem::path& target, FileSystem& files) {
  if (target == "-") throw UsageError("-: this output cannot go to standard output; name a file");
  if (files.is_directory(target)) {
    throw UsageError(fmt::format("{}: is a directory; name a file to write", target.string()));
  }
  if (!target.has_filename()) {
    throw UsageError(fmt::format("\"{}\": is the name of a directory; name a file to write", target.string()));
  }
  if (files.exists(target) && !files.is_regular(target)) {
    throw UsageError(fmt::format("{}: is not a regular file; name one to write", target.string()));
  }
}

void require_directory_target(const std::filesystem::path& target, FileSystem& files) {
  if (target == "-") throw UsageError("-: a directory cannot go to standard output; name one");
  if (files.exists(target) && !files.is_directory(target)) {
    throw UsageError(fmt::format("{}: is a file; name a directory to write", target.string()));
  }
}

void require_other_directory(const std::filesystem::path& source, const std::filesystem::path& target) {
  const std::filesystem::path from = place_of(source);
  const std::filesystem::path to = place_of(target);
  if (from == to) {
    throw UsageError(fmt::format("{}: is what is read here; name another directory to write", target.string()));
  }
  if (contains(to, from) || contains(from, to)) {
    throw UsageError(fmt::format("{}: {} {}, which is read here; name a directory elsewhere to write", target.string(),
                                 contains(to, from) ? "contains" : "lies in", source.string()));
  }
}

void require_not_written(const std::filesystem::path& target, const std::vector<std::filesystem::path>& outputs) {
  const auto same = [place = place_of(target)](const std::filesystem::path& output) {
    return place_of(output) == place;
  };
  if (std::any_of(outputs.begin(), outputs.end(), same)) {
    throw UsageError(fmt::format("{}: is what is written here already; name another file", target.string()));
  }
}

void require_not_read(const std::filesystem::path& target, const std::vector<std::filesystem::path>& sources) {
  const std::filesystem::path place = place_of(target);
  for (const std::filesystem::path& source : sources) {
    if (source.empty() || source == "-") continue;
    std::error_code absent;
    const std::filesystem::path read = place_of(source);
    if (place == read || std::filesystem::equivalent(target, source, absent)) {
      throw UsageError(fmt::format("{}: is what is read here; name another file to write", target.string()));
    }
    if (!contains(read, place)) continue;
    throw UsageError(fmt::format("{}: lies in {}, which is read here; name a file elsewhere to write", target.string(),
                                 source.string()));
  }
}

void require_only_files(const std::filesystem::path& directory, const std::set<std::string, std::less<>>& names,
                        std::string_view record, FileSystem& files) {
  for (const std::string& name : files.list(directory)) {
    if (names.contains(name) && !files.is_directory(directory / name)) continue;
    throw UsageError(
        fmt::format("{}: {} does not name it, so that it would be deleted without having been written by flame; move "
                    "it away or name another directory",
                    (directory / name).string(), record));
  }
}

std::filesystem::path without_trailing_slash(const std::filesystem::path& path) {
  const std::filesystem::path normal = path.lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

AtomicFile::AtomicFile(const std::filesystem::path& target, Existing existing, FileSystem& files)
    : files_(files), target_(behind_links(target)), temporary_(temporary_name(target_, kPartial)) {
  require_file_target(target_, files_);
  if (existing == Existing::kRefuse && files_.exists(target_)) {
    throw UsageError(fmt::format("{}: is there already; remove it or name another file", target_.string()));
  }
  files_.create_directories(directory_of(target_));
  remove_abandoned_halves(files_, target_);
  try {
    file_ = files_.create(temporary_);
  } catch (...) {
    remove_quietly(files_, temporary_);
    throw;
  }
}

AtomicFile::~AtomicFile() {
  if (file_ == nullptr) return;
  file_.reset();
  remove_quietly(files_, temporary_);
}

void AtomicFile::commit() {
  file_->sync();
  file_->close();
  files_.rename(temporary_, target_);
  file_.reset();  // from here on there is nothing to remove
  files_.sync(directory_of(target_));
}

AtomicDirectory::AtomicDirectory(const std::filesystem::path& target, Existing existing, FileSystem& files)
    : files_(files),
      target_(behind_links(without_trailing_slash(target))),
      temporary_(temporary_name(target_, kPartial)),
      existing_(existing) {
  require_directory_target(target_, files_);
  if (existing == Existing::kRefuse && is_occupied(target_, files_)) refuse_occupied(target_);
  remove_abandoned_halves(files_, target_);
  files_.remove(temporary_);  // of a crashed run that had this process id
  files_.create_directories(temporary_);
}

AtomicDirectory::~AtomicDirectory() {
  if (!committed_) remove_quietly(files_, temporary_);
}

void AtomicDirectory::commit() {
  sync_all(files_, temporary_);
  if (existing_ == Existing::kRefuse || !is_occupied(target_, files_)) {
    try {
      files_.rename(temporary_, target_);
    } catch (const FileError& error) {
      // Another run of the same target was quicker.
      if (error.error_number() == ENOTEMPTY || error.error_number() == EEXIST) refuse_occupied(target_);
      throw;
    }
    committed_ = true;
  } else if (files_.exchange(temporary_, target_)) {
    committed_ = true;
    remove_quietly(files_, temporary_);  // now the old content
  } else {
    const std::filesystem::path old = temporary_name(target_, kReplaced);
    files_.rename(target_, old);
    try {
      files_.rename(temporary_, target_);
    } catch (...) {
      files_.rename(old, target_);
      throw;
    }
    committed_ = true;
    remove_quietly(files_, old);
  }
  files_.sync(directory_of(target_));
}

std::vector<std::filesystem::path> abandoned_outputs(const std::filesystem::path& target, FileSystem& files) {
  const std::filesystem::path place = behind_links(without_trailing_slash(target));
  std::vector<std::filesystem::path> found = left_by_dead(place, kPartial, files);
  for (std::filesystem::path& path : left_by_dead(place, kReplaced, files)) found.push_back(std::move(path));
  return found;
}

}  // namespace flame::io
