#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "cli/program.h"
#include "support/test_data.h"

namespace flame::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

json inspect(const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {"inspect"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  words.push_back("--json");
  const ProgramResult result = run_flame(words);
  EXPECT_EQ(result.exit_code, 0) << result.standard_error;
  return json::parse(result.standard_output);
}

TEST(Inspect, GivesThePapersExpertShareOfSwitchBase) {
  // Figure 4(a) of the FLAME paper: 76.15 % of the parameters with 8 experts, embeddings left out.
  EXPECT_NEAR(inspect({"switch-base-8"}).at("expert_share_without_embeddings").get<double>(), 0.7615, 0.0005);
}

TEST(Inspect, CountsTheExpertsThatFitABudget) {
  const json result = inspect({"switch-base-8", "--expert-memory", "16MiB"});
  for (const json& format : result.at("formats")) {
    const auto bytes = format.at("expert_bytes").get<std::uint64_t>();
    const std::uint64_t slot = (bytes + 4095) / 4096 * 4096;
    EXPECT_EQ(format.at("slots").get<std::uint64_t>(), (16U << 20) / slot) << format;
  }
}

TEST(Inspect, KnowsTheExactSizeOfAPackedExpert) {
  // 2 * 768 * 3072 weights; half of them a byte each, 2 bits of position each, and a 4-byte scale for each output row.
  const std::uint64_t kept = 2 * 768 * 3072 / 2;
  const json result = inspect({"switch-base-8"});
  for (const json& format : result.at("formats")) {
    if (format.at("pattern") == "2:4" && format.at("dtype") == "int8") {
      EXPECT_EQ(format.at("expert_bytes").get<std::uint64_t>(), kept + kept / 4 + (768 + 3072) * 4);
      return;
    }
  }
  FAIL() << "no row for 2:4 int8";
}

TEST(Inspect, TakesABareConfiguration) {
  const json result = inspect({(tiny_model() / "config.json").string()});
  EXPECT_EQ(result.at("num_experts"), 4);
  EXPECT_EQ(result.at("checkpoint_bytes"), 0);
}

TEST(Inspect, AgreesBetweenACheckpointAndItsConfiguration) {
  EXPECT_EQ(inspect({tiny_model().string()}).at("parameters"),
            inspect({(tiny_model() / "config.json").string()}).at("parameters"));
}

TEST(Inspect, GivesAnExpertsBytesForTheUsualPatternsOrThoseAskedFor) {
  std::vector<std::string> patterns;
  const json usual = inspect({"switch-base-8"});
  for (const json& format : usual.at("formats")) {
    if (format.at("dtype") == "int8") patterns.push_back(format.at("pattern"));
  }
  EXPECT_THAT(patterns, ::testing::ElementsAre("1:1", "4:8", "2:4", "2:8", "1:4", "1:8", "4:16", "2:16"));
  const json asked = inspect({"switch-base-8", "--pattern", "3:5"});
  for (const json& format : asked.at("formats")) EXPECT_EQ(format.at("pattern"), "3:5");
  EXPECT_EQ(run_flame({"inspect", "switch-base-8", "--pattern", "5:3"}).exit_code, 2);
}

TEST(Synth, NamesThePresetsForANameThatIsNone) {
  const TemporaryDirectory directory;
  const ProgramResult result = run_flame({"synth", "switch-bass-8", "-o", (directory / "absent").string()});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.standard_error, HasSubstr("switch-base-128"));
}

TEST(Synth, SaysWhatItWroteAsJson) {
  const TemporaryDirectory directory;
  const std::string out = (directory / "m").string();
  const std::string config = (tiny_model() / "config.json").string();
  EXPECT_EQ(run_flame({"synth", config, "-o", out, "--shard-size", "0"}).exit_code, 2);
  const ProgramResult result = run_flame({"synth", config, "-o", out, "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.standard_error;
  const json written = json::parse(result.standard_output);
  EXPECT_EQ(written.at("output"), out);
  EXPECT_EQ(written.at("parameters"), inspect({out}).at("parameters").at("total"));
}

TEST(Synth, RefusesATokenizerThatIsNone) {
  const TemporaryDirectory directory;
  const std::string config = (tiny_model() / "config.json").string();
  const ProgramResult result = run_flame({"synth", config, "-o", (directory / "out").string(), "--tokenizer", config});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.standard_error, HasSubstr("config.json: not a SentencePiece model"));
  EXPECT_FALSE(std::filesystem::exists(directory / "out"));
}

TEST(Inspect, ReadsAConfigurationFromAPipe) {
  const std::string config = (tiny_model() / "config.json").string();
  const std::string command = std::string(FLAME_PROGRAM) + " inspect --json <(cat " + config + ")";
  const ProgramResult piped = run_program({"bash", "-c", command});
  ASSERT_EQ(piped.exit_code, 0) << piped.standard_error;
  EXPECT_THAT(piped.standard_output, HasSubstr("SwitchTransformersForConditionalGeneration"));
}

TEST(Inspect, RefusesASizeItCannotRead) {
  const ProgramResult result = run_flame({"inspect", "switch-base-8", "--expert-memory", "lots"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.standard_error, HasSubstr("--expert-memory"));
}

TEST(Inspect, RefusesABudgetInWhichNoExpertFits) {
  for (const char* budget : {"0", "1KiB"}) {
    const ProgramResult result = run_flame({"inspect", "switch-base-8", "--expert-memory", budget});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.standard_error, HasSubstr("give at least that"));
  }
}

TEST(Program, AModelThatIsNotThereIsTheSameMistakeForEveryCommand) {
  const TemporaryDirectory directory;
  const std::string out = (directory / "out").string();
  const std::string file = (tiny_model() / "model.safetensors").string();
  for (const std::string& model : {std::string("nosuch"), file}) {
    for (const std::vector<std::string>& command :
         std::vector<std::vector<std::string>>{{"inspect", model},
                                               {"synth", model, "-o", out},
                                               {"prune", model, "--pattern", "2:4", "-o", out},
                                               {"pack", model, "-o", out},
                                               {"generate", model, "--text", "x"},
                                               {"verify", model}}) {
      const ProgramResult result = run_flame(command);
      EXPECT_EQ(result.exit_code, 1) << command.front();
      EXPECT_THAT(result.standard_error, AllOf(HasSubstr("flame: " + model), Not(HasSubstr("UTF-8"))))
          << command.front();
    }
  }
}

TEST(Program, ExplainsEverySubcommandWithAnExample) {
  using Words = std::vector<std::string>;
  for (const Words& command : {Words{"bench"}, Words{"bench", "storage"}, Words{"compile"}, Words{"eval", "buffer"},
                               Words{"eval", "prediction"}, Words{"eval", "pruning"}, Words{"eval", "rouge"},
                               Words{"generate"}, Words{"inspect"}, Words{"pack"}, Words{"profile"}, Words{"prune"},
                               Words{"report"}, Words{"synth"}, Words{"trace"}, Words{"verify"}}) {
    Words words = command;
    words.push_back("--help");
    const ProgramResult result = run_flame(words);
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_THAT(result.standard_output, AllOf(HasSubstr("Example"), HasSubstr("--json"))) << command.back();
  }
}

TEST(Program, ExitsWithTwoForWrongUsage) {
  EXPECT_EQ(run_flame({}).exit_code, 2);
  const ProgramResult unknown = run_flame({"no-such-command"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.standard_error,
              HasSubstr("there is no command \"no-such-command\"; there are bench, compile, eval, generate, "));
  const ProgramResult below = run_flame({"eval", "no-such-command"});
  EXPECT_EQ(below.exit_code, 2);
  EXPECT_THAT(below.standard_error,
              HasSubstr("there is no command \"no-such-command\"; there are rouge, pruning, prediction, buffer"));
}

TEST(Program, RefusesNegativeCounts) {
  for (const auto& [command, option] : {std::pair{"generate", "--no-repeat-ngram"}, std::pair{"generate", "--top-k"},
                                        std::pair{"generate", "--seed"}, std::pair{"trace", "--min-new-tokens"}}) {
    const ProgramResult result = run_flame({command, "model", "--text", "x", option, "-1", "-o", "-"});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.standard_error, HasSubstr(std::string(option) + ": expected a number that is not negative"));
  }
}

}  // namespace
}  // namespace flame::test
