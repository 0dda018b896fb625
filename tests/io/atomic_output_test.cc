#include "flame/io/atomic_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "flame/base/error.h"
#include "flame/io/failing_file_system.h"
#include "flame/io/memory_file_system.h"
#include "support/test_data.h"

namespace flame::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

template <typename Error, typename Action>
std::string message_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

class AtomicOutputTest : public ::testing::Test {
 protected:
  void SetUp() override { files_.create_directories("/out"); }

  MemoryFileSystem files_;
};

TEST_F(AtomicOutputTest, AFileAppearsOnlyWithItsCommit) {
  AtomicFile output("/out/f", Existing::kReplace, files_);
  output.file().append("content");
  EXPECT_FALSE(files_.exists("/out/f"));
  output.commit();
  EXPECT_EQ(read_file("/out/f", files_), "content");
  EXPECT_THAT(files_.list("/out"), ElementsAre("f"));
}

TEST_F(AtomicOutputTest, WhatCannotBecomeAFileIsRefusedBeforeAnythingIsDone) {
  EXPECT_THAT(message_of<UsageError>([] { require_file_target("-"); }), HasSubstr("standard output"));
  EXPECT_THAT(message_of<UsageError>([] { require_file_target("/dev/full"); }), HasSubstr("not a regular file"));
  EXPECT_THAT(message_of<UsageError>([&] { require_file_target("/out", files_); }), HasSubstr("is a directory"));
  EXPECT_THAT(message_of<UsageError>([&] { AtomicDirectory("-", Existing::kRefuse, files_); }),
              HasSubstr("standard output"));
  EXPECT_NO_THROW(require_file_target("/out/new", files_));
}

TEST_F(AtomicOutputTest, OneFileIsNotWrittenTwice) {
  EXPECT_THAT(message_of<UsageError>([&] {
                require_not_written("./out", {"other", "out"});
              }),
              HasSubstr("is what is written here already"));
  EXPECT_NO_THROW(require_not_written("out", {"other", "out.json"}));
}

TEST_F(AtomicOutputTest, WhatIsReadIsNotWritten) {
  const test::TemporaryDirectory directory;
  const std::filesystem::path model = directory / "model";
  std::filesystem::create_directories(model);
  std::ofstream(model / "weights") << "w";
  std::ofstream(directory / "trace") << "t";
  std::filesystem::create_symlink(directory / "trace", directory / "link");
  const std::vector<std::filesystem::path> sources{"", "-", model / "", directory / "trace"};
  for (const char* name : {"trace", "link", "./trace", "model/../trace"}) {
    EXPECT_THAT(message_of<UsageError>([&] { require_not_read(directory / name, sources); }),
                HasSubstr("is what is read here"));
  }
  for (const char* name : {"model/weights", "model/new", "model/sub/new"}) {
    EXPECT_THAT(message_of<UsageError>([&] { require_not_read(directory / name, sources); }),
                HasSubstr("which is read here"));
  }
  for (const char* name : {"new", "model2", "model.trace", "sub/trace"}) {
    EXPECT_NO_THROW(require_not_read(directory / name, sources)) << name;
  }
}

TEST_F(AtomicOutputTest, ADirectoryWithMoreThanItsRecordNamesIsLeftAlone) {
  files_.put("/out/d/record", "");
  files_.put("/out/d/ours", "");
  EXPECT_NO_THROW(require_only_files("/out/d", {"record", "ours"}, "record", files_));
  EXPECT_THAT(message_of<UsageError>([&] { require_only_files("/out/d", {"record"}, "record", files_); }),
              HasSubstr("/out/d/ours: record does not name it"));
  files_.put("/out/d/photos/a", "");
  EXPECT_THAT(message_of<UsageError>([&] {
                require_only_files("/out/d", {"record", "ours", "photos"}, "record", files_);
              }),
              HasSubstr("/out/d/photos"));
}

TEST_F(AtomicOutputTest, LinksAreFollowed) {
  const test::TemporaryDirectory directory;
  std::ofstream(directory / "file") << "old";
  std::filesystem::create_directories(directory / "real");
  std::ofstream(directory / "real" / "old") << "old";
  std::filesystem::create_symlink("file", directory / "file_link");
  std::filesystem::create_directory_symlink("real", directory / "link");
  AtomicFile file(directory / "file_link");
  file.file().append("new");
  file.commit();
  AtomicDirectory output(directory / "link" / "", Existing::kReplace);
  FileSystem::real().create(output.path() / "new")->append("new");
  output.commit();
  EXPECT_TRUE(std::filesystem::is_symlink(directory / "file_link"));
  EXPECT_EQ(read_file(directory / "file"), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(directory / "link"));
  EXPECT_THAT(FileSystem::real().list(directory / "real"), ElementsAre("new"));
}

TEST_F(AtomicOutputTest, AnAbandonedFileLeavesNothingAndTheOldOneAlone) {
  files_.put("/out/f", "old");
  {
    AtomicFile output("/out/f", Existing::kReplace, files_);
    output.file().append("half");
  }
  EXPECT_EQ(read_file("/out/f", files_), "old");
  EXPECT_THAT(files_.list("/out"), ElementsAre("f"));
}

TEST_F(AtomicOutputTest, AFileIsReplacedOnlyWhereThatIsAllowed) {
  files_.put("/out/f", "old");
  EXPECT_EQ(message_of<UsageError>([&] { AtomicFile("/out/f", Existing::kRefuse, files_); }),
            "/out/f: is there already; remove it or name another file");
  AtomicFile output("/out/f", Existing::kReplace, files_);
  output.file().append("new");
  output.commit();
  EXPECT_EQ(read_file("/out/f", files_), "new");
}

TEST_F(AtomicOutputTest, ADirectoryIsNotReplacedByAFileNorAFileByADirectory) {
  files_.put("/out/f", "");
  EXPECT_EQ(message_of<UsageError>([&] { AtomicFile("/out", Existing::kReplace, files_); }),
            "/out: is a directory; name a file to write");
  EXPECT_EQ(message_of<UsageError>([&] { AtomicDirectory("/out/f", Existing::kReplace, files_); }),
            "/out/f: is a file; name a directory to write");
}

TEST_F(AtomicOutputTest, ADeviceIsNotReplacedByAFile) {
  EXPECT_EQ(message_of<UsageError>([] { AtomicFile("/dev/null"); }),
            "/dev/null: is not a regular file; name one to write");
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST_F(AtomicOutputTest, MissingParentDirectoriesAreMade) {
  AtomicFile file("/out/a/b/f", Existing::kRefuse, files_);
  file.commit();
  AtomicDirectory directory("/out/c/d/", Existing::kRefuse, files_);
  directory.commit();
  EXPECT_TRUE(files_.exists("/out/a/b/f"));
  EXPECT_TRUE(files_.is_directory("/out/c/d"));
}

TEST_F(AtomicOutputTest, ADirectoryAppearsWholeOrNotAtAll) {
  {
    AtomicDirectory output("/out/d", Existing::kRefuse, files_);
    files_.create(output.path() / "a")->append("1");
  }
  EXPECT_THAT(files_.list("/out"), IsEmpty());
  AtomicDirectory output("/out/d", Existing::kRefuse, files_);
  files_.create(output.path() / "a")->append("1");
  files_.create_directories(output.path() / "sub");
  files_.create(output.path() / "sub" / "b")->append("2");
  EXPECT_FALSE(files_.exists("/out/d"));
  output.commit();
  EXPECT_EQ(read_file("/out/d/sub/b", files_), "2");
  EXPECT_THAT(files_.list("/out"), ElementsAre("d"));
}

TEST_F(AtomicOutputTest, ADirectoryWithEntriesIsReplacedOnlyWhereThatIsAllowed) {
  files_.put("/out/d/old", "old");
  EXPECT_EQ(message_of<UsageError>([&] { AtomicDirectory("/out/d", Existing::kRefuse, files_); }),
            "/out/d: is there already and not empty; name another directory, or remove it or replace it where the "
            "command has --replace");
  AtomicDirectory output("/out/d", Existing::kReplace, files_);
  files_.create(output.path() / "new")->append("new");
  output.commit();
  EXPECT_THAT(files_.list("/out/d"), ElementsAre("new"));
  EXPECT_THAT(files_.list("/out"), ElementsAre("d"));
}

TEST_F(AtomicOutputTest, AnEmptyDirectoryIsNotInTheWay) {
  files_.create_directories("/out/d");
  AtomicDirectory output("/out/d", Existing::kRefuse, files_);
  files_.create(output.path() / "a")->append("1");
  output.commit();
  EXPECT_THAT(files_.list("/out/d"), ElementsAre("a"));
}

TEST_F(AtomicOutputTest, OfTwoWritersOfOneNewDirectoryTheLaterOneFails) {
  {
    AtomicDirectory output("/out/d", Existing::kRefuse, files_);
    files_.put(output.path() / "ours", "2");
    files_.put("/out/d/theirs", "1");
    EXPECT_EQ(message_of<UsageError>([&] { output.commit(); }),
              "/out/d: is there already and not empty; name another directory, or remove it or replace it where the "
              "command has --replace");
  }
  EXPECT_THAT(files_.list("/out/d"), ElementsAre("theirs"));
  EXPECT_THAT(files_.list("/out"), ElementsAre("d"));
}

TEST_F(AtomicOutputTest, HalvesThatKilledRunsLeftAreRemovedByTheNextRunOfTheSameTarget) {
  const std::string running = std::to_string(getppid());
  files_.put("/out/d.partial-999999999/half", "");
  files_.put("/out/d.partial-" + running + "/half", "");
  files_.put("/out/d.partial-notes", "");
  files_.put("/out/d.replaced-999999999/old", "");
  files_.put("/out/other.partial-999999999/half", "");
  files_.put("/out/f.partial-999999999", "");
  AtomicFile("/out/f", Existing::kRefuse, files_).commit();
  AtomicDirectory("/out/d", Existing::kRefuse, files_).commit();
  EXPECT_THAT(files_.list("/out"), ElementsAre("d", "d.partial-" + running, "d.partial-notes", "d.replaced-999999999",
                                               "f", "other.partial-999999999"));
}

/// A file system that cannot exchange, as some network file systems.
class WithoutExchange : public FailingFileSystem {
 public:
  using FailingFileSystem::FailingFileSystem;
  [[nodiscard]] bool exchange(const std::filesystem::path& /*a*/, const std::filesystem::path& /*b*/) override {
    return false;
  }
};

TEST_F(AtomicOutputTest, ADirectoryIsReplacedWithoutExchangeToo) {
  files_.put("/out/d/old", "old");
  WithoutExchange plain(files_);
  AtomicDirectory output("/out/d", Existing::kReplace, plain);
  files_.create(output.path() / "new")->append("new");
  output.commit();
  EXPECT_THAT(files_.list("/out/d"), ElementsAre("new"));
  EXPECT_THAT(files_.list("/out"), ElementsAre("d"));
}

/// Breaks each step of writing and committing in turn: the target must be as before or complete, and nothing else be
/// left.
template <typename FileSystemWithFaults>
void break_every_step(bool persistent) {
  for (std::uint64_t step = 0;; ++step) {
    MemoryFileSystem base;
    base.put("/out/d/old", "old");
    base.put("/out/f", "old");
    FileSystemWithFaults files(base);
    files.set_plan({.fail_operation = step, .persistent = persistent});
    bool failed = false;
    try {
      AtomicFile file("/out/f", Existing::kReplace, files);
      file.file().append("new");
      file.commit();
      AtomicDirectory directory("/out/d", Existing::kReplace, files);
      const auto inside = files.create(directory.path() / "new");
      inside->append("new");
      inside->close();
      directory.commit();
    } catch (const FileError&) {
      failed = true;
    }
    const std::string file = read_file("/out/f", base);
    EXPECT_TRUE(file == "old" || file == "new") << "step " << step << ": " << file;
    EXPECT_THAT(base.list("/out"), ElementsAre("d", "f")) << "step " << step;
    const auto entries = base.list("/out/d");
    EXPECT_TRUE(entries == std::vector<std::string>{"old"} || entries == std::vector<std::string>{"new"})
        << "step " << step;
    if (!failed) {
      EXPECT_GT(step, 10U);  // otherwise nothing was broken
      return;
    }
  }
}

TEST(AtomicOutputFaults, APassingFaultLosesNothing) { break_every_step<FailingFileSystem>(false); }
TEST(AtomicOutputFaults, ABrokenDiskLosesNothing) { break_every_step<FailingFileSystem>(true); }
TEST(AtomicOutputFaults, APassingFaultLosesNothingWithoutExchange) { break_every_step<WithoutExchange>(false); }

TEST(AtomicOutputFaults, AFullDiskLeavesNothingBehind) {
  MemoryFileSystem base;
  base.create_directories("/out");
  FailingFileSystem files(base, {.room_bytes = 3});
  EXPECT_THAT(message_of<FileError>([&] {
                AtomicFile output("/out/f", Existing::kReplace, files);
                output.file().append("too much");
                output.commit();
              }),
              HasSubstr("No space left on device"));
  EXPECT_THAT(base.list("/out"), IsEmpty());
}

TEST(AbandonedOutputs, NamesWhatCrashedRunsLeftAndNotWhatRunningOnesWrite) {
  MemoryFileSystem files;
  const std::string running = std::to_string(getpid());
  files.put("/out/model.partial-999999999", "");
  files.put("/out/model.replaced-999999999/x", "");
  files.put("/out/model.partial-" + running, "");
  files.put("/out/model.partial-notes", "");
  files.put("/out/other.partial-999999999", "");
  EXPECT_THAT(abandoned_outputs("/out/model/", files),
              ElementsAre("/out/model.partial-999999999", "/out/model.replaced-999999999"));
  EXPECT_THAT(abandoned_outputs("/absent/model", files), IsEmpty());
}

TEST(AtomicOutputOnDisk, FilesAndDirectoriesAreReplaced) {
  const test::TemporaryDirectory directory;
  for (const std::string_view content : {"first", "second"}) {
    AtomicFile file(directory / "f");
    file.file().append(content);
    file.commit();
    EXPECT_EQ(read_file(directory / "f"), content);
    AtomicDirectory output(directory / "d", Existing::kReplace);
    const auto inside = FileSystem::real().create(output.path() / "x");
    inside->append(content);
    inside->close();
    output.commit();
    EXPECT_EQ(read_file(directory / "d" / "x"), content);
  }
  EXPECT_THAT(FileSystem::real().list(directory.path()), ElementsAre("d", "f"));
}

}  // namespace
}  // namespace flame::io
