#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/program.h"
#include "support/test_data.h"

namespace flame::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(PruneCommand, PrunesAndSaysWhatItTook) {
  const TemporaryDirectory directory;
  const ProgramResult result =
      run_flame({"prune", tiny_model().string(), "-o", (directory / "out").string(), "--pattern", "2:4"});
  EXPECT_EQ(result.exit_code, 0) << result.standard_error;
  EXPECT_THAT(result.standard_output, HasSubstr("24 tensors pruned by magnitude, 50.0 % of their"));
  EXPECT_THAT(result.standard_output, HasSubstr("as \"code\""));
  EXPECT_TRUE(std::filesystem::exists(directory / "out" / "spiece.model"));

  // What is written is a model again.
  const ProgramResult text = run_flame(
      {"generate", (directory / "out").string(), "--text", "Ann: Are you coming?", "--max-new-tokens", "3", "--json"});
  EXPECT_EQ(text.exit_code, 0) << text.standard_error;
  EXPECT_EQ(json::parse(text.standard_output).at("tokens").size(), 3U);
}

TEST(PruneCommand, SaysThatPaddingHadNoEffect) {
  const TemporaryDirectory directory;
  const auto prune = [&](const std::string& output, const std::vector<std::string>& options) {
    std::vector<std::string> command = {"prune", tiny_model().string(), "-o", (directory / output).string(), "--pad"};
    command.insert(command.end(), options.begin(), options.end());
    return run_flame(command);
  };
  EXPECT_THAT(prune("even", {"--pattern", "2:4"}).standard_error, HasSubstr("--pad had no effect"));
  EXPECT_THAT(prune("odd", {"--pattern", "1:5"}).standard_error, Not(HasSubstr("--pad")));
  const ProgramResult baseline = prune("baseline", {"--method", "unstructured", "--sparsity", "0.5"});
  EXPECT_EQ(baseline.exit_code, 2);
  EXPECT_THAT(baseline.standard_error, HasSubstr("which has no groups"));
}

TEST(PruneCommand, CalibratesFromAFileOfTexts) {
  const TemporaryDirectory directory;
  const std::string texts = (directory / "texts.jsonl").string();
  std::ofstream(texts) << R"({"dialogue": "Ann: Are you coming?", "summary": "Ann asks."})"
                       << "\n"
                       << R"({"dialogue": "Bob: At six.", "summary": "Bob answers."})"
                       << "\n";
  const ProgramResult result =
      run_flame({"prune", tiny_model().string(), "-o", (directory / "out").string(), "--pattern",
                 "encoder=1:4,decoder=2:4", "--method", "sparsegpt", "--calibration", texts, "--field", "dialogue",
                 "--target", "summary", "--task", "summarization", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.standard_error;
  const json report = json::parse(result.standard_output);
  EXPECT_EQ(report.at("calibration").at("examples"), 2);
  EXPECT_EQ(report.at("pattern"), "encoder=1:4,decoder=2:4");
  EXPECT_THAT(result.standard_error, HasSubstr("pruned by the layer's statistics"));
}

TEST(PruneCommand, PackSaysWhenAPatternIsLeftUnused) {
  const TemporaryDirectory directory;
  const std::string pruned = (directory / "pruned").string();
  ASSERT_EQ(run_flame({"prune", tiny_model().string(), "-o", pruned, "--pattern", "2:4"}).exit_code, 0);
  const ProgramResult dense = run_flame({"pack", pruned, "-o", (directory / "dense").string()});
  EXPECT_EQ(dense.exit_code, 0) << dense.standard_error;
  EXPECT_THAT(dense.standard_error, HasSubstr("--pattern 2:4 leaves them out"));
  const ProgramResult mixed =
      run_flame({"pack", pruned, "-o", (directory / "mixed").string(), "--pattern", "encoder=2:4", "--dtype", "f32"});
  EXPECT_EQ(mixed.exit_code, 0);
  EXPECT_EQ(mixed.standard_error, "");
}

TEST(PruneCommand, PackSaysWhatItFillsUpAndRounds) {
  const TemporaryDirectory directory;
  const ProgramResult filled = run_flame({"pack", tiny_model().string(), "-o", (directory / "filled").string(),
                                          "--pattern", "3:7", "--dtype", "f32", "--json"});
  EXPECT_EQ(filled.exit_code, 0) << filled.standard_error;
  EXPECT_THAT(filled.standard_error, HasSubstr("24 matrices of experts have rows that the M of 3:7 does not divide"));
  EXPECT_EQ(json::parse(filled.standard_output).at("padded_matrices"), 24);
  EXPECT_THAT(filled.standard_error, Not(HasSubstr("rounds")));
  const ProgramResult rounded =
      run_flame({"pack", data_path("model/base").string(), "-o", (directory / "rounded").string()});
  EXPECT_EQ(rounded.exit_code, 0) << rounded.standard_error;
  EXPECT_THAT(rounded.standard_error, HasSubstr("the checkpoint's experts are F32, and bf16 rounds them"));
}

TEST(PruneCommand, WrongUseExitsWithTwoAndAFailedJobWithOne) {
  const TemporaryDirectory directory;
  const std::string model = tiny_model().string();
  const std::string out = (directory / "out").string();
  EXPECT_EQ(run_flame({"prune", model, "-o", out, "--pattern", "5:4"}).exit_code, 2);
  EXPECT_EQ(run_flame({"prune", model, "-o", out}).exit_code, 2);
  EXPECT_EQ(run_flame({"prune", model, "-o", out, "--pattern", "2:4", "--method", "wanda"}).exit_code, 2);
  EXPECT_EQ(run_flame({"prune", model, "-o", out, "--pattern", "2:4", "--method", "magic"}).exit_code, 2);
  const ProgramResult odd = run_flame({"prune", model, "-o", out, "--pattern", "2:7"});
  EXPECT_EQ(odd.exit_code, 1);
  EXPECT_THAT(odd.standard_error, HasSubstr("--pad"));
  EXPECT_FALSE(std::filesystem::exists(out));
  const std::string bundle = (directory / "bundle").string();
  ASSERT_EQ(run_flame({"pack", model, "-o", bundle}).exit_code, 0);
  const ProgramResult packed = run_flame({"prune", bundle, "-o", out, "--pattern", "2:4"});
  EXPECT_EQ(packed.exit_code, 2);
  EXPECT_THAT(packed.standard_error, HasSubstr("is a bundle, whose experts are packed; prune takes a checkpoint"));
}

TEST(EvalPruningCommand, SaysWhatIsWrongBeforeItMeasures) {
  const TemporaryDirectory directory;
  const std::string model = tiny_model().string();
  const std::string bundle = (directory / "bundle").string();
  ASSERT_EQ(run_flame({"pack", model, "-o", bundle}).exit_code, 0);
  const std::string texts = (directory / "texts.jsonl").string();
  std::ofstream(texts) << R"({"dialogue": "Ann: Are you coming?", "summary": "Ann asks."})" << '\n';
  const auto sweep = [&](const std::string& of, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {
        "eval",    "pruning",    of,        "-o",       (directory / "sweep").string(),
        "--input", texts,        "--field", "dialogue", "--reference",
        "summary", "--patterns", "2:4"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_flame(arguments);
  };
  const ProgramResult packed = sweep(bundle, {});
  EXPECT_EQ(packed.exit_code, 2);
  EXPECT_THAT(packed.standard_error, HasSubstr("is a bundle"));
  const ProgramResult many = sweep(model, {"--bootstrap-samples", "99999999999"});
  EXPECT_EQ(many.exit_code, 2);
  EXPECT_THAT(many.standard_error, HasSubstr("--bootstrap-samples"));
  EXPECT_FALSE(std::filesystem::exists(directory / "sweep"));
  const ProgramResult few = sweep(model, {"--methods", "wanda", "--calibration", texts, "--target", "summary",
                                          "--min-tokens", "1", "--max-new-tokens", "2"});
  EXPECT_EQ(few.exit_code, 0) << few.standard_error;
  EXPECT_THAT(few.standard_error, HasSubstr("has 1 lines, fewer than the 128 samples asked for"));
}

TEST(EvalRougeCommand, ScoresTextsThatAreThere) {
  const TemporaryDirectory directory;
  const std::string input = (directory / "examples.jsonl").string();
  const std::string predictions = (directory / "predictions.jsonl").string();
  std::ofstream(input) << R"({"summaries": ["the cat sat", "a dog ran"]})"
                       << "\n"
                       << R"({"summaries": ["one two"]})"
                       << "\n";
  std::ofstream(predictions) << R"({"index": 1, "text": "one"})"
                             << "\n"
                             << R"({"index": 0, "text": "a dog ran"})"
                             << "\n";
  const std::vector<std::string> command = {"eval",    "rouge", "--predictions", predictions,
                                            "--input", input,   "--reference",   "summaries"};
  std::vector<std::string> with_json = command;
  with_json.push_back("--json");
  const ProgramResult result = run_flame(with_json);
  EXPECT_EQ(result.exit_code, 0) << result.standard_error;
  const json rouge = json::parse(result.standard_output).at("rouge");
  EXPECT_DOUBLE_EQ(rouge.at("rouge1").at("f").at("mean").get<double>(), (1.0 + 2.0 / 3.0) / 2.0);
  EXPECT_DOUBLE_EQ(rouge.at("rouge1").at("recall").at("mean").get<double>(), 0.75);
  EXPECT_THAT(run_flame(command).standard_output, HasSubstr("rougeLsum"));
  std::vector<std::string> with_beams = command;
  with_beams.insert(with_beams.end(), {"--beams", "2"});
  const ProgramResult refused = run_flame(with_beams);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.standard_error, HasSubstr("--beams has no effect with --predictions"));
}

TEST(EvalRougeCommand, WithoutSamplesItGivesNoIntervals) {
  const TemporaryDirectory directory;
  const std::string input = (directory / "examples.jsonl").string();
  std::ofstream(input) << R"({"summary": "the cat sat", "text": "a cat sat"})"
                       << "\n";
  const std::vector<std::string> command = {"eval", "rouge",       "--predictions", input,       "--input",
                                            input,  "--reference", "summary",       "--samples", "0"};
  const ProgramResult text = run_flame(command);
  EXPECT_EQ(text.exit_code, 0) << text.standard_error;
  EXPECT_THAT(text.standard_output, ::testing::Not(HasSubstr("interval")));
  std::vector<std::string> with_json = command;
  with_json.push_back("--json");
  const json scores = json::parse(run_flame(with_json).standard_output);
  EXPECT_FALSE(scores.contains("confidence"));
  EXPECT_EQ(scores.at("rouge").at("rouge1").at("f").size(), 1U);
}

TEST(EvalRougeCommand, GeneratesAndGoesOn) {
  const TemporaryDirectory directory;
  const std::string input = (directory / "examples.jsonl").string();
  const std::string output = (directory / "predictions.jsonl").string();
  std::ofstream(input) << R"({"dialogue": "Ann: Hello.", "summary": "Ann greets."})"
                       << "\n"
                       << R"({"dialogue": "Bob: Bye.", "summary": "Bob leaves."})"
                       << "\n";
  const auto run = [&](const std::string& limit, bool resume) {
    std::vector<std::string> words = {
        "eval",        "rouge",   tiny_model().string(), "--input", input, "--field", "dialogue",
        "--reference", "summary", "--max-new-tokens",    "3",       "-o",  output,    "--limit",
        limit,         "--json"};
    if (resume) words.push_back("--resume");
    return run_flame(words);
  };
  EXPECT_EQ(run("1", false).exit_code, 0);
  const ProgramResult refused = run("2", false);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.standard_error, HasSubstr("--resume"));
  const ProgramResult result = run("2", true);
  EXPECT_EQ(result.exit_code, 0) << result.standard_error;
  EXPECT_EQ(json::parse(result.standard_output).at("examples"), 2);

  std::ofstream(input) << R"({"dialogue": "Eve: Hello.", "summary": "Eve greets."})"
                       << "\n";
  const ProgramResult other_texts = run("1", true);
  EXPECT_EQ(other_texts.exit_code, 2);
  EXPECT_THAT(other_texts.standard_error, HasSubstr("was made from another prompt"));
}

}  // namespace
}  // namespace flame::test
