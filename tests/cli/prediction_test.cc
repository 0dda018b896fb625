#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/program.h"
#include "support/test_data.h"

namespace flame::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

/// flame trace, profile and eval prediction, one after the other on a tiny model.
class PredictionCommands : public ::testing::Test {
 protected:
  PredictionCommands() {
    std::ofstream file(directory_ / "input.jsonl");
    for (int i = 0; i < 8; ++i) file << json{{"d", "Text number " + std::to_string(i) + "."}, {"s", "One."}} << "\n";
  }

  std::string path(const std::string& name) const { return (directory_ / name).string(); }

  ProgramResult trace(const std::string& output, std::vector<std::string> more) {
    more.insert(more.begin(), {"trace", tiny_model().string(), "--input", path("input.jsonl"), "--field", "d",
                               "--max-new-tokens", "8", "-o", path(output)});
    return run_flame(more);
  }

  ProgramResult run(const std::vector<std::string>& arguments) { return run_flame(arguments); }

  std::string read_text(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  void expect_ok(const ProgramResult& result) { ASSERT_EQ(result.exit_code, 0) << result.standard_error; }

  TemporaryDirectory directory_;
};

TEST_F(PredictionCommands, LeadFromTextsToAccuracies) {
  expect_ok(trace("train", {"--limit", "5", "--hidden", "--json"}));
  expect_ok(trace("test", {"--skip", "5", "--hidden"}));
  expect_ok(run({"profile", path("train"), "-o", path("p"), "--fit", "--model", tiny_model().string()}));
  const ProgramResult result =
      run({"eval", "prediction", path("test"), "--profile", path("p"), "--depth", "1,2", "--json"});
  expect_ok(result);
  const json report = json::parse(result.standard_output);
  EXPECT_EQ(report.at("examples"), 3);
  std::vector<std::string> names;
  for (const json& entry : report.at("results")) {
    names.push_back(entry.at("predictor"));
    for (const char* key : {"m", "k", "depth", "positions", "correct", "accuracy", "per_layer", "index_bytes"}) {
      EXPECT_TRUE(entry.contains(key)) << key;
    }
    EXPECT_LE(entry.at("correct"), entry.at("positions"));
  }
  for (const char* name :
       {"cepr", "incremental", "belady", "mix", "mix-hidden", "lookahead", "next-router", "pre-attention"}) {
    EXPECT_THAT(names, ::testing::Contains(name));
  }
  const ProgramResult table = run({"eval", "prediction", path("test"), "--profile", path("p")});
  expect_ok(table);
  EXPECT_THAT(table.standard_output, HasSubstr("accuracy at equal index storage"));
}

TEST_F(PredictionCommands, ScoreNoPredictorOfHiddenStatesOnATraceWithoutThem) {
  expect_ok(trace("train", {"--limit", "5", "--hidden"}));
  expect_ok(trace("test", {"--skip", "5"}));
  expect_ok(run({"profile", path("train"), "-o", path("p"), "--fit", "--model", tiny_model().string()}));
  const std::vector<std::string> command = {"eval", "prediction", path("test"), "--profile", path("p"), "--json"};
  const ProgramResult every = run(command);
  expect_ok(every);
  EXPECT_THAT(every.standard_output, HasSubstr("\"mix\""));
  for (const char* name : {"pre-attention", "lookahead", "next-router", "mix-hidden"}) {
    EXPECT_THAT(every.standard_output, ::testing::Not(HasSubstr(name)));
    std::vector<std::string> asked = command;
    asked.insert(asked.end(), {"--predictor", std::string("cepr,") + name});
    const ProgramResult refused = run(asked);
    EXPECT_EQ(refused.exit_code, 2) << name;
    EXPECT_THAT(refused.standard_error, HasSubstr(std::string("predictor ") + name));
    EXPECT_THAT(refused.standard_error, HasSubstr("--hidden"));
  }
}

TEST_F(PredictionCommands, RefuseNumbersThatAreNoneOfTheirs) {
  expect_ok(trace("t", {"--limit", "2"}));
  expect_ok(trace("other", {"--skip", "2", "--limit", "2"}));
  expect_ok(run({"profile", path("t"), "-o", path("p")}));
  for (const char* samples : {"-1", "1000000000"}) {
    const ProgramResult result =
        run({"eval", "prediction", path("other"), "--profile", path("p"), "--samples", samples});
    EXPECT_EQ(result.exit_code, 2) << samples;
    EXPECT_THAT(result.standard_error, HasSubstr("--samples"));
  }
  const ProgramResult skipped = trace("x", {"--skip", "-1"});
  EXPECT_EQ(skipped.exit_code, 2);
  EXPECT_THAT(skipped.standard_error, HasSubstr("--skip"));
}

TEST_F(PredictionCommands, RefuseOptionsWithoutEffectAndOutputsThatAreNoFiles) {
  for (const std::vector<std::string>& options :
       std::vector<std::vector<std::string>>{{"--teacher-forced", "s"}, {"--limit", "0"}, {"--beams", "2"}}) {
    EXPECT_EQ(trace("t", options).exit_code, 2) << options.front();  // --max-new-tokens is given, too
  }
  for (const char* target : {"-", "/dev/full"}) {
    const ProgramResult result = run({"trace", tiny_model().string(), "--text", "x", "-o", target});
    EXPECT_EQ(result.exit_code, 2) << target;
    EXPECT_FALSE(std::filesystem::exists(std::string(target) + ".parts"));
  }
  expect_ok(trace("t", {"--limit", "2"}));
  EXPECT_EQ(run({"profile", path("t"), "-o", path("p"), "--fit-context", "2"}).exit_code, 2);
  EXPECT_EQ(run({"profile", path("t"), "-o", "/dev/full"}).exit_code, 2);
  const ProgramResult counted = run({"profile", path("t"), "-o", path("p"), "--json"});
  expect_ok(counted);
  EXPECT_EQ(json::parse(counted.standard_output).at("examples"), 2);
}

TEST_F(PredictionCommands, ExitWithOneWhenALineOfATraceWasBad) {
  std::ofstream(directory_ / "input.jsonl", std::ios::app) << "not json\n";
  const ProgramResult result = trace("t", {});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.standard_error, HasSubstr("1 bad line"));
  EXPECT_THAT(result.standard_output, HasSubstr("8 examples"));
}

TEST_F(PredictionCommands, MergeProfilesOfPartsIntoThatOfTheWhole) {
  expect_ok(trace("a", {"--limit", "3"}));
  expect_ok(trace("b", {"--skip", "3"}));
  expect_ok(run({"profile", path("a"), path("b"), "-o", path("whole")}));
  expect_ok(run({"profile", path("a"), "-o", path("pa")}));
  expect_ok(run({"profile", path("b"), "-o", path("pb")}));
  expect_ok(run({"profile", "--merge", path("pa"), path("pb"), "-o", path("merged")}));
  EXPECT_EQ(read_text("merged"), read_text("whole"));
  const ProgramResult recounted = run({"profile", path("a"), path("a"), "-o", path("x")});
  EXPECT_EQ(recounted.exit_code, 2);
  EXPECT_THAT(recounted.standard_error, HasSubstr("given twice"));
  const ProgramResult twice = run({"profile", "--merge", path("pa"), path("pa"), "-o", path("x")});
  EXPECT_EQ(twice.exit_code, 2);
  EXPECT_THAT(twice.standard_error, HasSubstr("given twice"));
}

#ifdef FLAME_MPIRUN
TEST_F(PredictionCommands, CountTheProfileOfTheWholeOnSeveralProcesses) {
  expect_ok(trace("a", {"--limit", "3"}));
  expect_ok(trace("b", {"--skip", "3", "--limit", "2"}));
  expect_ok(trace("c", {"--skip", "5"}));
  expect_ok(run({"profile", path("a"), path("b"), path("c"), "-o", path("whole")}));
  for (const char* processes : {"1", "2", "4"}) {  // fewer and more than traces
    // As root, and with more processes than cores, only when told that this is meant.
    const ProgramResult counted =
        run_program({FLAME_MPIRUN, "--allow-run-as-root", "--oversubscribe", "-n", processes, FLAME_PROGRAM, "profile",
                     path("a"), path("b"), path("c"), "-o", path(std::string("whole") + processes)});
    expect_ok(counted);
    EXPECT_EQ(read_text(std::string("whole") + processes), read_text("whole")) << processes;
  }
  const ProgramResult broken = run_program({FLAME_MPIRUN, "--allow-run-as-root", "--oversubscribe", "-n", "2",
                                            FLAME_PROGRAM, "profile", path("a"), path("absent"), "-o", path("x")});
  EXPECT_NE(broken.exit_code, 0);
  EXPECT_THAT(broken.standard_error, HasSubstr("absent"));
}
#endif

TEST_F(PredictionCommands, ShowHowSkewedThePathsAre) {
  expect_ok(trace("a", {"--limit", "3"}));
  expect_ok(run({"profile", path("a"), "-o", path("p")}));
  const ProgramResult text = run({"profile", "--show", path("p")});
  expect_ok(text);
  EXPECT_THAT(text.standard_output, HasSubstr("hottest paths"));
  const ProgramResult shown = run({"profile", "--show", "--json", path("p")});
  expect_ok(shown);
  const json report = json::parse(shown.standard_output);
  EXPECT_EQ(report.at("examples"), 3);
  EXPECT_TRUE(report.contains("hottest"));
}

TEST_F(PredictionCommands, ReplayOnlyExamplesThatTheProfileHasNotSeen) {
  expect_ok(trace("train", {"--limit", "5"}));
  expect_ok(trace("all", {}));
  expect_ok(run({"profile", path("train"), "-o", path("p")}));
  const std::vector<std::string> replay = {"eval",       "buffer",  path("all"), "--profile", path("p"), "--predictor",
                                           "popularity", "--slots", "1",         "--mode",    "paper",   "--json"};
  const ProgramResult refused = run(replay);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.standard_error, HasSubstr("--skip-overlapping"));
  std::vector<std::string> skipping = replay;
  skipping.emplace_back("--skip-overlapping");
  const ProgramResult skipped = run(skipping);
  expect_ok(skipped);
  const json report = json::parse(skipped.standard_output);
  EXPECT_EQ(report.at("overlapping_examples_left_out"), 5);
  EXPECT_GT(report.at("results").at(0).at("steps"), 0);
  for (const auto& [option, value] : std::vector<std::pair<std::string, std::string>>{{"--slots", "1000"},
                                                                                      {"--expert-bytes", "0"},
                                                                                      {"--gap-us", "1e300"},
                                                                                      {"--gap-us", "nan"},
                                                                                      {"--compute-us", "-1"}}) {
    std::vector<std::string> odd = skipping;
    odd.insert(odd.end(), {option, value});
    const ProgramResult result = run(odd);
    EXPECT_EQ(result.exit_code, 2) << option;
    EXPECT_THAT(result.standard_error, HasSubstr(option));
  }
  skipping[2] = path("train");
  EXPECT_EQ(run(skipping).exit_code, 2) << "none is left";
}

TEST_F(PredictionCommands, ReplayTheBufferWithWhatEveryOptionAsksFor) {
  expect_ok(trace("train", {"--limit", "5"}));
  expect_ok(trace("all", {}));
  expect_ok(run({"profile", path("train"), "-o", path("p")}));
  const auto replay = [&](const std::vector<std::string>& more) {
    std::vector<std::string> command{"eval",  "buffer", path("all"), "--profile", path("p"), "--skip-overlapping",
                                     "--json"};
    command.insert(command.end(), more.begin(), more.end());
    return run(command);
  };
  const ProgramResult nothing = replay({"--predictor", "none", "--mode", "paper"});
  EXPECT_EQ(nothing.exit_code, 2);
  EXPECT_THAT(nothing.standard_error, HasSubstr("none names no experts"));
  const ProgramResult replaced = replay({"--predictor", "lru", "--mode", "runtime", "--replacement", "static"});
  EXPECT_EQ(replaced.exit_code, 2);
  EXPECT_THAT(replaced.standard_error, HasSubstr("--replacement static has no effect: lru stands for"));
  const ProgramResult ordered = replay({"--predictor", "popularity", "--context", "2"});
  EXPECT_EQ(ordered.exit_code, 2);
  EXPECT_THAT(ordered.standard_error, HasSubstr("--context has no effect"));
  const ProgramResult foreseen = replay({"--predictor", "lru", "oracle", "--mode", "runtime", "--foreseen", "1"});
  EXPECT_EQ(foreseen.exit_code, 2);
  EXPECT_THAT(foreseen.standard_error, HasSubstr("--foreseen has no effect"));
  const auto seconds = [&](const char* first) {
    const ProgramResult result =
        replay({"--predictor", "popularity", "--mode", "runtime", "--slots", "3", "--foreseen", first});
    expect_ok(result);
    return json::parse(result.standard_output).at("results").at(0).at("total_seconds").get<double>();
  };
  EXPECT_LT(seconds("8"), seconds("1"));
  const ProgramResult table = run({"eval", "buffer", path("all"), "--profile", path("p"), "--skip-overlapping",
                                   "--predictor", "lru", "cepr", "auto", "--context", "2", "--slots", "2"});
  expect_ok(table);
  EXPECT_THAT(table.standard_output, ::testing::ContainsRegex("lru +–  "));
  EXPECT_THAT(table.standard_output, ::testing::ContainsRegex("cepr +2  "));
  EXPECT_THAT(table.standard_output, ::testing::ContainsRegex("paper +auto +2  "));
  // The profile has nothing fitted, so that auto is cepr, with the m of flame generate unless another is asked for.
  for (const char* context : {"3", "2"}) {
    const auto results = [&](const std::string& predictor, bool asked) {
      std::vector<std::string> options{"--predictor", predictor, "--mode", "runtime", "--slots", "3"};
      if (asked) options.insert(options.end(), {"--context", context});
      const ProgramResult result = replay(options);
      expect_ok(result);
      json list = json::parse(result.standard_output).at("results");
      for (json& object : list) object.erase("predictor");
      return list;
    };
    EXPECT_EQ(results("auto", std::string(context) == "2"), results("cepr", true));
  }
}

TEST_F(PredictionCommands, RouteAPublishedModelsSizeOnTheAcceleratorAsTheirTraceDoes) {
  expect_ok(trace("a", {}));
  const ProgramResult result = run({"bench", "switch-base-4", "--device", "fpga-sim", "--transactions", "--route-trace",
                                    path("a"), "--work", path("work"), "--tokens", "4", "--json"});
  expect_ok(result);
  EXPECT_EQ(json::parse(result.standard_output).at("model"), "switch-base-4");
  EXPECT_NE(run({"bench", "switch-base-9", "--device", "fpga-sim", "--transactions", "--route-trace", path("a"),
                 "--work", path("work")})
                .exit_code,
            0);
}

TEST_F(PredictionCommands, SkipIdsThatTheModelDoesNotHave) {
  std::ofstream file(directory_ / "ids.jsonl");
  for (const int id : {3, 99999999, 5}) file << json{{"tokens", json::array({id, 1})}} << "\n";
  file.close();
  const std::vector<std::string> tracing = {"trace", tiny_model().string(), "--input-ids", path("ids.jsonl"), "--json",
                                            "-o"};
  std::vector<std::string> lenient = tracing;
  lenient.push_back(path("a"));
  const ProgramResult result = run(lenient);
  EXPECT_EQ(result.exit_code, 1) << result.standard_error;
  EXPECT_THAT(result.standard_error, HasSubstr("prompt 2: token id 99999999"));
  EXPECT_EQ(json::parse(result.standard_output).at("examples"), 2);
  std::vector<std::string> strict = tracing;
  strict.insert(strict.end(), {path("b"), "--strict"});
  EXPECT_EQ(run(strict).exit_code, 2);
  EXPECT_FALSE(std::filesystem::exists(path("b.parts")));
}

TEST_F(PredictionCommands, FollowReferences) {
  expect_ok(run({"trace", tiny_model().string(), "--input", path("input.jsonl"), "--field", "d", "--teacher-forced",
                 "s", "-o", path("a")}));
  const ProgramResult shown = run({"profile", "--show", "--json", path("a")});
  expect_ok(shown);
  EXPECT_EQ(json::parse(shown.standard_output).at("examples"), 8);
}

TEST_F(PredictionCommands, RefuseOptionsThatChangeNothing) {
  expect_ok(trace("train", {"--limit", "5"}));
  expect_ok(trace("test", {"--skip", "5"}));
  expect_ok(run({"profile", path("train"), "-o", path("p")}));
  const auto refused = [&](std::vector<std::string> more, const std::string& said) {
    std::vector<std::string> words = {"eval", "prediction", path("test"), "--profile", path("p")};
    words.insert(words.end(), more.begin(), more.end());
    const ProgramResult result = run(words);
    EXPECT_EQ(result.exit_code, 2) << result.standard_output;
    EXPECT_THAT(result.standard_error, HasSubstr(said));
  };
  refused({"--predictor", "popularity,token", "--order", "2"}, "--order has no effect without cepr");
  refused({"--budget", "0"}, "--budget 0: expected a size above 0");
  refused({"--samples", "0", "--seed", "3"}, "--seed has no effect with --samples 0");
  refused({"--json", "--layers"}, "--layers has no effect with --json");
  refused({"--json", "--predictor", "cepr", "--budget", "1KiB"}, "--budget has no effect with --json");

  const ProgramResult fitted =
      run({"profile", path("train"), "-o", path("f"), "--fit", "--order", "2", "--fit-context", "9"});
  EXPECT_EQ(fitted.exit_code, 2);
  EXPECT_THAT(fitted.standard_error, HasSubstr("a context of 9 experts is to be fitted, but the profile counts 2"));
  EXPECT_FALSE(std::filesystem::exists(path("f")));
  expect_ok(run({"profile", path("train"), "-o", path("f"), "--fit", "--order", "2"}));
}

TEST_F(PredictionCommands, SayWhatIsWrong) {
  expect_ok(trace("a", {}));
  const ProgramResult again = trace("a", {});
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.standard_error, HasSubstr("exists already"));
  EXPECT_EQ(run({"profile", path("a")}).exit_code, 2) << "neither -o nor --show";
  expect_ok(run({"profile", path("a"), "-o", path("p")}));
  const ProgramResult same = run({"eval", "prediction", path("a"), "--profile", path("p")});
  EXPECT_EQ(same.exit_code, 2);
  EXPECT_THAT(same.standard_error, HasSubstr("counted in the profile"));
  const ProgramResult swapped = run({"eval", "prediction", path("p"), "--profile", path("a")});
  EXPECT_EQ(swapped.exit_code, 1) << swapped.standard_error;
}

}  // namespace
}  // namespace flame::test
