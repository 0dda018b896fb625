#include "flame/io/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <thread>

#include "flame/base/checksum.h"
#include "flame/base/error.h"
#include "flame/base/memory_usage.h"
#include "flame/io/memory_file_system.h"
#include "support/test_data.h"

namespace flame::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// The contract of FileSystem, kept by the real one and by the one in memory alike.
class FileSystemContract : public ::testing::TestWithParam<bool> {
 protected:
  FileSystem& files() { return GetParam() ? FileSystem::real() : static_cast<FileSystem&>(in_memory_); }
  std::filesystem::path path(const std::string& name) { return root_ / name; }
  void SetUp() override { files().create_directories(root_); }

  void write(const std::string& name, std::string_view text) {
    const auto file = files().create(path(name));
    file->append(text);
    file->close();
  }
  std::string read(const std::string& name) { return read_file(path(name), files()); }

  template <typename Action>
  FileError error_of(Action&& action) {
    try {
      action();
    } catch (const FileError& error) {
      return error;
    }
    ADD_FAILURE() << "no FileError was thrown";
    return {"", ""};
  }

 private:
  test::TemporaryDirectory directory_;
  MemoryFileSystem in_memory_;
  std::filesystem::path root_ = directory_.path();
};

INSTANTIATE_TEST_SUITE_P(Io, FileSystemContract, ::testing::Bool(),
                         [](const auto& parameter) { return parameter.param ? "Real" : "InMemory"; });

TEST_P(FileSystemContract, WhatIsWrittenIsRead) {
  write("a", "hello");
  EXPECT_EQ(read("a"), "hello");
  EXPECT_EQ(files().open(path("a"))->size(), 5U);
  EXPECT_EQ(files().open(path("a"))->path(), path("a"));
}

TEST_P(FileSystemContract, ReadsAtAnyPosition) {
  write("a", "0123456789");
  const auto file = files().open(path("a"));
  std::string part(3, '\0');
  file->read_at(4, std::as_writable_bytes(std::span(part)));
  EXPECT_EQ(part, "456");
  EXPECT_NO_THROW(file->read_at(10, {}));
}

TEST_P(FileSystemContract, AReadPastTheEndIsAShortReadThatSaysSo) {
  write("a", "0123456789");
  const auto file = files().open(path("a"));
  std::string part(5, '\0');
  EXPECT_THAT(error_of([&] { file->read_at(8, std::as_writable_bytes(std::span(part))); }).what(),
              HasSubstr("short read: wanted 5 bytes at 8, the file ends after 2"));
}

TEST_P(FileSystemContract, BytesAlreadyWrittenCanBeChanged) {
  const auto file = files().create(path("a"));
  file->append("0123456789");
  file->write_at(3, std::as_bytes(std::span("ab", 2)));
  EXPECT_EQ(file->size(), 10U);
  EXPECT_THROW(file->write_at(9, std::as_bytes(std::span("ab", 2))), std::logic_error);
  EXPECT_THROW(file->write_at(11, {}), std::logic_error);
  file->append("!");
  file->sync();
  file->close();
  EXPECT_EQ(read("a"), "012ab56789!");
}

TEST_P(FileSystemContract, GoesOnWhereAnEarlierRunStopped) {
  write("a", "finished torn");
  const auto file = files().open_to_append(path("a"), 9);
  file->append("again");
  file->close();
  EXPECT_EQ(read("a"), "finished again");
  EXPECT_THAT(error_of([&] { files().open_to_append(path("a"), 15); }).what(), HasSubstr("cannot go on after byte 15"));
}

TEST(RealFileSystem, AFileHasOneWriterAtATimeAndASecondTakesNothingFromIt) {
  const test::TemporaryDirectory directory;
  FileSystem& files = FileSystem::real();
  auto first = files.create(directory / "a");
  first->append("kept");
  EXPECT_THROW(static_cast<void>(files.create(directory / "a")), FileError);
  EXPECT_THROW(static_cast<void>(files.open_to_append(directory / "a", 0)), FileError);
  first->append(" whole");
  first.reset();
  EXPECT_EQ(read_file(directory / "a"), "kept whole");
  EXPECT_EQ(files.open_to_append(directory / "a", 4)->size(), 4U);
}

TEST_P(FileSystemContract, MissingFilesAreNamed) {
  const FileError error = error_of([&] { static_cast<void>(files().open(path("absent"))); });
  EXPECT_EQ(error.error_number(), ENOENT);
  EXPECT_THAT(error.what(), HasSubstr((path("absent").string() + ": cannot open: No such file or directory").c_str()));
  EXPECT_EQ(error_of([&] { static_cast<void>(files().map(path("absent"))); }).error_number(), ENOENT);
  EXPECT_EQ(error_of([&] { static_cast<void>(files().create(path("no/such/directory"))); }).error_number(), ENOENT);
  EXPECT_EQ(error_of([&] { files().rename(path("absent"), path("b")); }).error_number(), ENOENT);
  EXPECT_EQ(error_of([&] { static_cast<void>(files().list(path("absent"))); }).error_number(), ENOENT);
  EXPECT_EQ(error_of([&] { files().sync(path("absent")); }).error_number(), ENOENT);
}

TEST_P(FileSystemContract, ADirectoryIsNotAFile) {
  files().create_directories(path("d"));
  EXPECT_EQ(error_of([&] { static_cast<void>(files().open(path("d"))); }).error_number(), EISDIR);
  EXPECT_EQ(error_of([&] { static_cast<void>(files().map(path("d"))); }).error_number(), EISDIR);
  EXPECT_EQ(error_of([&] { static_cast<void>(files().create(path("d"))); }).error_number(), EISDIR);
  EXPECT_TRUE(files().is_directory(path("d")));
  EXPECT_FALSE(files().is_regular(path("d")));
  EXPECT_TRUE(files().exists(path("d")));
  write("f", "");
  EXPECT_TRUE(files().is_regular(path("f")));
  EXPECT_FALSE(files().is_regular(path("absent")));
}

TEST(RealFileSystem, APipeIsRefusedAndNotWaitedFor) {
  const test::TemporaryDirectory directory;
  const std::filesystem::path pipe = directory / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THROW(static_cast<void>(FileSystem::real().open(pipe)), FileError);
  EXPECT_THROW(static_cast<void>(FileSystem::real().map(pipe)), FileError);
}

TEST(RealFileSystem, APipeIsReadAsAWholeUpToTheLimit) {
  const test::TemporaryDirectory directory;
  const std::filesystem::path pipe = directory / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const std::string content(100'000, 'x');  // more than a pipe holds
  std::thread writer([&] { std::ofstream(pipe) << content; });
  EXPECT_EQ(read_file(pipe), content);
  writer.join();
  std::thread second([&] { std::ofstream(pipe) << "12345"; });
  EXPECT_THROW(static_cast<void>(read_file(pipe, FileSystem::real(), 4)), FileError);
  second.join();
}

TEST_P(FileSystemContract, RenamingReplacesAFileButNotAFullDirectory) {
  write("a", "new");
  write("b", "old");
  files().rename(path("a"), path("b"));
  EXPECT_EQ(read("b"), "new");
  EXPECT_FALSE(files().exists(path("a")));

  files().create_directories(path("from"));
  write("from/x", "x");
  files().create_directories(path("empty"));
  files().rename(path("from"), path("empty"));
  EXPECT_EQ(read("empty/x"), "x");
  files().create_directories(path("other"));
  EXPECT_EQ(error_of([&] { files().rename(path("other"), path("empty")); }).error_number(), ENOTEMPTY);
}

TEST_P(FileSystemContract, ExchangingSwapsDirectories) {
  files().create_directories(path("p"));
  files().create_directories(path("q"));
  write("p/x", "p's");
  write("q/x", "q's");
  if (!files().exchange(path("p"), path("q"))) GTEST_SKIP() << "this file system cannot exchange";
  EXPECT_EQ(read("p/x"), "q's");
  EXPECT_EQ(read("q/x"), "p's");
  EXPECT_EQ(error_of([&] { static_cast<void>(files().exchange(path("p"), path("absent"))); }).error_number(), ENOENT);
}

TEST_P(FileSystemContract, RemovingTakesDirectoriesWithTheirContent) {
  files().create_directories(path("d/e"));
  write("d/e/f", "x");
  EXPECT_THAT(files().list(path("d")), ElementsAre("e"));
  files().remove(path("d"));
  EXPECT_FALSE(files().exists(path("d")));
  EXPECT_NO_THROW(files().remove(path("d")));
}

TEST_P(FileSystemContract, ListsNamesInOrder) {
  write("b", "");
  write("a", "");
  files().create_directories(path("c/inside"));
  EXPECT_THAT(files().list(path(".")), ElementsAre("a", "b", "c"));
  files().create_directories(path("none"));
  EXPECT_THAT(files().list(path("none")), IsEmpty());
}

TEST_P(FileSystemContract, MapsWholeFilesEvenEmptyOnes) {
  write("a", "mapped");
  MemoryMap map = files().map(path("a"));
  const auto text = [](const MemoryMap& m) {
    return std::string(reinterpret_cast<const char*>(m.bytes().data()), m.bytes().size());
  };
  EXPECT_EQ(text(map), "mapped");
  for (const Advice advice :
       {Advice::kNormal, Advice::kSequential, Advice::kRandom, Advice::kWillNeed, Advice::kDontNeed}) {
    map.advise(advice);
  }
  const std::byte* const address = map.bytes().data();
  const MemoryMap moved = std::move(map);
  EXPECT_EQ(moved.bytes().data(), address);
  EXPECT_EQ(text(moved), "mapped");
  write("empty", "");
  EXPECT_THAT(files().map(path("empty")).bytes(), IsEmpty());
}

TEST_P(FileSystemContract, ReadFileRefusesMoreThanItsLimit) {
  write("a", "0123456789");
  EXPECT_EQ(read_file(path("a"), files(), 10), "0123456789");
  EXPECT_THAT(error_of([&] { static_cast<void>(read_file(path("a"), files(), 9)); }).what(),
              HasSubstr("has 10 bytes; at most 9 are read"));
}

TEST_P(FileSystemContract, AFilesChecksumIsThatOfItsBytesHoweverManyTheyAre) {
  std::string bytes((std::size_t{2} << 20) + 12345, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>((i * 2654435761U) >> 13);
  write("large", bytes);
  write("empty", "");
  EXPECT_EQ(file_checksum(path("large"), files()), checksum_of(std::as_bytes(std::span(bytes))));
  EXPECT_EQ(file_checksum(path("empty"), files()), checksum_of({}));
  EXPECT_THAT(error_of([&] { static_cast<void>(file_checksum(path("missing"), files())); }).what(),
              HasSubstr("missing"));
}

TEST(RealFileSystem, SaysWhenTheDiskIsFull) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  const auto file = FileSystem::real().create("/dev/full");
  try {
    file->append("x");
    FAIL() << "a full disk took a byte";
  } catch (const FileError& error) {
    EXPECT_EQ(error.error_number(), ENOSPC);
    EXPECT_THAT(error.what(), HasSubstr("/dev/full: cannot write 1 bytes at 0: No space left on device"));
  }
}

TEST(MemoryMap, AMapMovedIntoGivesItsOwnBytesBack) {
  const test::TemporaryDirectory directory;
  for (const char* name : {"a", "b"}) FileSystem::real().create(directory / name)->append(name);
  MemoryMap map = FileSystem::real().map(directory / "a");
  map = FileSystem::real().map(directory / "b");
  EXPECT_EQ(map.bytes().front(), std::byte{'b'});
  map = MemoryMap();
  EXPECT_THAT(map.bytes(), IsEmpty());
}

TEST(MemoryMap, DontNeedTakesPagesOutOfResidentMemory) {
  constexpr std::size_t kBytes = std::size_t{32} << 20;
  constexpr std::uint64_t kSlack = std::uint64_t{8} << 20;
  const test::TemporaryDirectory directory;
  const auto file = FileSystem::real().create(directory / "large");
  file->append(std::vector<std::byte>(kBytes, std::byte{1}));
  file->close();
  const MemoryMap map = FileSystem::real().map(directory / "large");
  const std::uint64_t before = memory_usage().file;
  std::size_t sum = 0;
  for (const std::byte b : map.bytes()) sum += static_cast<std::size_t>(b);
  EXPECT_EQ(sum, kBytes);
  EXPECT_GT(memory_usage().file + kSlack, before + kBytes);
  map.advise(Advice::kDontNeed);
  EXPECT_LT(memory_usage().file, before + kSlack);
  EXPECT_EQ(map.bytes().front(), std::byte{1});  // and they come back
}

}  // namespace
}  // namespace flame::io
