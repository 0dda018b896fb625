#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
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
using ::testing::Not;

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

/// Twelve examples with references.
class ReportCommand : public ::testing::Test {
 protected:
  ReportCommand() {
    std::ofstream file(directory_ / "data.jsonl");
    for (int i = 0; i < 12; ++i) {
      file << json{{"d", "Text number " + std::to_string(i) + "."}, {"s", "One of them."}} << "\n";
    }
  }

  ProgramResult report(const std::string& only, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"report",      tiny_model().string(),
                                          "--data",      (directory_ / "data.jsonl").string(),
                                          "--field",     "d",
                                          "--reference", "s",
                                          "-o",          (directory_ / "out").string(),
                                          "--quick",     "--only",
                                          only};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_flame(arguments);
  }

  TemporaryDirectory directory_;
};

TEST_F(ReportCommand, KeepsItsMeasurementsAndGoesOnFromThem) {
  const ProgramResult first = report("fig4a,fig5a");
  ASSERT_EQ(first.exit_code, 0) << first.standard_error;
  EXPECT_THAT(first.standard_error, HasSubstr("flame inspect"));
  EXPECT_THAT(read_text(directory_ / "out" / "index.html"), HasSubstr("Figure 5(a)"));
  EXPECT_TRUE(std::filesystem::exists(directory_ / "out" / "figures" / "fig5a.svg"));
  const json stored = json::parse(read_text(directory_ / "out" / "data" / "inspect.json"));
  EXPECT_THAT(stored.at("command").get<std::string>(), HasSubstr("flame inspect"));
  EXPECT_EQ(stored.at("output").at("num_experts"), 4);
  const ProgramResult again = report("fig4a,fig5a");
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_THAT(again.standard_error, Not(HasSubstr("flame inspect"))) << "all of it is there";
}

TEST_F(ReportCommand, DrawsElsewhereWhatHasBeenMeasured) {
  ASSERT_EQ(report("fig4a").exit_code, 0);
  const std::string data = (directory_ / "out" / "data").string();
  const std::string elsewhere = (directory_ / "elsewhere").string();
  const ProgramResult drawn = run_flame({"report", "--from", data, "-o", elsewhere});
  EXPECT_EQ(drawn.exit_code, 0) << drawn.standard_error;
  const std::string page = read_text(directory_ / "elsewhere" / "index.html");
  EXPECT_THAT(page, HasSubstr("../out/data/inspect.json"));
  EXPECT_THAT(page, HasSubstr("has not been run")) << "the items that were not measured say so";
  EXPECT_EQ(run_flame({"report", "--from", data, "--quick", "-o", elsewhere}).exit_code, 2);
}

TEST_F(ReportCommand, DrawsNoPageAmongTheData) {
  ASSERT_EQ(report("fig4a").exit_code, 0);
  const std::filesystem::path data = directory_ / "out" / "data";
  const ProgramResult drawn = run_flame({"report", "--from", data.string(), "-o", (data / "." / "").string()});
  EXPECT_EQ(drawn.exit_code, 2);
  EXPECT_THAT(drawn.standard_error, HasSubstr("give another"));
  EXPECT_FALSE(std::filesystem::exists(data / "index.html"));
}

TEST_F(ReportCommand, DrawsEveryItemOfTheRepositorysData) {
  const ProgramResult drawn = run_flame(
      {"report", "--from", source_path("docs/results/data").string(), "-o", (directory_ / "elsewhere").string()});
  EXPECT_EQ(drawn.exit_code, 0);
  EXPECT_THAT(drawn.standard_error, Not(HasSubstr("is left out")));
  const std::string page = read_text(directory_ / "elsewhere" / "index.html");
  EXPECT_THAT(page, HasSubstr("--profile build/results")) << "commands are those that were run";
  // What the table of 2,048 bytes has at k = 1 and 2.
  const json prediction = json::parse(read_text(source_path("docs/results/data/prediction.json")));
  for (const json& result : prediction["output"]["results"]) {
    if (result["predictor"] != "token" || result.value("budget_bytes", 0) != 2048 || result["k"] > 2) continue;
    std::array<char, 16> percent{};
    std::snprintf(percent.data(), percent.size(), "%.2f %%", 100.0 * result["accuracy"].get<double>());
    EXPECT_THAT(page, HasSubstr(percent.data()));
  }
}

TEST_F(ReportCommand, ItsPageIsHeldAgainstTheDataAlsoWhereThePapersNumbersStand) {
  ASSERT_EQ(run_flame({"report", "--from", source_path("docs/results/data").string(), "-o",
                       (directory_ / "elsewhere").string()})
                .exit_code,
            0);
  const std::filesystem::path page = directory_ / "elsewhere" / "index.html";
  const std::filesystem::path said = directory_ / "said";
  const auto check = [&] {
    const std::string command = "python3 '" + source_path("tools/report/check_page.py").string() + "' '" +
                                page.string() + "' > '" + said.string() + "' 2>&1";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  std::string text = read_text(page);
  // A number of ours beside the paper's, and a bar.
  const std::size_t cell = text.find('>', text.find("CEPR, k = 2, best</td>") + 22) + 1;
  ASSERT_LT(cell, text.size());
  text[cell] = text[cell] == '9' ? '8' : '9';
  const std::size_t bar = text.find("points = '", text.find("id=\"fig4b-gnuplot_plot_1\"")) + 10;
  ASSERT_LT(bar, text.size());
  text.replace(bar, text.find('\'', bar) - bar, "252.80,317.60 361.89,317.60 361.89,45.46 252.80,45.46");
  std::ofstream(page) << text;
  const int exit_code = check();
  if (exit_code == 77 || exit_code == 127) GTEST_SKIP() << "no Chromium, or no Python";
  EXPECT_EQ(exit_code, 1);
  const std::string complaints = read_text(said);
  EXPECT_THAT(complaints, HasSubstr("(CEPR, k = 2, best), 'ours:"));
  EXPECT_THAT(complaints, HasSubstr("fig4b: bar"));
  EXPECT_THAT(complaints, HasSubstr(", 2 complaints")) << "nothing else is wrong with the page";
}

TEST_F(ReportCommand, SaysWhichItemsAnotherBuildHasMeasured) {
  const ProgramResult first = report("fig4a,fig5b");
  ASSERT_EQ(first.exit_code, 0) << first.standard_error;
  constexpr const char* kSaid = "Not all of this was measured by the build of flame";
  EXPECT_THAT(first.standard_error, Not(HasSubstr(kSaid)));
  EXPECT_THAT(read_text(directory_ / "out" / "index.html"), Not(HasSubstr(kSaid)));
  const std::filesystem::path path = directory_ / "out" / "data" / "paths.json";
  json stored = json::parse(read_text(path));
  ASSERT_EQ(stored.at("program").get<std::string>().size(), 16U);
  stored["program"] = "0123456789abcdef";
  std::ofstream(path) << stored;
  const ProgramResult again = report("fig4a,fig5b");
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_THAT(again.standard_error, HasSubstr("in part or whole fig5a, fig5b, fig6a, fig6b by XXH3 0123456789abcdef."))
      << "those, too, that stand on the page for being stored";
  EXPECT_THAT(again.standard_error, Not(HasSubstr("flame profile"))) << "it is used all the same";
  EXPECT_THAT(read_text(directory_ / "out" / "index.html"), HasSubstr("fig6b by XXH3 0123456789abcdef."));
  const ProgramResult drawn = run_flame({"report", "--from", (directory_ / "out" / "data").string(), "--only",
                                         "fig4a,fig5b", "-o", (directory_ / "elsewhere").string()});
  EXPECT_THAT(drawn.standard_error, HasSubstr("in part or whole fig5b by XXH3 0123456789abcdef."));
}

TEST_F(ReportCommand, RefusesMeasurementsOfOtherWeights) {
  ASSERT_EQ(report("fig4a").exit_code, 0);
  const std::filesystem::path note = directory_ / "out" / "data" / "report.json";
  json stored = json::parse(read_text(note));
  stored["checksum"] = "0123456789abcdef";
  std::ofstream(note) << stored;
  const ProgramResult result = report("fig4a");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.standard_error, HasSubstr("other weights"));
}

TEST_F(ReportCommand, RefusesMeasurementsOfOtherData) {
  ASSERT_EQ(report("fig4a").exit_code, 0);
  EXPECT_EQ(report("fig4a").exit_code, 0);
  std::ofstream(directory_ / "data.jsonl", std::ios::app) << json{{"d", "Another text."}, {"s", "New."}} << "\n";
  const ProgramResult result = report("fig4a");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.standard_error, HasSubstr("other data"));
}

TEST_F(ReportCommand, RefusesOtherWeightsOfAFurtherModel) {
  const auto with_another = [&] {
    return run_flame({"report", tiny_model().string(), "--also", tiny_model().string(), "--data",
                      (directory_ / "data.jsonl").string(), "--field", "d", "--reference", "s", "-o",
                      (directory_ / "out").string(), "--quick", "--only", "fig4a"});
  };
  ASSERT_EQ(with_another().exit_code, 0);
  ASSERT_EQ(report("fig4a").exit_code, 0) << "what was measured of it stays";
  const std::filesystem::path note = directory_ / "out" / "data" / "report.json";
  json stored = json::parse(read_text(note));
  stored.at("also_checksums").at(tiny_model().string()) = "0123456789abcdef";
  std::ofstream(note) << stored;
  const ProgramResult result = with_another();
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.standard_error, HasSubstr("other weights of"));
}

TEST_F(ReportCommand, FailsWhenAnItemHasFailed) {
  ASSERT_EQ(report("fig4a").exit_code, 0);
  std::ofstream(directory_ / "out" / "data" / "inspect.json") << "{";
  const ProgramResult result = report("fig4a");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.standard_error, HasSubstr("1 of the items failed"));
  const ProgramResult for_machines = report("fig4a", {"--json"});
  EXPECT_EQ(for_machines.exit_code, 1);
  const json page = json::parse(for_machines.standard_output);
  EXPECT_EQ(page.at("failed_items"), 1);
  EXPECT_EQ(page.at("items").at(0).at("failed"), true);
}

TEST_F(ReportCommand, TellsMachinesWhatStandsOnThePage) {
  const ProgramResult result = report("fig4a", {"--json"});
  ASSERT_EQ(result.exit_code, 0) << result.standard_error;
  const json page = json::parse(result.standard_output);
  EXPECT_EQ(page.at("page"), (directory_ / "out" / "index.html").string());
  EXPECT_EQ(page.at("failed_items"), 0);
  const json& item = page.at("items").at(0);
  EXPECT_EQ(item.at("id"), "fig4a");
  EXPECT_FALSE(item.at("tables").empty());
  EXPECT_TRUE(std::filesystem::exists(directory_ / "out" / item.at("figures").at(0).at("file").get<std::string>()));
}

TEST_F(ReportCommand, MeasuringOneItemKeepsTheOthersOnThePage) {
  ASSERT_EQ(report("fig4a").exit_code, 0);
  ASSERT_EQ(report("fig5b").exit_code, 0);
  const std::string page = read_text(directory_ / "out" / "index.html");
  const std::size_t first = page.find("id=\"fig4a\"");
  ASSERT_NE(first, std::string::npos);
  EXPECT_NE(page.find("id=\"fig5b\"", first), std::string::npos) << "in the order of the paper";
}

TEST_F(ReportCommand, FindsBadInputBeforeItMeasures) {
  const auto with = [&](const std::vector<std::string>& more, const std::string& field, const std::string& reference) {
    std::vector<std::string> arguments = {"report",      tiny_model().string(),
                                          "--data",      (directory_ / "data.jsonl").string(),
                                          "--field",     field,
                                          "--reference", reference,
                                          "-o",          (directory_ / "out").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_flame(arguments);
  };
  for (const auto& [result, said] : {std::pair{with({"--expert-memory", "many"}, "d", "s"), "--expert-memory"},
                                     std::pair{with({"--expert-memory", "25x%"}, "d", "s"), "--expert-memory"},
                                     std::pair{with({"--expert-memory", "1KiB"}, "d", "s"), "one dense int8 expert"},
                                     std::pair{with({"--storage-bandwidth", "fast"}, "d", "s"), "--storage-bandwidth"},
                                     std::pair{with({"--task", "juggling"}, "d", "s"), "juggling"},
                                     std::pair{with({}, "x", "s"), "x"}, std::pair{with({}, "d", "y"), "y"}}) {
    EXPECT_NE(result.exit_code, 0) << said;
    EXPECT_THAT(result.standard_error, HasSubstr(said));
    EXPECT_THAT(result.standard_error, Not(HasSubstr("flame inspect"))) << "nothing has run";
  }
  EXPECT_FALSE(std::filesystem::exists(directory_ / "out"));
}

TEST_F(ReportCommand, WrongUseExitsWithTwo) {
  EXPECT_EQ(report("fig99").exit_code, 2);
  EXPECT_EQ(run_flame({"report", tiny_model().string(), "-o", (directory_ / "out").string()}).exit_code, 2);
  EXPECT_EQ(run_flame({"report", "-o", (directory_ / "out").string()}).exit_code, 2);
}

}  // namespace
}  // namespace flame::test
