#include "flame/io/json_lines.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "flame/base/error.h"
#include "flame/io/descriptor_input.h"

namespace flame::io {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{256} << 10;

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

Json parse_object(std::string_view line, const std::filesystem::path& source, std::size_t maximum_bytes) {
  Json value = parse_json(line, source, {.bytes = maximum_bytes, .depth = 64});
  if (!value.is_object()) throw FormatError(source, "expected a JSON object");
  return value;
}

/// The message without "FILE: ", which the caller writes itself with the line's number.
std::string without_path(const FormatError& error) {
  const std::string what = error.what();
  const std::string prefix = error.path().string() + ": ";
  return what.starts_with(prefix) ? what.substr(prefix.size()) : what;
}

}  // namespace

/// Bytes in order, a block at a time, from a file of the file system, or from a descriptor (standard input, a pipe).
class JsonLinesReader::Source {
 public:
  explicit Source(std::unique_ptr<ReadableFile> file) : file_(std::move(file)) {}
  Source(int descriptor, bool owned) : descriptor_(descriptor), owned_(owned) {}
  ~Source() {
    if (owned_) ::close(descriptor_);
  }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  /// The next bytes up to and without the next '\n', or a part of them; `line_ends` says which. False at the end.
  bool next_piece(std::string_view& piece, bool& line_ends, const std::filesystem::path& path) {
    if (begin_ == end_ && !fill(path)) return false;
    const char* const start = block_.data() + begin_;
    const void* const newline = std::memchr(start, '\n', end_ - begin_);
    line_ends = newline != nullptr;
    const std::size_t length =
        line_ends ? static_cast<std::size_t>(static_cast<const char*>(newline) - start) : end_ - begin_;
    piece = {start, length};
    begin_ += length + (line_ends ? 1 : 0);
    return true;
  }

 private:
  bool fill(const std::filesystem::path& path) {
    block_.resize(kBlockBytes);
    begin_ = 0;
    end_ = 0;
    if (file_ != nullptr) {
      end_ = std::min<std::uint64_t>(block_.size(), file_->size() - position_);
      file_->read_at(position_, std::as_writable_bytes(std::span(block_).first(end_)));
      position_ += end_;
    } else {
      end_ = read_some(descriptor_, block_, path);
    }
    return end_ > 0;
  }

  std::unique_ptr<ReadableFile> file_;
  std::uint64_t position_ = 0;
  int descriptor_ = -1;
  bool owned_ = false;
  std::vector<char> block_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

JsonLinesReader::JsonLinesReader(const std::filesystem::path& path, JsonLinesOptions options, FileSystem& files)
    : path_(path), options_(std::move(options)) {
  std::error_code ignored;
  if (path == "-") {
    path_ = "standard input";
    source_ = std::make_unique<Source>(STDIN_FILENO, false);
  } else if (&files == &FileSystem::real() &&
             (std::filesystem::is_fifo(path, ignored) || std::filesystem::is_character_file(path, ignored))) {
    // A pipe, as the shell's <(command) makes, has no positions to read at. It is waited for in read_some().
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) throw FileError(path, "cannot open", errno);
    source_ = std::make_unique<Source>(descriptor, true);
  } else {
    source_ = std::make_unique<Source>(files.open(path));
  }
}

JsonLinesReader::~JsonLinesReader() = default;
JsonLinesReader::JsonLinesReader(JsonLinesReader&&) noexcept = default;
JsonLinesReader& JsonLinesReader::operator=(JsonLinesReader&&) noexcept = default;

/// The rest of a line that is too long is read past, so that the next one is found.
bool JsonLinesReader::read_line(std::string& text, bool& too_long) {
  text.clear();
  too_long = false;
  std::string_view piece;
  bool line_ends = false;
  bool any = false;
  while (!line_ends && source_->next_piece(piece, line_ends, path_)) {
    any = true;
    too_long = too_long || piece.size() > options_.maximum_line_bytes - text.size();
    if (!too_long) text.append(piece);
  }
  if (any) ++line_;
  return any;
}

void JsonLinesReader::report_bad_line(const std::string& what) {
  const std::string message = fmt::format("line {}: {}", line_, what);
  if (options_.strict) throw FormatError(path_, message);
  ++bad_lines_;
  if (options_.on_bad_line) options_.on_bad_line(fmt::format("{}: {}", path_.string(), message));
}

std::optional<Json> JsonLinesReader::next() {
  std::string text;
  bool too_long = false;
  while (read_line(text, too_long)) {
    if (too_long) {
      report_bad_line(fmt::format("longer than {} bytes", options_.maximum_line_bytes));
      continue;
    }
    std::string_view line = text;
    if (line_ == 1 && line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);  // a byte order mark
    if (is_blank(line)) continue;
    try {
      return parse_object(line, path_, options_.maximum_line_bytes);
    } catch (const FormatError& error) {
      report_bad_line(without_path(error));
    }
  }
  return std::nullopt;
}

std::optional<std::string> JsonLinesReader::next_text(const std::string& field) {
  while (auto object = next()) {
    const auto member = object->find(field);
    if (member == object->end()) {
      report_bad_line(fmt::format("has no field \"{}\"", field));
    } else if (!member->is_string()) {
      report_bad_line(fmt::format("the field \"{}\" is not a text", field));
    } else {
      return member->get<std::string>();
    }
  }
  return std::nullopt;
}

FinishedLines scan_finished_lines(const std::filesystem::path& path, FileSystem& files,
                                  const std::function<void(std::uint64_t line, const Json&)>& each) {
  const auto file = files.open(path);
  FinishedLines finished;
  std::string pending;  // bytes of the line that is not complete yet
  std::vector<char> block(kBlockBytes);
  for (std::uint64_t position = 0; position < file->size();) {
    const std::size_t length = std::min<std::uint64_t>(block.size(), file->size() - position);
    file->read_at(position, std::as_writable_bytes(std::span(block).first(length)));
    position += length;
    std::string_view rest(block.data(), length);
    for (std::size_t newline = rest.find('\n'); newline != std::string_view::npos; newline = rest.find('\n')) {
      pending.append(rest.substr(0, newline));
      rest.remove_prefix(newline + 1);
      ++finished.lines;
      try {
        const Json object = parse_object(pending, path, JsonLimits{}.bytes);
        if (each) each(finished.lines, object);
      } catch (const FormatError& error) {
        throw FormatError(path,
                          fmt::format("line {}: {}; not an output to go on with", finished.lines, without_path(error)));
      }
      finished.bytes += pending.size() + 1;
      pending.clear();
    }
    pending.append(rest);
  }
  return finished;
}

JsonLinesWriter JsonLinesWriter::create(const std::filesystem::path& path, FileSystem& files) {
  return JsonLinesWriter(files.create(path));
}

JsonLinesWriter JsonLinesWriter::resume(const std::filesystem::path& path, const FinishedLines& finished,
                                        FileSystem& files) {
  return JsonLinesWriter(files.open_to_append(path, finished.bytes));
}

void JsonLinesWriter::append(const Json& object) { file_->append(to_text(object) + '\n'); }

void JsonLinesWriter::close() {
  file_->sync();
  file_->close();
}

}  // namespace flame::io
