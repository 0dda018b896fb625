#include "flame/base/error.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace flame {
namespace {

TEST(Error, FileErrorsSayWhatWhereAndWhy) {
  const FileError error("a/b.txt", "cannot open", ENOENT);
  EXPECT_STREQ(error.what(), "a/b.txt: cannot open: No such file or directory");
  EXPECT_EQ(error.path(), "a/b.txt");
  EXPECT_EQ(error.error_number(), ENOENT);
  EXPECT_STREQ(FileError("a", "short read").what(), "a: short read");
}

TEST(Error, ExitCodesAreOneForAFailedJobAndTwoForWrongUsage) {
  EXPECT_EQ(FileError("a", "b").exit_code(), 1);
  EXPECT_EQ(FormatError("a", "b").exit_code(), 1);
  EXPECT_EQ(ModelError("a").exit_code(), 1);
  EXPECT_EQ(DeviceError("a").exit_code(), 1);
  EXPECT_EQ(UsageError("a").exit_code(), 2);
}

}  // namespace
}  // namespace flame
