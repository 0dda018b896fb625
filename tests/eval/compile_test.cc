#include "flame/eval/compile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <sstream>

#include "flame/base/error.h"
#include "flame/experts/bundle.h"
#include "flame/io/file.h"
#include "support/test_data.h"
#include "support/tiny_checkpoint.h"

namespace flame::eval {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class CompileTest : public testing::Test {
 protected:
  CompileTest() {
    write_texts("Yes.");
    options_.data = directory_ / "texts.jsonl";
    options_.field = "dialogue";
    options_.max_new_tokens = 6;
  }

  void write_texts(const std::string& answer) const {
    std::ofstream file(directory_ / "texts.jsonl");
    for (int i = 0; i < 10; ++i) {
      file << R"({"dialogue":"Ann: Are you coming at )" << i << "? Bob: " << answer << "\"}\n";
    }
  }

  /// Compiles; a run that is broken off when it has reported `last_stage` returns nothing.
  std::vector<std::string> compile(const fs::path& output, const std::string& last_stage = "") const {
    struct BrokenOff {};
    try {
      return compile_bundle(test::tiny_checkpoint(), output, options_,
                            [&](const std::string& line) {
                              if (!last_stage.empty() && line.starts_with(last_stage)) throw BrokenOff();
                            })
          .stages;
    } catch (const BrokenOff&) {
      return {};
    }
  }

  static std::map<std::string, std::string> files_of(const fs::path& bundle) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(bundle)) {
      files[entry.path().filename().string()] = io::read_file(entry.path());
    }
    return files;
  }

  test::TemporaryDirectory directory_;
  CompileOptions options_;
};

// A run that ends between two stages, for whatever reason: the next one does not do again what had been done, and the
// bundle is that of a run that was not disturbed, byte for byte.
TEST_F(CompileTest, GoesOnAfterEveryStage) {
  const auto done = compile(directory_ / "whole");
  ASSERT_THAT(done, ElementsAre(StartsWith("prune: 2:4"), StartsWith("pack: "), StartsWith("trace: 10 examples"),
                                StartsWith("profile: ")));
  const auto whole = files_of(directory_ / "whole");
  const fs::path output = directory_ / "bundle";
  const fs::path stages = output.string() + ".stages";
  const std::vector<std::string> names{"pruned", "bundle", "trace"};
  for (std::size_t last = 0; last < 4; ++last) {
    const std::string stage = done[last].substr(0, done[last].find(':') + 1);
    SCOPED_TRACE(stage);
    EXPECT_TRUE(compile(output, stage).empty());
    EXPECT_FALSE(fs::exists(output));
    std::map<std::string, fs::file_time_type> written;
    for (std::size_t i = 0; i < names.size(); ++i) {
      ASSERT_EQ(fs::exists(stages / names[i]), i <= last) << names[i];
      if (i <= last) written[names[i]] = fs::last_write_time(stages / names[i]);
    }
    // Broken off once more at its end, to see that the finished stages were left as they were.
    EXPECT_TRUE(compile(output, "profile:").empty());
    for (const auto& [name, time] : written) EXPECT_EQ(fs::last_write_time(stages / name), time) << name;

    const auto resumed = compile(output);
    ASSERT_EQ(resumed.size(), 4U);
    for (std::size_t i = 0; i < names.size(); ++i) EXPECT_THAT(resumed[i], HasSubstr("is there already")) << i;
    EXPECT_EQ(files_of(output), whole);
    EXPECT_FALSE(fs::exists(stages));
    fs::remove_all(output);
  }
}

// What a killed stage leaves has a name of its own and is not taken for a finished one.
TEST_F(CompileTest, HalfAStageIsNoStage) {
  compile(directory_ / "whole");
  const fs::path output = directory_ / "bundle";
  EXPECT_TRUE(compile(output, "prune:").empty());
  const fs::path stages = output.string() + ".stages";
  fs::create_directories(stages / "bundle.partial-1");
  std::ofstream(stages / "bundle.partial-1" / "experts.safetensors") << "half";
  std::ofstream(stages / "trace.partial-1") << "half";
  EXPECT_THAT(compile(output), ElementsAre(HasSubstr("is there already"), StartsWith("pack: "), StartsWith("trace: 10"),
                                           StartsWith("p")));
  EXPECT_EQ(files_of(output), files_of(directory_ / "whole"));
  EXPECT_GT(experts::verify_bundle(output), 0U);
}

TEST_F(CompileTest, RefusesTheStagesOfOtherOptionsOrOtherTexts) {
  const fs::path output = directory_ / "bundle";
  const auto refuses = [&] {
    try {
      compile(output);
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr("bundle.stages"));
      return true;
    }
    return false;
  };
  EXPECT_TRUE(compile(output, "prune:").empty());
  options_.max_new_tokens = 7;
  EXPECT_TRUE(refuses());
  options_.max_new_tokens = 6;
  write_texts("No!.");  // as many bytes as before
  EXPECT_TRUE(refuses());
  write_texts("Yes.");
  EXPECT_FALSE(refuses());
}

TEST_F(CompileTest, AFolderOfSomebodyElseIsNeitherUsedNorDeleted) {
  const fs::path output = directory_ / "bundle";
  const fs::path stages = output.string() + ".stages";
  fs::create_directories(stages);
  std::ofstream(stages / "mine.txt") << "precious";
  try {
    compile(output);
    FAIL() << "no error";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("holds something else (mine.txt)"));
  }
  EXPECT_EQ(io::read_file(stages / "mine.txt"), "precious");
  EXPECT_FALSE(fs::exists(output));
}

TEST_F(CompileTest, WhatIsPutBesideTheStagesOutlivesThem) {
  const fs::path output = directory_ / "bundle";
  const fs::path stages = output.string() + ".stages";
  compile(output, "trace");
  std::ofstream(stages / "mine.txt") << "precious";
  compile(output);
  EXPECT_GT(experts::verify_bundle(output), 0U);
  EXPECT_EQ(io::read_file(stages / "mine.txt"), "precious");
  EXPECT_EQ(std::distance(fs::directory_iterator(stages), fs::directory_iterator()), 1);
}

TEST_F(CompileTest, ANameThatEndsInASlashIsTheSame) {
  const fs::path output = directory_ / "bundle";
  compile(output / "");
  EXPECT_GT(experts::verify_bundle(output), 0U);
  EXPECT_FALSE(fs::exists(output.string() + ".stages"));
}

TEST_F(CompileTest, WhatIsWrongWithTheInputIsSaidBeforeAnythingIsWritten) {
  const fs::path output = directory_ / "bundle";
  const auto error_of = [&] {
    try {
      compile(output);
    } catch (const Error& error) {
      EXPECT_FALSE(fs::exists(output.string() + ".stages"));
      return std::string(error.what());
    }
    return std::string();
  };
  std::ofstream(directory_ / "texts.jsonl", std::ios::app) << R"({"dialogue":7})"
                                                           << "\n";
  EXPECT_THAT(error_of(), HasSubstr("line 11"));
  write_texts("Yes.");
  options_.field = "text";
  EXPECT_THAT(error_of(), HasSubstr("has no field \"text\""));
  options_.field = "dialogue";
  options_.task = "flying";
  EXPECT_THAT(error_of(), HasSubstr("flying"));
  options_.task.reset();
  write_texts("Yes.");
  compile(output);
  try {
    static_cast<void>(compile_bundle(output, directory_ / "again", options_, {}));
    FAIL() << "no error";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("is a bundle already"));
  }
}

TEST_F(CompileTest, OneRunAtATime) {
  const fs::path output = directory_ / "bundle";
  bool refused = false;
  static_cast<void>(compile_bundle(test::tiny_checkpoint(), output, options_, [&](const std::string& line) {
    if (!line.starts_with("pack")) return;
    try {
      compile(output);
    } catch (const FileError& error) {
      refused = std::string_view(error.what()).find("another run is writing to it") != std::string_view::npos;
    }
  }));
  EXPECT_TRUE(refused);
  EXPECT_GT(experts::verify_bundle(output), 0U);
}

}  // namespace
}  // namespace flame::eval
