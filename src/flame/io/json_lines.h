#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>

#include "flame/base/json.h"
#include "flame/io/file.h"

namespace flame::io {

struct JsonLinesOptions {
  /// A bad line ends the reading with a FormatError instead of being reported and skipped.
  bool strict = false;
  /// Told about each skipped line: "FILE: line 7: …".
  std::function<void(const std::string& message)> on_bad_line = {};
  std::size_t maximum_line_bytes = std::size_t{16} << 20;
};

/// Reads JSON objects, one a line (https://jsonlines.org: UTF-8, "\n" or "\r\n"; empty lines are skipped), from a file
/// or from standard input, without ever holding more than one line.
class JsonLinesReader {
 public:
  /// `path` "-" is standard input. Throws FileError.
  explicit JsonLinesReader(const std::filesystem::path& path, JsonLinesOptions options = {},
                           FileSystem& files = FileSystem::real());
  ~JsonLinesReader();
  JsonLinesReader(JsonLinesReader&&) noexcept;
  JsonLinesReader& operator=(JsonLinesReader&&) noexcept;

  /// The next good line as an object; nothing at the end. Throws FileError, Interrupted (while waiting for standard
  /// input or a pipe), and, when strict, FormatError.
  [[nodiscard]] std::optional<Json> next();
  /// The text in `field` of the next line that has one. A line whose field is missing or not a string is a bad line.
  [[nodiscard]] std::optional<std::string> next_text(const std::string& field);

  /// Number, from 1, of the line that next() returned last.
  [[nodiscard]] std::uint64_t line() const { return line_; }
  [[nodiscard]] std::uint64_t bad_lines() const { return bad_lines_; }
  /// For a caller that finds the current line bad for its own reasons: counts and reports it, or throws when strict.
  void report_bad_line(const std::string& what);

 private:
  class Source;
  [[nodiscard]] bool read_line(std::string& text, bool& too_long);

  std::filesystem::path path_;
  JsonLinesOptions options_;
  std::unique_ptr<Source> source_;
  std::uint64_t line_ = 0;
  std::uint64_t bad_lines_ = 0;
};

/// The whole lines of an output that a run was writing when it stopped.
struct FinishedLines {
  std::uint64_t lines = 0;
  std::uint64_t bytes = 0;  ///< where the next line belongs; anything behind is a line torn by the interruption
};

/// Reads an interrupted output. Each whole line must be a JSON object; `each`, where given, sees it. Throws FileError,
/// and FormatError for a line that is whole but not JSON: the file is then not ours to go on with.
[[nodiscard]] FinishedLines scan_finished_lines(const std::filesystem::path& path,
                                                FileSystem& files = FileSystem::real(),
                                                const std::function<void(std::uint64_t line, const Json&)>& each = {});

/// Appends JSON objects, one a line. After append() returns, the line survives a crash of the program; a power cut may
/// cost lines of the last second, never tear earlier ones.
class JsonLinesWriter {
 public:
  /// A new file. Throws FileError.
  [[nodiscard]] static JsonLinesWriter create(const std::filesystem::path& path,
                                              FileSystem& files = FileSystem::real());
  /// Goes on after `finished` (from scan_finished_lines): a torn last line is dropped.
  [[nodiscard]] static JsonLinesWriter resume(const std::filesystem::path& path, const FinishedLines& finished,
                                              FileSystem& files = FileSystem::real());

  /// One line, one write. When the disk is full, what came before is whole and a torn line is what resume() drops.
  void append(const Json& object);
  /// Syncs and closes.
  void close();

 private:
  explicit JsonLinesWriter(std::unique_ptr<WritableFile> file) : file_(std::move(file)) {}

  std::unique_ptr<WritableFile> file_;
};

}  // namespace flame::io
