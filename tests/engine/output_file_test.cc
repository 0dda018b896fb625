#include "flame/engine/output_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "flame/base/error.h"
#include "support/test_data.h"
#include "support/tiny_checkpoint.h"

namespace flame::engine {
namespace {

using ::testing::HasSubstr;

using Mode = OutputFile::Mode;

Prompt prompt(std::uint64_t index, const std::string& text) { return {.index = index, .text = text, .tokens = {}}; }

TextOutput output(std::uint64_t index) {
  TextOutput made;
  made.index = index;
  made.texts = {"text"};
  made.sequences = {{.tokens = {1}, .score = 0.0F}};
  return made;
}

class OutputFileTest : public ::testing::Test {
 protected:
  void write(Mode mode, const std::string& run, std::uint64_t index, const std::string& text) {
    OutputFile file(path_, mode);
    file.begin_run(run);
    ASSERT_TRUE(file.begin_prompt(prompt(index, text)));
    file.append(output(index));
    file.close();
  }
  template <typename Action>
  std::string refusal(Action&& action) {
    try {
      action();
    } catch (const UsageError& error) {
      return error.what();
    }
    return "accepted";
  }

  test::TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "out.jsonl";
};

TEST_F(OutputFileTest, GoesOnWithThePromptsThatHaveNoLine) {
  write(Mode::kNew, "r", 0, "zero");
  std::ofstream(path_, std::ios::app) << "{\"index\": 1, \"fin";  // torn
  write(Mode::kResume, "r", 1, "one");
  OutputFile file(path_, Mode::kResume);
  file.begin_run("r");
  EXPECT_FALSE(file.begin_prompt(prompt(0, "zero")));
  EXPECT_FALSE(file.begin_prompt(prompt(1, "one")));
  EXPECT_TRUE(file.begin_prompt(prompt(2, "two")));
}

TEST_F(OutputFileTest, RefusesToGoOnWithAnotherRun) {
  write(Mode::kNew, "r", 0, "zero");
  OutputFile file(path_, Mode::kResume);
  EXPECT_THAT(refusal([&] { file.begin_run("other"); }), HasSubstr("another model or with other options"));
}

TEST_F(OutputFileTest, RefusesAPromptThatIsAnotherThanItsLineWasMadeFrom) {
  write(Mode::kNew, "r", 0, "zero");
  OutputFile file(path_, Mode::kResume);
  file.begin_run("r");
  EXPECT_THAT(refusal([&] { (void)file.begin_prompt(prompt(0, "null")); }), HasSubstr("\"index\" 0"));
}

TEST_F(OutputFileTest, RefusesAFileThatIsThereUnlessToldToResume) {
  write(Mode::kNew, "r", 0, "zero");
  EXPECT_THAT(refusal([&] { OutputFile(path_, Mode::kNew); }), HasSubstr("--resume"));
  EXPECT_THAT(refusal([&] { OutputFile(directory_.path(), Mode::kNew); }), HasSubstr("is a directory"));
}

TEST_F(OutputFileTest, LeavesNoFileBehindWhereNothingWasDone) {
  { const OutputFile file(path_, Mode::kNew); }
  EXPECT_FALSE(std::filesystem::exists(path_));
  {
    OutputFile file(path_, Mode::kResume);
    EXPECT_FALSE(file.resumes());
    file.close();
  }
  EXPECT_TRUE(std::filesystem::exists(path_)) << "a run without prompts has an output without lines";
  { const OutputFile file(path_, Mode::kResume); }
  EXPECT_TRUE(std::filesystem::exists(path_)) << "it is not this one's";
}

TEST_F(OutputFileTest, RefusesLinesThatGenerateHasNotWritten) {
  std::ofstream(path_) << "{\"index\": 0, \"text\": \"x\"}\n";
  EXPECT_THROW(OutputFile(path_, Mode::kResume), FormatError);
}

TEST_F(OutputFileTest, WritesToADeviceAndSaysWhenItIsFull) {
  OutputFile null("/dev/null", Mode::kNew);
  null.begin_run("r");
  ASSERT_TRUE(null.begin_prompt(prompt(0, "zero")));
  null.append(output(0));
  null.close();
  EXPECT_THAT(refusal([&] { OutputFile("/dev/null", Mode::kResume); }), HasSubstr("nothing to go on from"));

  OutputFile full("/dev/full", Mode::kNew);
  full.begin_run("r");
  ASSERT_TRUE(full.begin_prompt(prompt(0, "zero")));
  EXPECT_THROW(full.append(output(0)), FileError);
}

TEST_F(OutputFileTest, AFingerprintFollowsEverythingThatChangesTheText) {
  const Engine engine = Engine::open(test::tiny_checkpoint());
  TextGenerationOptions options;
  const std::string before = run_fingerprint(engine, options);
  EXPECT_EQ(run_fingerprint(engine, options), before);
  options.batch_size = 8;
  options.generation.seed = 7;  // of no effect without sampling
  EXPECT_EQ(run_fingerprint(engine, options), before) << "the text does not depend on these";
  options.prefix = "summarize: ";
  EXPECT_NE(run_fingerprint(engine, options), before);
  options.prefix.clear();
  options.max_input_tokens = 4;
  EXPECT_NE(run_fingerprint(engine, options), before);
  options.max_input_tokens.reset();
  options.generation.num_beams = 2;
  EXPECT_NE(run_fingerprint(engine, options), before);
  options.generation.num_beams = 1;
  options.generation.max_new_tokens = 3;
  EXPECT_NE(run_fingerprint(engine, options), before);
  const Engine bf16 = Engine::open(test::tiny_checkpoint(), {.type = DataType::kF16});
  EXPECT_NE(run_fingerprint(bf16, {}), before);
}

TEST_F(OutputFileTest, AFingerprintFollowsConfigurationAndTokenizer) {
  std::filesystem::copy(test::tiny_checkpoint(), directory_ / "model");
  const auto fingerprint = [&] { return run_fingerprint(Engine::open(directory_ / "model"), {}); };
  const std::string before = fingerprint();
  std::ifstream read(directory_ / "model" / "config.json");
  std::string config(std::istreambuf_iterator<char>(read), {});
  const std::string key = "\"expert_capacity\": ";
  ASSERT_NE(config.find(key), std::string::npos);
  config.insert(config.find(key) + key.size(), "1");  // as many digits more
  std::ofstream(directory_ / "model" / "config.json") << config;
  const std::string with_other_capacity = fingerprint();
  EXPECT_NE(with_other_capacity, before);
  std::ofstream(directory_ / "model" / "added_tokens.json") << R"({"<new>": 32099})";
  EXPECT_NE(fingerprint(), with_other_capacity);
}

}  // namespace
}  // namespace flame::engine
