#include "flame/io/failing_file_system.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "flame/base/error.h"
#include "flame/io/memory_file_system.h"

namespace flame::io {
namespace {

using ::testing::HasSubstr;

class FailingFileSystemTest : public ::testing::Test {
 protected:
  int error_number(const std::function<void()>& action) {
    try {
      action();
    } catch (const FileError& error) {
      return error.error_number();
    }
    return 0;
  }

  MemoryFileSystem base_;
  FailingFileSystem files_{base_};
};

TEST_F(FailingFileSystemTest, FailsTheOperationItIsToldTo) {
  base_.put("/a", "content");
  files_.set_plan({.fail_operation = 1});
  const auto file = files_.open("/a");  // operation 0
  std::byte byte{};
  EXPECT_EQ(error_number([&] { file->read_at(0, {&byte, 1}); }), EIO);  // operation 1
  EXPECT_EQ(error_number([&] { file->read_at(0, {&byte, 1}); }), 0);    // a passing fault
  EXPECT_EQ(files_.operations(), 3U);
}

TEST_F(FailingFileSystemTest, KeepsFailingWhenTheFaultIsPersistent) {
  files_.set_plan({.fail_operation = 0, .persistent = true});
  EXPECT_EQ(error_number([&] { static_cast<void>(files_.create("/a")); }), EIO);
  EXPECT_EQ(error_number([&] { files_.create_directories("/d"); }), EIO);
  EXPECT_EQ(error_number([&] { files_.rename("/a", "/b"); }), EIO);
  EXPECT_EQ(error_number([&] { files_.sync("/"); }), EIO);
  EXPECT_EQ(error_number([&] { static_cast<void>(files_.list("/")); }), EIO);
  EXPECT_EQ(error_number([&] { static_cast<void>(files_.map("/a")); }), EIO);
  EXPECT_EQ(error_number([&] { static_cast<void>(files_.exchange("/a", "/b")); }), EIO);
  EXPECT_EQ(error_number([&] { static_cast<void>(files_.open_to_append("/a", 0)); }), EIO);
  EXPECT_EQ(error_number([&] { files_.remove("/a"); }), 0);
}

TEST_F(FailingFileSystemTest, AFullDiskTakesWhatStillFits) {
  files_.set_plan({.room_bytes = 5});
  const auto file = files_.create("/a");
  file->append("abc");
  EXPECT_EQ(error_number([&] { file->append("defg"); }), ENOSPC);
  EXPECT_EQ(read_file("/a", base_), "abcde");
  file->write_at(0, std::as_bytes(std::span("A", 1)));  // needs no room
  EXPECT_EQ(read_file("/a", base_), "Abcde");
  file->write_at(0, std::as_bytes(std::span("a", 1)));
  EXPECT_EQ(error_number([&] { file->append("h"); }), ENOSPC);
  EXPECT_EQ(read_file("/a", base_), "abcde");
}

TEST_F(FailingFileSystemTest, AFileCanBeShorterThanItSaid) {
  base_.put("/a", "0123456789");
  files_.set_plan({.readable_bytes = 4});
  const auto file = files_.open("/a");
  EXPECT_EQ(file->size(), 10U);
  std::array<std::byte, 4> part{};
  file->read_at(0, part);
  try {
    file->read_at(2, part);
    FAIL() << "read past the cut";
  } catch (const FileError& error) {
    EXPECT_THAT(error.what(), HasSubstr("short read: wanted 4 bytes at 2, the file ends after 2"));
  }
  EXPECT_EQ(files_.map("/a").bytes().size(), 4U);
}

}  // namespace
}  // namespace flame::io
