#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include "cli/program.h"
#include "support/test_data.h"

namespace flame::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

std::vector<json> json_lines(const std::string& text) {
  std::vector<json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
  return lines;
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

class Generate : public ::testing::Test {
 protected:
  ProgramResult generate(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.begin(), {"generate", tiny_model().string()});
    return run_flame(arguments, input);
  }
  std::string write_input(const std::string& text) {
    const std::filesystem::path path = directory_ / "input.jsonl";
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }

  TemporaryDirectory directory_;
};

constexpr const char* kThreeLines = R"({"d": "One fine day."}
{"d": "Two birds sang, and then a third."}
{"d": "Three."}
)";

TEST_F(Generate, PrintsOneJsonObjectAPromptInTheContractsShape) {
  const ProgramResult result = generate({"--text", "Hello there.", "--json", "--max-new-tokens", "5"});
  ASSERT_EQ(result.exit_code, 0) << result.standard_error;
  const std::vector<json> lines = json_lines(result.standard_output);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_TRUE(lines[0].at("text").is_string());
  EXPECT_LE(lines[0].at("tokens").size(), 5U);
  EXPECT_GT(lines[0].at("input_tokens").get<int>(), 2);
  for (const char* key :
       {"hits", "late", "misses", "bytes_demand", "bytes_prefetch_used", "bytes_prefetch_wasted", "wait_seconds",
        "tokens_per_second", "peak_memory_bytes", "encoder_seconds", "decoder_seconds"}) {
    EXPECT_TRUE(lines[0].at("stats").contains(key)) << key;
  }
}

TEST_F(Generate, CutsALongPromptToTheTokensThatAreAskedFor) {
  const ProgramResult result =
      generate({"--text", "Hello there, and good day.", "--json", "--max-new-tokens", "2", "--max-input-tokens", "4"});
  ASSERT_EQ(result.exit_code, 0) << result.standard_error;
  EXPECT_EQ(json_lines(result.standard_output).at(0).at("input_tokens"), 4);
  EXPECT_EQ(generate({"--text", "Hello.", "--max-input-tokens", "0"}).exit_code, 2);
}

TEST_F(Generate, StreamsTheTextThatJsonReports) {
  const ProgramResult text = generate({"--text", "Hello there.", "--max-new-tokens", "8"});
  const ProgramResult object = generate({"--text", "Hello there.", "--max-new-tokens", "8", "--json"});
  ASSERT_EQ(text.exit_code, 0) << text.standard_error;
  EXPECT_EQ(text.standard_output, json_lines(object.standard_output).at(0).at("text").get<std::string>() + "\n");
}

TEST_F(Generate, ReadsAPromptFromStandardInput) {
  const ProgramResult piped = generate({"--json", "--max-new-tokens", "5"}, "Hello there.");
  const ProgramResult flag = generate({"--json", "--max-new-tokens", "5", "--text", "Hello there."});
  ASSERT_EQ(piped.exit_code, 0) << piped.standard_error;
  EXPECT_EQ(json_lines(piped.standard_output).at(0).at("tokens"), json_lines(flag.standard_output).at(0).at("tokens"));
}

TEST_F(Generate, GivesTheSameTokensInBatchesAndOnAnyNumberOfThreads) {
  const std::string input = write_input(kThreeLines);
  const std::vector<std::string> common = {"--input", input, "--field", "d", "--json", "--max-new-tokens", "6"};
  const auto tokens_with = [&](std::vector<std::string> more) {
    more.insert(more.end(), common.begin(), common.end());
    const ProgramResult result = generate(more);
    EXPECT_EQ(result.exit_code, 0) << result.standard_error;
    std::map<int, json> tokens;
    for (const json& line : json_lines(result.standard_output)) tokens[line.at("index")] = line.at("tokens");
    return tokens;
  };
  const auto alone = tokens_with({});
  EXPECT_EQ(alone.size(), 3U);
  EXPECT_EQ(tokens_with({"--batch", "3"}), alone);
  EXPECT_EQ(tokens_with({"--batch", "2", "--threads", "1"}), alone);
  EXPECT_EQ(tokens_with({"--threads", "3"}), alone);
}

TEST_F(Generate, TakesPrefixBeamsAndLengthsFromTheTask) {
  const ProgramResult task = generate({"--text", "Hello there.", "--task", "summarization", "--json"});
  const ProgramResult flags =
      generate({"--text", "Hello there.", "--prefix", "summarize: ", "--beams", "2", "--max-length", "12",
                "--min-length", "2", "--early-stopping", "true", "--json"});
  ASSERT_EQ(task.exit_code, 0) << task.standard_error;
  ASSERT_EQ(flags.exit_code, 0) << flags.standard_error;
  const json a = json_lines(task.standard_output).at(0);
  const json b = json_lines(flags.standard_output).at(0);
  EXPECT_EQ(a.at("tokens"), b.at("tokens"));
  EXPECT_EQ(a.at("input_tokens"), b.at("input_tokens"));
}

TEST_F(Generate, NamesTheTasksItKnowsWhenAskedForAnother) {
  const ProgramResult result = generate({"--text", "x", "--task", "translation"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.standard_error, HasSubstr("summarization"));
}

TEST_F(Generate, SkipsABadLineWithItsNumberAndGoesOn) {
  const std::string input = write_input("{\"d\": \"One.\"}\n{\"d\": \n{\"d\": \"Three.\"}\n");
  const ProgramResult result = generate({"--input", input, "--field", "d", "--json", "--max-new-tokens", "3"});
  EXPECT_EQ(json_lines(result.standard_output).size(), 2U);
  EXPECT_THAT(result.standard_error, HasSubstr("line 2"));
  EXPECT_EQ(result.exit_code, 1) << "as for a prompt that cannot be run";
  EXPECT_THAT(result.standard_error, HasSubstr("1 bad line could not be run"));
}

TEST_F(Generate, SaysWhenThereWasNothingToDo) {
  const ProgramResult empty = generate({"--input", write_input(""), "--field", "d"});
  EXPECT_EQ(empty.exit_code, 0);
  EXPECT_THAT(empty.standard_error, HasSubstr("nothing was done"));
  const std::string output = (directory_ / "out.jsonl").string();
  const std::vector<std::string> command{
      "--input", write_input(kThreeLines), "--field", "d", "--max-new-tokens", "2", "-o", output};
  ASSERT_EQ(generate(command).exit_code, 0);
  std::vector<std::string> again = command;
  again.emplace_back("--resume");
  EXPECT_THAT(generate(again).standard_error, HasSubstr("every prompt is in the output already"));
}

TEST_F(Generate, StopsAtABadLineWhenStrict) {
  const std::string input = write_input("{\"d\": \"One.\"}\nnot json\n");
  const ProgramResult result =
      generate({"--input", input, "--field", "d", "--strict", "--json", "--max-new-tokens", "3"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.standard_error, HasSubstr("line 2"));
}

TEST_F(Generate, ResumesAnInterruptedOutputWithTheLinesThatAreMissing) {
  const std::string input = write_input(kThreeLines);
  const std::string whole = (directory_ / "whole.jsonl").string();
  const std::string torn = (directory_ / "torn.jsonl").string();
  const std::vector<std::string> common = {"--input", input, "--field", "d", "--max-new-tokens", "4"};
  std::vector<std::string> arguments = common;
  arguments.insert(arguments.end(), {"-o", whole});
  ASSERT_EQ(generate(arguments).exit_code, 0);
  const std::string text = read_text(whole);
  const std::size_t first_line = text.find('\n') + 1;
  std::ofstream(torn, std::ios::binary) << text.substr(0, first_line + 20);

  arguments = common;
  arguments.insert(arguments.end(), {"-o", torn});
  const ProgramResult refused = generate(arguments);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.standard_error, HasSubstr("--resume"));
  arguments.push_back("--resume");
  ASSERT_EQ(generate(arguments).exit_code, 0);

  const std::vector<json> expected = json_lines(text);
  const std::vector<json> resumed = json_lines(read_text(torn));
  ASSERT_EQ(resumed.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(resumed[i].at("index"), expected[i].at("index"));
    EXPECT_EQ(resumed[i].at("tokens"), expected[i].at("tokens"));
  }
}

TEST_F(Generate, ResumesOnlyWhatTheSameCommandBegan) {
  const std::string input = write_input(kThreeLines);
  const std::string file = (directory_ / "out.jsonl").string();
  const std::vector<std::string> common = {"--input", input, "--field", "d", "-o", file};
  std::vector<std::string> arguments = common;
  arguments.insert(arguments.end(), {"--max-new-tokens", "4", "--limit", "2"});
  ASSERT_EQ(generate(arguments).exit_code, 0);
  const std::string before = read_text(file);

  arguments = common;
  arguments.insert(arguments.end(), {"--max-new-tokens", "5", "--resume"});
  const ProgramResult other_options = generate(arguments);
  EXPECT_EQ(other_options.exit_code, 2);
  EXPECT_THAT(other_options.standard_error, HasSubstr("other options"));

  write_input("{\"d\": \"Another day.\"}\n{\"d\": \"b\"}\n{\"d\": \"c\"}\n");
  arguments = common;
  arguments.insert(arguments.end(), {"--max-new-tokens", "4", "--resume"});
  const ProgramResult other_prompt = generate(arguments);
  EXPECT_EQ(other_prompt.exit_code, 2);
  EXPECT_THAT(other_prompt.standard_error, HasSubstr("another prompt"));
  EXPECT_EQ(read_text(file), before);
}

TEST_F(Generate, WritesJsonLinesToStandardOutputForADash) {
  const ProgramResult dash = generate({"--text", "Hello.", "-o", "-", "--max-new-tokens", "3"});
  ASSERT_EQ(dash.exit_code, 0) << dash.standard_error;
  EXPECT_EQ(json_lines(dash.standard_output).size(), 1U);
  EXPECT_EQ(generate({"--text", "Hello.", "-o", "/dev/null", "--max-new-tokens", "3"}).exit_code, 0);
  const ProgramResult full = generate({"--text", "Hello.", "-o", "/dev/full", "--max-new-tokens", "3"});
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_THAT(full.standard_error, HasSubstr("/dev/full: cannot write"));
}

TEST_F(Generate, WarnsWhenSamplingSetsTheTasksBeamsAside) {
  const ProgramResult result = generate({"--text", "Hello.", "--task", "summarization", "--sample"});
  ASSERT_EQ(result.exit_code, 0) << result.standard_error;
  EXPECT_THAT(result.standard_error, HasSubstr("beams"));
}

TEST_F(Generate, SampledSequencesHaveNoScores) {
  const ProgramResult result =
      generate({"--text", "Hello.", "--sample", "--return", "2", "--json", "--max-new-tokens", "3"});
  ASSERT_EQ(result.exit_code, 0) << result.standard_error;
  const json line = json_lines(result.standard_output).at(0);
  EXPECT_EQ(line.at("sequences").size(), 2U);
  EXPECT_FALSE(line.contains("scores"));
}

TEST_F(Generate, NoSampleTakesTheLikeliestWhereTheModelsFilesAskForSampling) {
  const std::filesystem::path model = directory_ / "sampling";
  std::filesystem::copy(tiny_model(), model);
  std::ifstream stored(model / "generation_config.json");
  json generation = json::parse(stored);
  generation["do_sample"] = true;
  generation["temperature"] = 5.0;
  std::ofstream(model / "generation_config.json") << generation;
  const auto tokens = [](const std::string& directory, const std::vector<std::string>& flags) {
    std::vector<std::string> words{"generate", directory, "--text", "Hello there.", "--json", "--max-new-tokens", "8"};
    words.insert(words.end(), flags.begin(), flags.end());
    const ProgramResult result = run_flame(words);
    EXPECT_EQ(result.exit_code, 0) << result.standard_error;
    return json_lines(result.standard_output).at(0).at("tokens");
  };
  const json greedy = tokens(tiny_model().string(), {});
  EXPECT_NE(tokens(model.string(), {}), greedy);
  EXPECT_EQ(tokens(model.string(), {"--no-sample"}), greedy);
  EXPECT_EQ(tokens(model.string(), {"--sample=false"}), greedy);
}

TEST_F(Generate, AFailedStartLeavesNoOutputInTheWayOfTheNext) {
  const std::string output = (directory_ / "out.jsonl").string();
  EXPECT_EQ(run_flame({"generate", "nosuch", "--text", "x", "-o", output}).exit_code, 1);
  EXPECT_EQ(generate({"--text", "Hello.", "--max-new-tokens", "2", "-o", output}).exit_code, 0);
}

TEST_F(Generate, SamplesTheSameTextFromTheSameSeed) {
  const std::vector<std::string> arguments = {
      "--text", "Hello there.",     "--sample", "--top-k",       "0", "--seed", "7",
      "--json", "--max-new-tokens", "8",        "--temperature", "3"};
  const json first = json_lines(generate(arguments).standard_output).at(0).at("tokens");
  EXPECT_EQ(json_lines(generate(arguments).standard_output).at(0).at("tokens"), first);
  std::vector<std::string> other = arguments;
  other[6] = "8";
  EXPECT_NE(json_lines(generate(other).standard_output).at(0).at("tokens"), first);
}

TEST_F(Generate, ReturnsSeveralSequencesWithTheirScores) {
  const ProgramResult result =
      generate({"--text", "Hello.", "--beams", "3", "--return", "2", "--json", "--max-new-tokens", "5"});
  ASSERT_EQ(result.exit_code, 0) << result.standard_error;
  const json line = json_lines(result.standard_output).at(0);
  EXPECT_EQ(line.at("texts").size(), 2U);
  EXPECT_GE(line.at("scores").at(0).get<double>(), line.at("scores").at(1).get<double>());
}

TEST_F(Generate, BeginsItsFiguresWithWhatActuallyRan) {
  const ProgramResult result =
      generate({"--text", "Hello.", "--stats", "--threads", "1", "--dtype", "f32", "--max-new-tokens", "3"});
  ASSERT_EQ(result.exit_code, 0) << result.standard_error;
  const std::string first = result.standard_error.substr(0, result.standard_error.find('\n'));
  EXPECT_THAT(first, HasSubstr("cpu"));
  EXPECT_THAT(first, HasSubstr("f32"));
  EXPECT_THAT(first, HasSubstr("1 thread"));
}

TEST_F(Generate, RunsOnTokenIdsWithoutATokenizer) {
  const std::string ids = (directory_ / "ids.jsonl").string();
  std::ofstream(ids) << "{\"tokens\": [100, 200, 1]}\n";
  const ProgramResult result = generate({"--input-ids", ids, "--json", "--max-new-tokens", "3"});
  ASSERT_EQ(result.exit_code, 0) << result.standard_error;
  EXPECT_EQ(json_lines(result.standard_output).at(0).at("input_tokens").get<int>(), 3);
}

struct Refusal {
  const char* name;
  std::vector<std::string> arguments;
  int exit_code;
  const char* message;
};

/// What a test's listing calls the case.
void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

class GenerateRefuses : public Generate, public ::testing::WithParamInterface<Refusal> {};

TEST_P(GenerateRefuses, WithOneClearMessage) {
  const ProgramResult result = generate(GetParam().arguments);
  EXPECT_EQ(result.exit_code, GetParam().exit_code);
  EXPECT_THAT(result.standard_error, HasSubstr(GetParam().message));
  EXPECT_EQ(result.standard_output, "");
}

INSTANTIATE_TEST_SUITE_P(
    Options, GenerateRefuses,
    ::testing::Values(Refusal{"EmptyPrompt", {"--text", ""}, 2, "empty"},
                      Refusal{"InvalidUtf8", {"--text", "caf\xe9"}, 2, "UTF-8"},
                      Refusal{"FieldWithoutInput", {"--text", "x", "--field", "d"}, 2, "--field has no effect"},
                      Refusal{"InputWithoutField", {"--input", "x.jsonl"}, 2, "--field"},
                      Refusal{"MissingInput", {"--input", "no-such.jsonl", "--field", "d"}, 1, "no-such.jsonl"},
                      Refusal{"SeedWithoutSampling", {"--text", "x", "--seed", "1"}, 2, "--sample"},
                      Refusal{"LengthPenaltyWithoutBeams", {"--text", "x", "--length-penalty", "2"}, 2, "--beams"},
                      Refusal{"ResumeWithoutOutput", {"--text", "x", "--resume"}, 2, "-o"},
                      Refusal{"MinimumAboveMaximum",
                              {"--text", "x", "--min-new-tokens", "9", "--max-new-tokens", "5"},
                              2,
                              "at least 9 new tokens"},
                      Refusal{"NoPrompts", {"--text", "x", "--limit", "0"}, 2, "--limit"},
                      Refusal{"TemperatureOfNothing", {"--text", "x", "--sample", "--temperature", "0"}, 2, "above 0"},
                      Refusal{"BatchOfOnePrompt", {"--text", "x", "--batch", "4"}, 2, "--batch has no effect"},
                      Refusal{"JsonWithOutput", {"--text", "x", "--json", "-o", "-"}, 2, "--json has no effect"},
                      Refusal{"ResumeOfStandardOutput", {"--text", "x", "--resume", "-o", "-"}, 2, "--resume"},
                      Refusal{"BufferOfACheckpoint", {"--text", "x", "--slots", "4"}, 2, "--slots has no effect"},
                      Refusal{"LanesOfTheProcessor", {"--text", "x", "--lanes", "64"}, 2, "--lanes has no effect"},
                      Refusal{"UnknownFlag", {"--text", "x", "--beam-size", "4"}, 2, "--beam-size"},
                      Refusal{"TwoSources", {"--text", "x", "--input", "f", "--field", "d"}, 2, "exclude"},
                      Refusal{"UnknownType", {"--text", "x", "--dtype", "int3"}, 2, "--dtype"}),
    [](const auto& refusal) { return refusal.param.name; });

TEST(GenerateModel, NamesAModelThatIsNotThere) {
  const ProgramResult result = run_flame({"generate", "no/such/model", "--text", "x"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.standard_error, HasSubstr("no/such/model"));
}

TEST(GenerateModel, NamesATruncatedFile) {
  const TemporaryDirectory directory;
  const std::filesystem::path model = directory / "cut";
  std::filesystem::copy(tiny_model(), model);
  std::filesystem::resize_file(model / "model.safetensors",
                               std::filesystem::file_size(model / "model.safetensors") - 10);
  const ProgramResult result = run_flame({"generate", model.string(), "--text", "x"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.standard_error, HasSubstr("model.safetensors"));
}

TEST(GenerateModel, SaysWhatItLookedForWhenThereIsNoTokenizer) {
  const TemporaryDirectory directory;
  const std::filesystem::path model = directory / "mute";
  std::filesystem::copy(tiny_model(), model);
  std::filesystem::remove(model / "spiece.model");
  const ProgramResult result = run_flame({"generate", model.string(), "--text", "x"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.standard_error, HasSubstr("spiece.model"));
}

TEST(GenerateModel, FailsWhenStandardOutputIsFull) {
  const std::string command = std::string(FLAME_PROGRAM) + " generate " + tiny_model().string() +
                              " --text Hello --max-new-tokens 3 > /dev/full 2>&1";
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 1);
  for (const char* option : {" --version", " --help", " generate --help"}) {
    const std::string asked = std::string(FLAME_PROGRAM) + option + " > /dev/full 2>&1";
    EXPECT_EQ(WEXITSTATUS(std::system(asked.c_str())), 1) << option;
  }
}

}  // namespace
}  // namespace flame::test
