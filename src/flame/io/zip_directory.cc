#include "flame/io/zip_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "flame/base/error.h"

namespace flame::io {
namespace {

// Records of APPNOTE.TXT 6.3.9 (PKWARE): their signatures and fixed lengths.
constexpr std::uint32_t kLocalSignature = 0x04034b50;
constexpr std::uint64_t kLocalLength = 30;
constexpr std::uint32_t kCentralSignature = 0x02014b50;
constexpr std::uint64_t kCentralLength = 46;
constexpr std::uint32_t kEndSignature = 0x06054b50;
constexpr std::uint64_t kEndLength = 22;
constexpr std::uint32_t kEnd64LocatorSignature = 0x07064b50;
constexpr std::uint64_t kEnd64LocatorLength = 20;
constexpr std::uint32_t kEnd64Signature = 0x06064b50;
constexpr std::uint64_t kEnd64Length = 56;
constexpr std::uint16_t kZip64Extra = 0x0001;
constexpr std::uint64_t kLongestComment = 0xffff;
constexpr std::uint16_t kEncrypted = 1;  // bit 0 of the flags
constexpr std::uint16_t kStored = 0;

/// Little-endian numbers at checked positions.
class Bytes {
 public:
  Bytes(std::span<const std::byte> bytes, const std::filesystem::path& source) : bytes_(bytes), source_(source) {}

  [[nodiscard]] std::uint64_t size() const { return bytes_.size(); }
  [[nodiscard]] std::span<const std::byte> part(std::uint64_t offset, std::uint64_t length,
                                                std::string_view what) const {
    if (offset > bytes_.size() || length > bytes_.size() - offset) {
      fail(fmt::format("{}: {} bytes at {} lie outside of the file's {}", what, length, offset, bytes_.size()));
    }
    return bytes_.subspan(offset, length);
  }
  template <typename Number>
  [[nodiscard]] Number number(std::uint64_t offset, std::string_view what) const {
    const auto raw = part(offset, sizeof(Number), what);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(Number); ++i) value |= static_cast<std::uint64_t>(raw[i]) << (8 * i);
    return static_cast<Number>(value);
  }
  [[nodiscard]] std::string text(std::uint64_t offset, std::uint64_t length, std::string_view what) const {
    const auto raw = part(offset, length, what);
    return {reinterpret_cast<const char*>(raw.data()), raw.size()};
  }
  [[noreturn]] void fail(const std::string& what) const { throw FormatError(source_, "zip archive: " + what); }

 private:
  std::span<const std::byte> bytes_;
  const std::filesystem::path& source_;
};

struct CentralDirectory {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t entries = 0;
};

std::uint64_t find_end_record(const Bytes& file) {
  if (file.size() >= kEndLength) {
    const std::uint64_t last = file.size() - kEndLength;
    const std::uint64_t first = last > kLongestComment ? last - kLongestComment : 0;
    for (std::uint64_t offset = last + 1; offset-- > first;) {
      if (file.number<std::uint32_t>(offset, "end record") == kEndSignature &&
          file.number<std::uint16_t>(offset + 20, "comment length") == last - offset) {
        return offset;
      }
    }
  }
  file.fail("no end record; the file is cut off, or is not a zip archive");
}

CentralDirectory find_central_directory(const Bytes& file) {
  const std::uint64_t end = find_end_record(file);
  CentralDirectory directory{file.number<std::uint32_t>(end + 16, "end record"),
                             file.number<std::uint32_t>(end + 12, "end record"),
                             file.number<std::uint16_t>(end + 10, "end record")};
  std::uint64_t limit = end;
  if (end >= kEnd64LocatorLength &&
      file.number<std::uint32_t>(end - kEnd64LocatorLength, "zip64 locator") == kEnd64LocatorSignature) {
    const auto end64 = file.number<std::uint64_t>(end - kEnd64LocatorLength + 8, "zip64 locator");
    if (end64 > end - kEnd64LocatorLength || end - kEnd64LocatorLength - end64 < kEnd64Length ||
        file.number<std::uint32_t>(end64, "zip64 end record") != kEnd64Signature) {
      file.fail(fmt::format("no zip64 end record at {}", end64));
    }
    directory = {file.number<std::uint64_t>(end64 + 48, "zip64 end record"),
                 file.number<std::uint64_t>(end64 + 40, "zip64 end record"),
                 file.number<std::uint64_t>(end64 + 32, "zip64 end record")};
    limit = end64;
  } else if (file.number<std::uint16_t>(end + 4, "end record") != 0) {
    file.fail("it spans several volumes");
  }
  if (directory.offset > limit || directory.bytes > limit - directory.offset) {
    file.fail(fmt::format("its directory of {} bytes at {} does not lie before the end record at {}", directory.bytes,
                          directory.offset, limit));
  }
  return directory;
}

struct Entry {
  std::string name;
  std::uint64_t stored_bytes = 0;
  std::uint64_t original_bytes = 0;
  std::uint64_t local_offset = 0;
};

/// Fields of 32 bits that are all ones stand in the zip64 extra field, in this order, each only if needed.
void read_zip64_extra(const Bytes& file, std::uint64_t offset, std::uint64_t length, Entry& entry) {
  const std::uint64_t end = offset + length;
  while (end - offset >= 4) {
    const auto id = file.number<std::uint16_t>(offset, "extra field");
    const auto size = file.number<std::uint16_t>(offset + 2, "extra field");
    offset += 4;
    if (size > end - offset) file.fail(fmt::format("the extra field of \"{}\" is cut off", entry.name));
    if (id == kZip64Extra) {
      std::uint64_t position = offset;
      for (std::uint64_t* field : {&entry.original_bytes, &entry.stored_bytes, &entry.local_offset}) {
        if (*field != 0xffffffffU) continue;
        if (offset + size - position < 8) file.fail(fmt::format("the zip64 field of \"{}\" is cut off", entry.name));
        *field = file.number<std::uint64_t>(position, "zip64 field");
        position += 8;
      }
    }
    offset += size;
  }
}

/// Reads the directory entry at `offset`, which moves behind it.
Entry read_entry(const Bytes& file, std::uint64_t& offset, std::uint64_t end) {
  if (end - offset < kCentralLength || file.number<std::uint32_t>(offset, "directory") != kCentralSignature) {
    file.fail(fmt::format("no directory entry at {}", offset));
  }
  const auto flags = file.number<std::uint16_t>(offset + 8, "directory");
  const auto method = file.number<std::uint16_t>(offset + 10, "directory");
  const auto name_length = file.number<std::uint16_t>(offset + 28, "directory");
  const auto extra_length = file.number<std::uint16_t>(offset + 30, "directory");
  const auto comment_length = file.number<std::uint16_t>(offset + 32, "directory");
  const std::uint64_t variable = std::uint64_t{name_length} + extra_length + comment_length;
  if (variable > end - offset - kCentralLength) file.fail(fmt::format("the directory entry at {} is cut off", offset));

  Entry entry;
  entry.name = file.text(offset + kCentralLength, name_length, "directory");
  entry.stored_bytes = file.number<std::uint32_t>(offset + 20, "directory");
  entry.original_bytes = file.number<std::uint32_t>(offset + 24, "directory");
  entry.local_offset = file.number<std::uint32_t>(offset + 42, "directory");
  read_zip64_extra(file, offset + kCentralLength + name_length, extra_length, entry);
  if ((flags & kEncrypted) != 0) file.fail(fmt::format("\"{}\" is encrypted", entry.name));
  if (method != kStored || entry.stored_bytes != entry.original_bytes) {
    file.fail(
        fmt::format("\"{}\" is compressed (method {}); PyTorch stores its entries as they are", entry.name, method));
  }
  offset += kCentralLength + variable;
  return entry;
}

}  // namespace

std::map<std::string, std::span<const std::byte>> read_zip_directory(std::span<const std::byte> archive,
                                                                     const std::filesystem::path& source) {
  const Bytes file(archive, source);
  const CentralDirectory directory = find_central_directory(file);
  const std::uint64_t end = directory.offset + directory.bytes;

  std::map<std::string, std::span<const std::byte>> entries;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> extents;  // [begin, end) of header and data
  std::uint64_t offset = directory.offset;
  std::uint64_t count = 0;
  for (; offset < end; ++count) {
    const Entry entry = read_entry(file, offset, end);
    const std::string what = fmt::format("\"{}\"", entry.name);
    if (file.number<std::uint32_t>(entry.local_offset, what) != kLocalSignature) {
      file.fail(fmt::format("{}: no local header at {}", what, entry.local_offset));
    }
    // entry.local_offset + kLocalLength cannot overflow: the header's last fields are read, and so checked, first.
    const auto extra_length = file.number<std::uint16_t>(entry.local_offset + 28, what);
    const auto name_length = file.number<std::uint16_t>(entry.local_offset + 26, what);
    if (file.text(entry.local_offset + kLocalLength, name_length, what) != entry.name) {
      file.fail(fmt::format("{}: its local header has another name", what));
    }
    const std::uint64_t data = entry.local_offset + kLocalLength + name_length + extra_length;
    const auto bytes = file.part(data, entry.stored_bytes, what);
    extents.emplace_back(entry.local_offset, data + entry.stored_bytes);
    if (!entries.emplace(entry.name, bytes).second) file.fail(fmt::format("{} is there twice", what));
  }
  if (count != directory.entries) {
    file.fail(fmt::format("its directory has {} entries, its end record says {}", count, directory.entries));
  }
  std::sort(extents.begin(), extents.end());
  extents.emplace_back(directory.offset, end);
  for (std::size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].first < extents[i - 1].second) file.fail(fmt::format("entries overlap at {}", extents[i].first));
  }
  return entries;
}

}  // namespace flame::io
