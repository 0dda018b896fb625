#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "flame/io/file.h"

namespace flame::io {

/// What to do when the target is there already. An empty directory never counts as being there.
enum class Existing : std::uint8_t { kRefuse, kReplace };

/// Throws UsageError for a target that cannot become a file: a directory, a name that ends in a slash, a pipe or device
/// (it would be replaced by a file, not written to), or "-".
void require_file_target(const std::filesystem::path& target, FileSystem& files = FileSystem::real());

/// The same for a target that cannot become a directory: a file of any kind, or "-".
void require_directory_target(const std::filesystem::path& target, FileSystem& files = FileSystem::real());

/// Throws UsageError when a directory made from `source` would replace it, or one of the two lies in the other.
void require_other_directory(const std::filesystem::path& source, const std::filesystem::path& target);

/// Throws UsageError when a file written to `target` would replace one of `sources`, which the same run reads, or
/// would come to lie in one of them that is a directory. Empty sources and "-" are passed over.
void require_not_read(const std::filesystem::path& target, const std::vector<std::filesystem::path>& sources);

/// Throws UsageError for a file that one of the other outputs goes to.
void require_not_written(const std::filesystem::path& target, const std::vector<std::filesystem::path>& outputs);

/// Throws UsageError, for a directory that is to be deleted or replaced, when it holds more than the files of `names`:
/// `record` is what has named them, for the message.
void require_only_files(const std::filesystem::path& directory, const std::set<std::string, std::less<>>& names,
                        std::string_view record, FileSystem& files = FileSystem::real());

/// "out/" and "out" are the same target.
[[nodiscard]] std::filesystem::path without_trailing_slash(const std::filesystem::path& path);

/// A directory with entries in it.
[[nodiscard]] bool is_occupied(const std::filesystem::path& target, FileSystem& files = FileSystem::real());

/// A file that is whole or absent: written to "NAME.partial-<process id>" beside the target, synced and renamed by
/// commit(). Without commit() the destructor removes it, and the target is as it was. Halves of the same target that
/// killed runs left (those of no running process) are removed first. A link stays one: what it leads to is written.
class AtomicFile {
 public:
  /// Throws UsageError as require_file_target does, and when the target exists and `existing` is kRefuse. Makes missing
  /// parent directories.
  AtomicFile(const std::filesystem::path& target, Existing existing = Existing::kReplace,
             FileSystem& files = FileSystem::real());
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Where to write. Neither sync nor close is needed.
  [[nodiscard]] WritableFile& file() { return *file_; }
  void commit();

 private:
  FileSystem& files_;
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  std::unique_ptr<WritableFile> file_;
};

/// The same for a directory of files, and for a link to one. Replacing a directory is one atomic exchange where the
/// file system can do that; elsewhere the old one is renamed away first ("NAME.replaced-<process id>") and a crash may
/// leave it under that name.
class AtomicDirectory {
 public:
  /// Throws UsageError when the target is a file, or a directory with entries in it and `existing` is kRefuse.
  AtomicDirectory(const std::filesystem::path& target, Existing existing = Existing::kRefuse,
                  FileSystem& files = FileSystem::real());
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  /// The temporary directory to put files and directories into.
  [[nodiscard]] const std::filesystem::path& path() const { return temporary_; }
  /// Syncs everything in it (files must be closed by then) and puts it in the target's place. Throws UsageError, with
  /// nothing replaced, when `existing` is kRefuse and another run has filled the target meanwhile.
  void commit();

 private:
  FileSystem& files_;
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  Existing existing_;
  bool committed_ = false;
};

/// Temporary files and directories beside `target` that crashed runs left and no AtomicFile or AtomicDirectory of the
/// same target has removed: to be named to the user. Those of processes that still run are not listed.
[[nodiscard]] std::vector<std::filesystem::path> abandoned_outputs(const std::filesystem::path& target,
                                                                   FileSystem& files = FileSystem::real());

}  // namespace flame::io
