#include "flame/io/zip_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flame/base/error.h"
#include "flame/io/file.h"
#include "support/test_data.h"

namespace flame::io {
namespace {

using ::testing::HasSubstr;

/// Builds zip archives, each field of which a test may set wrongly.
struct ZipBuilder {
  struct Entry {
    std::string name;
    std::string content;
    std::uint16_t flags = 0;
    std::uint16_t method = 0;
    bool zip64 = false;            // sizes and offset in the extra field
    std::int64_t size_change = 0;  // what the directory says beside the truth
    std::int64_t offset_change = 0;
    std::string local_name = {};  // when it is to differ
    std::uint32_t local_signature = 0x04034b50;
    std::string extra = {};  // of the directory entry, instead of the right one
  };
  std::vector<Entry> entries;
  int count_change = 0;
  std::int64_t directory_offset_change = 0;
  std::int64_t directory_size_change = 0;
  std::uint16_t disk = 0;
  bool zip64_end = false;
  std::int64_t end64_offset_change = 0;
  std::string comment = {};

  template <typename Number>
  static void put(std::string& out, Number value) {
    for (std::size_t i = 0; i < sizeof(Number); ++i)
      out += static_cast<char>((static_cast<std::uint64_t>(value) >> (8 * i)) & 0xff);
  }

  [[nodiscard]] std::string build() const {
    std::string out;
    std::string directory;
    for (const Entry& entry : entries) {
      const auto offset = static_cast<std::uint64_t>(static_cast<std::int64_t>(out.size()) + entry.offset_change);
      const auto size = static_cast<std::uint64_t>(static_cast<std::int64_t>(entry.content.size()) + entry.size_change);
      const std::string& local_name = entry.local_name.empty() ? entry.name : entry.local_name;
      put<std::uint32_t>(out, entry.local_signature);
      out.append(22, '\0');
      put<std::uint16_t>(out, static_cast<std::uint16_t>(local_name.size()));
      put<std::uint16_t>(out, 4);
      out += local_name + "\x46\x42" + std::string(2, '\0') + entry.content;

      std::string extra = entry.extra;
      if (entry.zip64) {
        put<std::uint16_t>(extra, 1);
        put<std::uint16_t>(extra, 24);
        put<std::uint64_t>(extra, size);
        put<std::uint64_t>(extra, size);
        put<std::uint64_t>(extra, offset);
      }
      put<std::uint32_t>(directory, 0x02014b50);
      put<std::uint32_t>(directory, 0);
      put<std::uint16_t>(directory, entry.flags);
      put<std::uint16_t>(directory, entry.method);
      directory.append(8, '\0');
      const std::uint64_t ones = 0xffffffffU;
      put<std::uint32_t>(directory, static_cast<std::uint32_t>(entry.zip64 ? ones : size));
      put<std::uint32_t>(directory, static_cast<std::uint32_t>(entry.zip64 ? ones : size));
      put<std::uint16_t>(directory, static_cast<std::uint16_t>(entry.name.size()));
      put<std::uint16_t>(directory, static_cast<std::uint16_t>(extra.size()));
      directory.append(10, '\0');
      put<std::uint32_t>(directory, static_cast<std::uint32_t>(entry.zip64 ? ones : offset));
      directory += entry.name + extra;
    }
    const auto at = static_cast<std::uint64_t>(static_cast<std::int64_t>(out.size()) + directory_offset_change);
    const auto bytes = static_cast<std::uint64_t>(static_cast<std::int64_t>(directory.size()) + directory_size_change);
    const auto count = static_cast<std::uint64_t>(static_cast<int>(entries.size()) + count_change);
    out += directory;
    if (zip64_end) {
      const auto end64 = static_cast<std::uint64_t>(static_cast<std::int64_t>(out.size()) + end64_offset_change);
      put<std::uint32_t>(out, 0x06064b50);
      put<std::uint64_t>(out, 44);
      out.append(12, '\0');
      for (const std::uint64_t value : {count, count, bytes, at}) put<std::uint64_t>(out, value);
      put<std::uint32_t>(out, 0x07064b50);
      put<std::uint32_t>(out, 0);
      put<std::uint64_t>(out, end64);
      put<std::uint32_t>(out, 1);
    }
    put<std::uint32_t>(out, 0x06054b50);
    put<std::uint16_t>(out, disk);
    put<std::uint16_t>(out, 0);
    for (int i = 0; i < 2; ++i) put<std::uint16_t>(out, static_cast<std::uint16_t>(zip64_end ? 0xffff : count));
    put<std::uint32_t>(out, static_cast<std::uint32_t>(zip64_end ? 0xffffffffU : bytes));
    put<std::uint32_t>(out, static_cast<std::uint32_t>(zip64_end ? 0xffffffffU : at));
    put<std::uint16_t>(out, static_cast<std::uint16_t>(comment.size()));
    return out + comment;
  }
};

ZipBuilder two_files() {
  return {.entries = {{.name = "a/one", .content = "first"}, {.name = "a/two", .content = "second!"}}};
}

std::map<std::string, std::string> read(const std::string& archive) {
  std::map<std::string, std::string> contents;
  for (const auto& [name, bytes] : read_zip_directory(std::as_bytes(std::span(archive)), "m.bin")) {
    contents[name] = std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return contents;
}

std::string refusal(const ZipBuilder& builder) {
  try {
    static_cast<void>(read(builder.build()));
  } catch (const FormatError& error) {
    return error.what();
  }
  ADD_FAILURE() << "the archive was accepted";
  return {};
}

const std::map<std::string, std::string> kTwoContents = {{"a/one", "first"}, {"a/two", "second!"}};

TEST(ZipDirectory, FindsStoredFiles) { EXPECT_EQ(read(two_files().build()), kTwoContents); }

TEST(ZipDirectory, UnderstandsZip64AndComments) {
  ZipBuilder zip = two_files();
  zip.zip64_end = true;
  EXPECT_EQ(read(zip.build()), kTwoContents);
  zip.entries[0].zip64 = true;
  zip.entries[1].zip64 = true;
  zip.comment = "made by a test";
  EXPECT_EQ(read(zip.build()), kTwoContents);
  EXPECT_TRUE(read(ZipBuilder{}.build()).empty());
}

TEST(ZipDirectory, ReadsWhatPyTorchWrites) {
  const std::string archive = read_file(test::data_path("io/views.bin"));
  const auto contents = read(archive);
  EXPECT_EQ(contents.at("views/byteorder"), "little");
  EXPECT_EQ(contents.at("views/data/0").size(), 80U);
}

// One broken archive per field.

TEST(ZipDirectory, RefusesAFileWithoutEndRecord) {
  EXPECT_THROW(static_cast<void>(read("")), FormatError);
  EXPECT_THROW(static_cast<void>(read(std::string(1000, 'x'))), FormatError);
}

TEST(ZipDirectory, RefusesEveryCutOfAnArchive) {
  ZipBuilder zip = two_files();
  zip.zip64_end = true;
  const std::string whole = zip.build();
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_THROW(static_cast<void>(read(whole.substr(0, length))), FormatError) << length;
  }
}

TEST(ZipDirectory, RefusesADirectoryOutsideOfTheFile) {
  ZipBuilder zip = two_files();
  zip.directory_offset_change = 100;
  EXPECT_THAT(refusal(zip), HasSubstr("does not lie before the end record"));
  zip.zip64_end = true;
  zip.directory_offset_change = -1000;  // wraps to near 2^64
  EXPECT_THAT(refusal(zip), HasSubstr("does not lie before the end record"));
  zip.directory_offset_change = 0;
  zip.end64_offset_change = 1000;
  EXPECT_THAT(refusal(zip), HasSubstr("no zip64 end record at"));
}

TEST(ZipDirectory, RefusesADirectoryOfTheWrongLengthOrCount) {
  ZipBuilder zip = two_files();
  zip.directory_size_change = -3;
  EXPECT_THAT(refusal(zip), HasSubstr("is cut off"));
  zip.directory_size_change = -51;  // one whole entry
  EXPECT_THAT(refusal(zip), HasSubstr("its directory has 1 entries, its end record says 2"));
  zip = two_files();
  zip.count_change = 1;
  EXPECT_THAT(refusal(zip), HasSubstr("its directory has 2 entries, its end record says 3"));
}

TEST(ZipDirectory, RefusesSeveralVolumes) {
  ZipBuilder zip = two_files();
  zip.disk = 1;
  EXPECT_THAT(refusal(zip), HasSubstr("several volumes"));
}

TEST(ZipDirectory, RefusesCompressedAndEncryptedEntriesByName) {
  ZipBuilder zip = two_files();
  zip.entries[1].method = 8;
  EXPECT_THAT(refusal(zip), HasSubstr("\"a/two\" is compressed (method 8)"));
  zip.entries[1].method = 0;
  zip.entries[1].flags = 1;
  EXPECT_THAT(refusal(zip), HasSubstr("\"a/two\" is encrypted"));
}

TEST(ZipDirectory, RefusesEntriesOutsideOfTheFile) {
  ZipBuilder zip = two_files();
  zip.entries[1].offset_change = 4000;
  EXPECT_THAT(refusal(zip), HasSubstr("\"a/two\""));
  zip.entries[1].offset_change = -40;
  EXPECT_THAT(refusal(zip), HasSubstr("\"a/two\": no local header at 4"));
  zip = two_files();
  zip.entries[1].size_change = 4000;
  EXPECT_THAT(refusal(zip), HasSubstr("lie outside of the file's"));
  zip.entries[1].zip64 = true;
  zip.entries[1].size_change = -100;  // wraps
  EXPECT_THAT(refusal(zip), HasSubstr("lie outside of the file's"));
}

TEST(ZipDirectory, RefusesEntriesThatOverlapOrAreThereTwice) {
  ZipBuilder zip = two_files();
  zip.entries[0].size_change = 10;
  EXPECT_THAT(refusal(zip), HasSubstr("entries overlap"));
  zip = two_files();
  zip.entries[1].size_change = 10;  // into the directory
  EXPECT_THAT(refusal(zip), HasSubstr("entries overlap"));
  zip = two_files();
  zip.entries[1].name = "a/one";
  EXPECT_THAT(refusal(zip), HasSubstr("\"a/one\" is there twice"));
}

TEST(ZipDirectory, RefusesLocalHeadersThatDisagree) {
  ZipBuilder zip = two_files();
  zip.entries[0].local_name = "a/xxx";
  EXPECT_THAT(refusal(zip), HasSubstr("\"a/one\": its local header has another name"));
  zip = two_files();
  zip.entries[0].local_signature = 0x12345678;
  EXPECT_THAT(refusal(zip), HasSubstr("\"a/one\": no local header at 0"));
}

TEST(ZipDirectory, RefusesExtraFieldsThatAreCutOff) {
  ZipBuilder zip = two_files();
  zip.entries[0].extra = std::string("\x01\x00\xff\x00", 4);
  EXPECT_THAT(refusal(zip), HasSubstr("the extra field of \"a/one\" is cut off"));
}

}  // namespace
}  // namespace flame::io
