#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "cli/program.h"
#include "support/test_data.h"

namespace flame::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

/// --device fpga-sim on a tiny model: its bundle, and a trace of it.
class AcceleratorCommands : public ::testing::Test {
 protected:
  AcceleratorCommands() {
    std::ofstream file(directory_ / "input.jsonl");
    for (int i = 0; i < 6; ++i) file << json{{"d", "Text number " + std::to_string(i) + "."}} << "\n";
    file.close();
    expect_ok({"trace", tiny_model().string(), "--input", path("input.jsonl"), "--field", "d", "--max-new-tokens", "8",
               "-o", path("trace")});
  }

  std::string path(const std::string& name) const { return (directory_ / name).string(); }
  std::string expect_ok(const std::vector<std::string>& arguments) {
    const ProgramResult result = run_flame(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.standard_error;
    return result.standard_output;
  }
  json bench(std::vector<std::string> more) {
    more.insert(more.begin(), {"bench", tiny_model().string(), "--device", "fpga-sim", "--transactions", "--json",
                               "--route-trace", path("trace"), "--work", path("work"), "--tokens", "8"});
    return json::parse(expect_ok(more));
  }

  TemporaryDirectory directory_;
};

TEST_F(AcceleratorCommands, BenchGivesTheFourRowsAndCyclesThatAddUp) {
  const json report = bench({"--pattern", "2:4", "1:4", "--slots", "1", "4"});
  std::vector<std::string> rows;
  for (const json& row : report.at("results")) {
    rows.push_back(row.at("scope").get<std::string>() + " " + row.at("configuration").get<std::string>() + " " +
                   row.at("pattern").get<std::string>());
    double sum = 0.0;
    for (const auto& [kind, cycles] : row.at("cycles").items())
      sum += kind == "not started" ? 0.0 : cycles.get<double>();
    EXPECT_NEAR(sum, row.at("cycles_per_token").get<double>(), 1e-6 * sum);
  }
  EXPECT_THAT(
      rows, ::testing::ElementsAre("moe neither dense", "moe CEPR dense", "moe N:M 2:4", "moe both 2:4", "moe N:M 1:4",
                                   "moe both 1:4", "decoder neither dense", "decoder CEPR dense", "decoder N:M 2:4",
                                   "decoder both 2:4", "decoder N:M 1:4", "decoder both 1:4"));
  // The sweep: every pattern at every number of slots, with and without prediction, in both scopes.
  EXPECT_EQ(report.at("sweep").size(), 3U * 2U * 2U * 2U);
  std::set<std::size_t> slots;
  for (const json& row : report.at("sweep")) slots.insert(row.at("slots").get<std::size_t>());
  EXPECT_EQ(slots, (std::set<std::size_t>{1, 4}));
}

TEST_F(AcceleratorCommands, TheTransactionModelCountsTheLookupsOfTheRtl) {
  std::vector<std::string> options{
      "bench", tiny_model().string(), "--device",    "fpga-sim",  "--json", "--work",     path("work"), "--tokens",
      "12",    "--route-trace",       path("trace"), "--warm-up", "0",      "--moe-only", "--lanes",    "64"};
  const ProgramResult rtl = run_flame(options);
  if (rtl.exit_code != 0) {
    EXPECT_THAT(rtl.standard_error, HasSubstr("built without Verilator"));
    GTEST_SKIP() << rtl.standard_error;
  }
  options.push_back("--transactions");
  const json model = json::parse(expect_ok(options)).at("results");
  const json measured = json::parse(rtl.standard_output).at("results");
  ASSERT_EQ(measured.size(), model.size());
  for (std::size_t row = 0; row < model.size(); ++row) {
    EXPECT_EQ(measured.at(row).at("scope"), "moe");
    const double cycles = measured.at(row).at("cycles_per_token").get<double>();
    EXPECT_NEAR(model.at(row).at("cycles_per_token").get<double>(), cycles, 0.1 * cycles);
    if (measured.at(row).at("predictor") != "none") continue;
    for (const char* key : {"hits", "late", "misses"})
      EXPECT_EQ(measured.at(row).at(key), model.at(row).at(key)) << key;
  }
}

TEST_F(AcceleratorCommands, WaitingForWholeExpertsIsSlower) {
  const json overlapped = bench({"--slots", "1"}), serial = bench({"--slots", "1", "--no-overlap"});
  const auto cycles = [](const json& report) { return report.at("sweep").at(0).at("cycles_per_token").get<double>(); };
  EXPECT_GT(cycles(serial), cycles(overlapped));
}

TEST_F(AcceleratorCommands, AResidentExpertTakesAsManyStepsAsItKeepsWeights) {
  const ProgramResult result = run_flame({"bench", tiny_model().string(), "--device", "fpga-sim", "--json",
                                          "--resident", "--lanes", "64", "--pattern", "2:4"});
  if (result.exit_code != 0) {
    EXPECT_THAT(result.standard_error, HasSubstr("built without Verilator"));
    GTEST_SKIP() << result.standard_error;
  }
  const json rows = json::parse(result.standard_output).at("results");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows.at(0).at("pattern"), "dense");
  EXPECT_EQ(rows.at(0).at("steps_per_expert"), 2 * rows.at(1).at("steps_per_expert").get<int>());
  EXPECT_EQ(rows.at(1).at("misses"), 0);
  EXPECT_GT(rows.at(1).at("speedup"), 1.0);
}

TEST_F(AcceleratorCommands, OptionsOfTheAcceleratorAreRefusedOnTheCpu) {
  for (const char* flag : {"--no-overlap", "--transactions", "--keep-popular", "--moe-only"}) {
    const ProgramResult result = run_flame({"bench", tiny_model().string(), "--work", path("work"), flag});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.standard_error, HasSubstr(std::string(flag) + " has no effect with --device cpu"));
  }
}

TEST_F(AcceleratorCommands, GenerateWritesATimelineOfTheSimulatedCard) {
  expect_ok({"pack", tiny_model().string(), "-o", path("bundle"), "--pattern", "2:4", "--dtype", "int8"});
  const ProgramResult result =
      run_flame({"generate", path("bundle"), "--text", "One text.", "--max-new-tokens", "3", "--device", "fpga-sim",
                 "--timeline", path("timeline.json"), "--vcd", path("wave.fst")});
  if (result.exit_code != 0) {
    EXPECT_THAT(result.standard_error, HasSubstr("built without Verilator"));
    GTEST_SKIP() << result.standard_error;
  }
  std::ifstream file(path("timeline.json"));
  std::set<std::string> kinds;
  for (const json& event : json::parse(file)) {
    if (event.at("ph") == "X") kinds.insert(event.at("cat"));
  }
  EXPECT_TRUE(kinds.contains("route"));
  EXPECT_TRUE(kinds.contains("load"));
  EXPECT_TRUE(kinds.contains("compute while loading"));
  std::ifstream wave(path("wave.fst"), std::ios::binary);
  EXPECT_GT(wave.seekg(0, std::ios::end).tellg(), 1000);
}

TEST_F(AcceleratorCommands, EveryArrayGivesTheTokensOfTheProcessor) {
  expect_ok({"pack", tiny_model().string(), "-o", path("bundle"), "--pattern", "2:4", "--dtype", "int8"});
  const std::vector<std::string> command{"generate", path("bundle"), "--text",  "One text.", "--max-new-tokens",
                                         "6",        "--json",       "--device"};
  const auto tokens_with = [&](const std::vector<std::string>& more) -> json {
    std::vector<std::string> words = command;
    words.insert(words.end(), more.begin(), more.end());
    const ProgramResult result = run_flame(words);
    if (result.standard_error.find("built without Verilator") != std::string::npos) return nullptr;
    EXPECT_EQ(result.exit_code, 0) << result.standard_error;
    return json::parse(result.standard_output).at("tokens");
  };
  const json expected = tokens_with({"cpu"});
  for (const char* lanes : {"16", "64", "256"}) {
    const json tokens = tokens_with({"fpga-sim", "--lanes", lanes});
    if (tokens.is_null()) GTEST_SKIP() << "built without Verilator";
    EXPECT_EQ(tokens, expected) << lanes << " lanes";
  }
}

TEST_F(AcceleratorCommands, GenerateCountsCyclesPerTokenOutWhateverTheBeams) {
  expect_ok({"pack", tiny_model().string(), "-o", path("bundle"), "--pattern", "2:4", "--dtype", "int8"});
  const ProgramResult result = run_flame({"generate", path("bundle"), "--text", "One text.", "--max-new-tokens", "3",
                                          "--beams", "3", "--device", "fpga-sim", "--json", "--stats"});
  if (result.exit_code != 0) {
    EXPECT_THAT(result.standard_error, HasSubstr("built without Verilator"));
    GTEST_SKIP() << result.standard_error;
  }
  const json line = json::parse(result.standard_output);
  const auto tokens = line.at("tokens").size();
  const json& report = line.at("stats").at("accelerator");
  const std::string& text = result.standard_error;
  const std::size_t begin = text.find("{\"accelerator\"");
  EXPECT_EQ(json::parse(text.substr(begin, text.find('\n', begin) - begin)).at("accelerator").at("cycles"),
            report.at("cycles"));
  EXPECT_NEAR(report.at("cycles_per_token").get<double>(),
              report.at("cycles").get<double>() / static_cast<double>(tokens), 1e-6);
  std::uint64_t sum = 0;
  for (const auto& [kind, cycles] : report.at("cycles_by_kind").items()) sum += cycles.get<std::uint64_t>();
  EXPECT_EQ(sum, report.at("cycles").get<std::uint64_t>());
}

TEST_F(AcceleratorCommands, EveryLineOfJsonHasTheCyclesOfItsOwnPromptAndNamesItsClocks) {
  expect_ok({"pack", tiny_model().string(), "-o", path("bundle"), "--pattern", "2:4", "--dtype", "int8"});
  const ProgramResult result = run_flame({"generate", path("bundle"), "--input", path("input.jsonl"), "--field", "d",
                                          "--limit", "2", "--max-new-tokens", "3", "--device", "fpga-sim", "--json"});
  if (result.exit_code != 0) {
    EXPECT_THAT(result.standard_error, HasSubstr("built without Verilator"));
    GTEST_SKIP() << result.standard_error;
  }
  std::istringstream lines(result.standard_output);
  std::size_t count = 0;
  for (std::string text; std::getline(lines, text); ++count) {
    const json stats = json::parse(text).at("stats");
    const json& report = stats.at("accelerator");
    EXPECT_EQ(stats.at("clocks"), (json{{"seconds", "wall"}, {"wait_seconds", "kernel"}}));
    EXPECT_EQ(stats.at("wait_seconds"), report.at("kernel_wait_seconds"));
    EXPECT_DOUBLE_EQ(report.at("kernel_seconds").get<double>() * report.at("clock_mhz").get<double>() * 1e6,
                     report.at("cycles").get<double>());
    for (const char* key : {"hits", "late", "misses"}) EXPECT_EQ(stats.at(key), report.at(key)) << key;
    EXPECT_EQ(report.at("decoder_expert_runs"), stats.at("output_tokens").get<int>() * 2) << "one a MoE layer";
  }
  EXPECT_EQ(count, 2U);
  EXPECT_EQ(result.standard_error, "");
}

TEST_F(AcceleratorCommands, MoreSequencesThanTheKernelTellsApartAreRefusedBeforeAnythingRuns) {
  expect_ok({"pack", tiny_model().string(), "-o", path("bundle"), "--pattern", "2:4", "--dtype", "int8"});
  const std::vector<std::string> command{"generate", path("bundle"), "--input",  path("input.jsonl"), "--field",
                                         "d",        "--device",     "fpga-sim", "--max-new-tokens",  "3"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = command;
    words.insert(words.end(), more.begin(), more.end());
    return run_flame(words);
  };
  const ProgramResult beams = with({"--beams", "65"});
  if (beams.standard_error.find("built without Verilator") != std::string::npos) GTEST_SKIP() << beams.standard_error;
  EXPECT_EQ(beams.exit_code, 2);
  EXPECT_THAT(beams.standard_error, HasSubstr("the histories of 64: use at most 64"));
  const ProgramResult batch = with({"--beams", "5", "--batch", "13"});
  EXPECT_EQ(batch.exit_code, 2);
  EXPECT_THAT(batch.standard_error, HasSubstr("--batch 13 with 5 beams"));
  EXPECT_THAT(batch.standard_error, HasSubstr("use at most --batch 12"));
  EXPECT_EQ(with({"--beams", "64", "--limit", "1"}).exit_code, 0);
}

TEST_F(AcceleratorCommands, AWaveformHasALengthAndABeginning) {
  expect_ok({"pack", tiny_model().string(), "-o", path("bundle"), "--pattern", "2:4", "--dtype", "int8"});
  const auto generate = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words{"generate", path("bundle"), "--text",  "One.", "--max-new-tokens",
                                   "1",        "--device",     "fpga-sim"};
    words.insert(words.end(), more.begin(), more.end());
    return run_flame(words);
  };
  const ProgramResult result = generate({"--vcd", path("w.fst"), "--vcd-start", "600", "--vcd-cycles", "50"});
  if (result.standard_error.find("built without Verilator") != std::string::npos) GTEST_SKIP() << result.standard_error;
  EXPECT_EQ(result.exit_code, 0) << result.standard_error;
  EXPECT_THAT(result.standard_error, HasSubstr("w.fst: cycles 600 to 650 of "));
  const ProgramResult late = generate({"--vcd", path("w.fst"), "--vcd-start", "1000000000"});
  EXPECT_EQ(late.exit_code, 1);
  EXPECT_THAT(late.standard_error, HasSubstr("was to start in cycle 1000000000"));
  EXPECT_GT(std::filesystem::file_size(path("w.fst")), 0U) << "the waveform of the run before stays";
  EXPECT_EQ(generate({"--vcd", ""}).exit_code, 2);
  const ProgramResult alone = generate({"--vcd-cycles", "50"});
  EXPECT_EQ(alone.exit_code, 2);
  EXPECT_THAT(alone.standard_error, HasSubstr("--vcd-cycles has no effect without --vcd FILE"));
}

TEST_F(AcceleratorCommands, BenchRefusesWhatItsKernelCannotDo) {
  const auto refusal = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words{
        "bench",  tiny_model().string(), "--device", "fpga-sim", "--transactions", "--route-trace", path("trace"),
        "--work", path("work"),          "--tokens", "2"};
    words.insert(words.end(), more.begin(), more.end());
    const ProgramResult result = run_flame(words);
    EXPECT_EQ(result.exit_code, 2);
    return result.standard_error;
  };
  EXPECT_THAT(refusal({"--context", "5"}), HasSubstr("predicts from at most 4 decisions, not 5"));
  EXPECT_THAT(refusal({"--budget", "0"}), HasSubstr("--budget 0: no expert fits"));
  EXPECT_THAT(refusal({"--budget", "100"}), HasSubstr("hold no expert"));
  EXPECT_THAT(refusal({"--budget", "1GiB"}), HasSubstr("the accelerator has 26.0 MiB of slots"));
  EXPECT_THAT(refusal({"--budget", "25%"}), HasSubstr("give bytes of slot memory, not a share"));
}

TEST_F(AcceleratorCommands, BenchRefusesATraceOfASmallerModel) {
  const ProgramResult result = run_flame({"bench", "switch-base-16", "--device", "fpga-sim", "--transactions",
                                          "--route-trace", path("trace"), "--work", path("work"), "--tokens", "2"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.standard_error, HasSubstr("experts a layer, switch-base-16 has 16"));
}

TEST_F(AcceleratorCommands, ModelsWithMoreExpertsThanTheKernelAreRefused) {
  const ProgramResult result = run_flame({"bench", "switch-base-32", "--device", "fpga-sim", "--transactions",
                                          "--route-trace", path("trace"), "--work", path("work"), "--tokens", "2"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.standard_error, HasSubstr("at most 12 MoE layers of 16 experts, this model has 6 of 32"));
}

}  // namespace
}  // namespace flame::test
