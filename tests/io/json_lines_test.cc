#include "flame/io/json_lines.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/io/failing_file_system.h"
#include "flame/io/memory_file_system.h"
#include "support/test_data.h"

namespace flame::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class JsonLinesTest : public ::testing::Test {
 protected:
  /// Texts of the field "t" of every good line.
  std::vector<std::string> texts_of(const std::string& content, JsonLinesOptions options = {}) {
    files_.put("/in.jsonl", content);
    options.on_bad_line = [this](const std::string& message) { complaints_.push_back(message); };
    JsonLinesReader reader("/in.jsonl", std::move(options), files_);
    std::vector<std::string> texts;
    while (const auto text = reader.next_text("t")) {
      texts.push_back(*text);
      lines_.push_back(reader.line());
    }
    bad_lines_ = reader.bad_lines();
    return texts;
  }

  MemoryFileSystem files_;
  std::vector<std::string> complaints_;
  std::vector<std::uint64_t> lines_;
  std::uint64_t bad_lines_ = 0;
};

TEST_F(JsonLinesTest, ReadsEachLineWithItsNumber) {
  EXPECT_THAT(texts_of("{\"t\": \"a\"}\n{\"t\": \"b\", \"u\": 1}\n"), ElementsAre("a", "b"));
  EXPECT_THAT(lines_, ElementsAre(1, 2));
}

TEST_F(JsonLinesTest, AcceptsWindowsLineEndsAMarkEmptyLinesAndAMissingLastLineEnd) {
  EXPECT_THAT(texts_of("\xef\xbb\xbf{\"t\": \"a\"}\r\n\r\n  \n{\"t\": \"b\"}"), ElementsAre("a", "b"));
  EXPECT_THAT(lines_, ElementsAre(1, 4));
  EXPECT_THAT(complaints_, IsEmpty());
  EXPECT_THAT(texts_of(""), IsEmpty());
}

TEST_F(JsonLinesTest, ReportsBadLinesByNumberAndGoesOn) {
  EXPECT_THAT(
      texts_of("{\"t\": \"a\"}\n{\"t\": }\n[1]\n{\"t\": 5}\n{\"u\": \"x\"}\n{\"t\": \"\xff\"}\n{\"t\": \"z\"}\n"),
      ElementsAre("a", "z"));
  EXPECT_EQ(bad_lines_, 5U);
  EXPECT_THAT(
      complaints_,
      ElementsAre(HasSubstr("/in.jsonl: line 2: invalid JSON at line 1, column 7"),
                  "/in.jsonl: line 3: expected a JSON object", "/in.jsonl: line 4: the field \"t\" is not a text",
                  "/in.jsonl: line 5: has no field \"t\"", HasSubstr("/in.jsonl: line 6: invalid UTF-8")));
}

TEST_F(JsonLinesTest, EndsAtTheFirstBadLineWhenStrict) {
  try {
    static_cast<void>(texts_of("{\"t\": \"a\"}\nnonsense\n{\"t\": \"b\"}\n", {.strict = true}));
    FAIL() << "the bad line was accepted";
  } catch (const FormatError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/in.jsonl: line 2: invalid JSON"));
  }
  EXPECT_THAT(lines_, ElementsAre(1));
}

TEST_F(JsonLinesTest, SkipsALineThatIsTooLongAndFindsTheNext) {
  const std::string line = "{\"t\": \"" + std::string(600'000, 'x') + "\"}\n";
  EXPECT_THAT(texts_of("{\"t\": \"a\"}\n" + line + "{\"t\": \"b\"}\n", {.maximum_line_bytes = 500'000}),
              ElementsAre("a", "b"));
  EXPECT_THAT(complaints_, ElementsAre("/in.jsonl: line 2: longer than 500000 bytes"));
  EXPECT_EQ(texts_of(line).size(), 1U);  // across several blocks
}

TEST_F(JsonLinesTest, ACallerMayCallALineBad) {
  files_.put("/in.jsonl", "{\"t\": \"\"}\n");
  JsonLinesReader reader("/in.jsonl", {}, files_);
  ASSERT_TRUE(reader.next_text("t"));
  reader.report_bad_line("is empty");
  EXPECT_EQ(reader.bad_lines(), 1U);
  JsonLinesReader strict("/in.jsonl", {.strict = true}, files_);
  ASSERT_TRUE(strict.next());
  EXPECT_THROW(strict.report_bad_line("is empty"), FormatError);
}

TEST_F(JsonLinesTest, AFailingReadIsAFileError) {
  files_.put("/in.jsonl", "{\"t\": \"a\"}\n");
  FailingFileSystem failing(files_, {.fail_operation = 1});
  JsonLinesReader reader("/in.jsonl", {}, failing);
  EXPECT_THROW(static_cast<void>(reader.next()), FileError);
  EXPECT_THROW(JsonLinesReader("/absent", {}, files_), FileError);
}

TEST_F(JsonLinesTest, ReadsFromAPipe) {
  const test::TemporaryDirectory directory;
  const std::filesystem::path pipe = directory / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(pipe) << "{\"t\": \"a\"}\n{\"t\": \"b\"}\n"; });
  JsonLinesReader reader(pipe);
  EXPECT_EQ(reader.next_text("t"), "a");
  EXPECT_EQ(reader.next_text("t"), "b");
  EXPECT_EQ(reader.next_text("t"), std::nullopt);
  writer.join();
}

TEST_F(JsonLinesTest, StandardInputThatCannotBeReadIsAnError) {
  const pid_t child = fork();
  if (child == 0) {
    dup2(open("/", O_RDONLY | O_DIRECTORY), STDIN_FILENO);
    JsonLinesReader reader("-");
    try {
      static_cast<void>(reader.next());
    } catch (const FileError& error) {
      _exit(std::string(error.what()).starts_with("standard input: cannot read: ") ? 0 : 1);
    }
    _exit(2);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(JsonLinesTest, ReadsStandardInputByTheNameOfADash) {
  const pid_t child = fork();
  if (child == 0) {
    std::array<int, 2> ends{};
    if (pipe(ends.data()) != 0 || write(ends[1], "{\"t\": \"a\"}\nbad\n", 15) != 15) _exit(2);
    close(ends[1]);
    dup2(ends[0], STDIN_FILENO);
    std::string complaint;
    JsonLinesReader opened("-", {.on_bad_line = [&](const std::string& message) { complaint = message; }});
    JsonLinesReader reader = std::move(opened);
    const bool good = reader.next_text("t") == "a" && !reader.next_text("t");
    _exit(good && complaint.starts_with("standard input: line 2: ") ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

/// Whether SIGINT ends the wait for what a pipe brings.
void expect_that_an_interrupt_ends_the_wait(bool with_writer) {
  const test::TemporaryDirectory directory;
  const std::filesystem::path pipe = directory / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const pid_t child = fork();
  if (child == 0) {
    install_interrupt_handlers();
    std::thread([main_thread = pthread_self()] {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      pthread_kill(main_thread, SIGINT);
    }).detach();
    const int writer = with_writer ? open(pipe.c_str(), O_RDWR) : 0;  // keeps the pipe open, and writes nothing
    try {
      JsonLinesReader reader(pipe);
      static_cast<void>(reader.next());
    } catch (const Interrupted&) {
      _exit(writer < 0 ? 2 : 0);
    }
    _exit(1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(JsonLinesTest, AnInterruptEndsTheWaitForAPipe) { expect_that_an_interrupt_ends_the_wait(true); }

TEST_F(JsonLinesTest, AnInterruptEndsTheWaitForThePipesWriter) { expect_that_an_interrupt_ends_the_wait(false); }

TEST_F(JsonLinesTest, ADeviceIsReadToo) {
  JsonLinesReader reader("/dev/null");
  EXPECT_EQ(reader.next(), std::nullopt);
}

RC_GTEST_PROP(JsonLines, WhatIsWrittenIsReadBack, (const std::vector<std::vector<std::uint16_t>>& texts)) {
  MemoryFileSystem files;
  JsonLinesWriter writer = JsonLinesWriter::create("/f", files);
  std::vector<std::string> expected;
  for (const auto& text : texts) {
    Json object;
    object["t"] = std::string(text.begin(), text.end());  // arbitrary bytes
    writer.append(object);
    expected.push_back(parse_json(to_text(object), "x")["t"]);
  }
  writer.close();
  JsonLinesReader reader("/f", {.strict = true}, files);
  for (const std::string& text : expected) RC_ASSERT(reader.next_text("t") == text);
  RC_ASSERT(!reader.next());
  RC_ASSERT(scan_finished_lines("/f", files).lines == texts.size());
}

class ResumeTest : public ::testing::Test {
 protected:
  std::string resumed(const std::string& content) {
    files_.put("/out", content);
    finished_ = scan_finished_lines("/out", files_);
    JsonLinesWriter writer = JsonLinesWriter::resume("/out", finished_, files_);
    writer.append(Json{{"n", "new"}});
    writer.close();
    return read_file("/out", files_);
  }

  MemoryFileSystem files_;
  FinishedLines finished_;
};

TEST_F(ResumeTest, GoesOnBehindTheLastWholeLine) {
  EXPECT_EQ(resumed("{\"n\":1}\n{\"n\":2}\n"), "{\"n\":1}\n{\"n\":2}\n{\"n\":\"new\"}\n");
  EXPECT_EQ(finished_.lines, 2U);
  EXPECT_EQ(resumed(""), "{\"n\":\"new\"}\n");
}

TEST_F(ResumeTest, DropsALineTornAtAnyByte) {
  const std::string line = "{\"n\":2}";
  for (std::size_t cut = 0; cut <= line.size(); ++cut) {
    EXPECT_EQ(resumed("{\"n\":1}\n" + line.substr(0, cut)), "{\"n\":1}\n{\"n\":\"new\"}\n") << cut;
  }
}

TEST_F(ResumeTest, RefusesAFileThatIsNotSuchAnOutput) {
  files_.put("/out", "{\"n\":1}\nnot json\n{\"n\":2}\n");
  try {
    static_cast<void>(scan_finished_lines("/out", files_));
    FAIL();
  } catch (const FormatError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/out: line 2: invalid JSON"));
    EXPECT_THAT(error.what(), HasSubstr("not an output to go on with"));
  }
  EXPECT_THROW(static_cast<void>(scan_finished_lines("/absent", files_)), FileError);
}

TEST_F(ResumeTest, ShowsEachFinishedLine) {
  files_.put("/out", "{\"n\":1}\n{\"n\":2}\n{\"n\":");
  std::vector<int> values;
  static_cast<void>(scan_finished_lines("/out", files_, [&](std::uint64_t line, const Json& object) {
    EXPECT_EQ(line, values.size() + 1);
    values.push_back(object["n"].get<int>());
  }));
  EXPECT_THAT(values, ElementsAre(1, 2));
}

TEST_F(ResumeTest, AFullDiskLosesNoFinishedLine) {
  files_.create_directories("/");
  FailingFileSystem full(files_, {.room_bytes = 20});
  JsonLinesWriter writer = JsonLinesWriter::create("/out", full);
  int written = 0;
  try {
    for (;; ++written) writer.append(Json{{"n", written}});
  } catch (const FileError& error) {
    EXPECT_EQ(error.error_number(), ENOSPC);
  }
  EXPECT_EQ(scan_finished_lines("/out", files_).lines, static_cast<std::uint64_t>(written));
  EXPECT_EQ(written, 2);
}

}  // namespace
}  // namespace flame::io
