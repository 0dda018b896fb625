#include "flame/report/measurements.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "flame/base/interrupt.h"
#include "support/test_data.h"

namespace flame::report {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

/// A stand-in for the flame program: a shell script that counts its runs.
class MeasurementsTest : public ::testing::Test {
 protected:
  void program(const std::string& body) {
    std::ofstream(program_) << "#!/bin/sh\necho run >> " << (directory_ / "runs").string() << "\n" << body << "\n";
    std::filesystem::permissions(program_, std::filesystem::perms::owner_all);
  }
  Measurements open(bool only_stored = false) {
    MeasurementCallbacks callbacks;
    callbacks.on_start = [this](const Measurement&, const std::string& line) { started_.push_back(line); };
    return {directory_ / "data", program_, only_stored, callbacks};
  }
  std::size_t runs() const {
    std::ifstream file(directory_ / "runs");
    std::size_t lines = 0;
    for (std::string line; std::getline(file, line);) ++lines;
    return lines;
  }

  test::TemporaryDirectory directory_;
  std::filesystem::path program_ = directory_ / "program";
  std::vector<std::string> started_;
};

TEST_F(MeasurementsTest, RunsACommandOnceAndKeepsItsOutput) {
  program("echo '{\"value\": 7}'");
  const Measurement measurement{.name = "seven", .arguments = {"inspect", "a model", "--json"}};
  EXPECT_EQ(open().json(measurement).at("value"), 7);
  EXPECT_EQ(open().json(measurement).at("value"), 7);
  EXPECT_EQ(runs(), 1U);
  EXPECT_EQ(started_, (std::vector<std::string>{"flame inspect 'a model' --json"}));
}

TEST_F(MeasurementsTest, RunsAgainWhenTheCommandIsAnother) {
  program("echo '{}'");
  (void)open().json({.name = "x", .arguments = {"a"}});
  (void)open().json({.name = "x", .arguments = {"b"}});
  EXPECT_EQ(runs(), 2U);
}

TEST_F(MeasurementsTest, MeasuresNothingWhenOnlyWhatIsStoredMayBeUsed) {
  program("echo '{}'");
  (void)open().json({.name = "there", .arguments = {"a"}});
  Measurements stored = open(true);
  EXPECT_NO_THROW((void)stored.json({.name = "there", .arguments = {"a"}}));
  EXPECT_THAT([&] { (void)stored.json({.name = "missing", .arguments = {"b"}}); },
              ThrowsMessage<NotMeasured>(HasSubstr("flame b")));
  EXPECT_EQ(runs(), 1U);
}

TEST_F(MeasurementsTest, OfStoredOnesNeedsNoTraceAndTellsTheCommandThatWasRun) {
  program("echo '{}'");
  (void)open().json({.name = "there", .arguments = {"a", "elsewhere/a.trace"}});
  Measurements stored = open(true);
  const std::filesystem::path trace = stored.file({.name = "a.trace", .arguments = {"trace", "-o", "{output}"}});
  EXPECT_EQ(trace, directory_ / "data" / "a.trace");
  const Measurement measurement{.name = "there", .arguments = {"a", trace.string()}};
  EXPECT_NO_THROW((void)stored.json(measurement));
  EXPECT_EQ(stored.command(measurement), "flame a elsewhere/a.trace");
  EXPECT_THROW((void)stored.file({.name = "a.trace.json", .arguments = {"generate", "{output}"}}), NotMeasured)
      << "that is a result";
}

TEST_F(MeasurementsTest, TellsTheCommandsThatAPersonWouldTypeOneAfterAnother) {
  program("for last; do :; done; case $last in --json) echo '{}';; *) echo made > \"$last\";; esac");
  Measurements measurements = open();
  const std::string trace = measurements.file({.name = "a.trace", .arguments = {"trace", "-o", "{output}"}}).string();
  const std::string profile =
      measurements.file({.name = "a.profile", .arguments = {"profile", trace, "-o", "{output}"}}).string();
  const Measurement last{.name = "last", .arguments = {"eval", trace, "--profile", profile, "--json"}};
  (void)measurements.json(last);
  EXPECT_EQ(measurements.recipe(last),
            (std::vector<std::string>{"flame trace -o " + trace, "flame profile " + trace + " -o " + profile,
                                      "flame eval " + trace + " --profile " + profile + " --json"}));
}

TEST_F(MeasurementsTest, PassesOnWhatAFailingCommandSaid) {
  program("echo 'flame: no such model' >&2; exit 1");
  EXPECT_THAT([&] { (void)open().json({.name = "x", .arguments = {"a"}}); },
              ThrowsMessage<DeviceError>(HasSubstr("no such model")));
}

TEST_F(MeasurementsTest, TriesAFailingCommandOnce) {
  program("echo 'flame: no such model' >&2; exit 1");
  Measurements measurements = open();
  for (int item = 0; item < 3; ++item) {
    EXPECT_THAT([&] { (void)measurements.json({.name = "x", .arguments = {"a"}}); },
                ThrowsMessage<DeviceError>(HasSubstr("no such model")));
  }
  EXPECT_EQ(runs(), 1U);
}

TEST_F(MeasurementsTest, MakesAFileUnlessItIsThere) {
  program("for last; do :; done; echo made > \"$last\"");
  const Measurement measurement{.name = "a.trace", .arguments = {"trace", "-o", "{output}"}};
  const std::filesystem::path path = open().file(measurement);
  EXPECT_TRUE(std::filesystem::exists(path));
  (void)open().file(measurement);
  EXPECT_EQ(runs(), 1U);
}

TEST_F(MeasurementsTest, MakesAFileAgainForAnotherCommand) {
  program("for last; do :; done; echo made > \"$last\"");
  (void)open().file({.name = "a.trace", .arguments = {"trace", "x", "-o", "{output}"}});
  (void)open().file({.name = "a.trace", .arguments = {"trace", "y", "-o", "{output}"}});
  EXPECT_EQ(runs(), 2U);
}

TEST_F(MeasurementsTest, RunsAgainWhenAFileThatItReadsHasChanged) {
  program("echo '{}'");
  std::filesystem::create_directories(directory_ / "data");
  const std::filesystem::path input = directory_ / "data" / "a.trace";
  std::ofstream(input) << "before";
  const Measurement measurement{.name = "x", .arguments = {"profile", input.string()}};
  (void)open().json(measurement);
  (void)open().json(measurement);
  EXPECT_EQ(runs(), 1U);
  std::filesystem::last_write_time(input, std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
  (void)open().json(measurement);
  EXPECT_EQ(runs(), 2U);
}

TEST_F(MeasurementsTest, TellsWhatAnotherBuildHasMeasured) {
  const std::string body = "for last; do :; done; case $last in --json) echo '{}';; *) echo made > \"$last\";; esac";
  program(body);
  const Measurement result{.name = "x", .arguments = {"a", "--json"}};
  const Measurement file{.name = "a.trace", .arguments = {"trace", "-o", "{output}"}};
  Measurements first = open();
  (void)first.json(result);
  (void)first.file(file);
  EXPECT_TRUE(first.take_other_builds().empty()) << "this one has made all of it";

  program(body + "\n# another build");
  Measurements second = open();
  (void)second.json(result);
  EXPECT_EQ(second.take_other_builds(), std::set<std::string>{first.build()});
  EXPECT_TRUE(second.take_other_builds().empty()) << "that has been told";
  (void)second.file(file);
  EXPECT_EQ(second.take_other_builds(), std::set<std::string>{first.build()});
  EXPECT_NE(second.build(), first.build());
  EXPECT_EQ(runs(), 2U) << "it is used all the same";

  std::ofstream(directory_ / "data" / "x.json") << R"({"command": "flame a --json", "output": {}})";
  Measurements stored = open(true);
  (void)stored.json(result);
  EXPECT_EQ(stored.take_other_builds(), std::set<std::string>{""}) << "nobody noted who made it";
}

TEST_F(MeasurementsTest, AnInterruptedCommandIsToldOnceAndLeavesNoMeasurement) {
  // A child that would not survive a second interruption, like flame itself.
  program("trap 'trap - INT; echo interrupted >> " + (directory_ / "told").string() +
          "; exit 130' INT\nkill -INT $PPID\nwhile :; do sleep 0.05; done");
  install_interrupt_handlers();
  EXPECT_THROW((void)open().json({.name = "x", .arguments = {"a"}}), Interrupted);
  clear_interrupt();
  EXPECT_TRUE(std::filesystem::exists(directory_ / "told"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "data" / "x.json"));
}

TEST_F(MeasurementsTest, TakesWhatAPersonPutThere) {
  program("echo none");
  const Measurements none = open();
  EXPECT_THAT([&] { (void)none.given("gpu", "a script makes it"); },
              ThrowsMessage<NotMeasured>(HasSubstr("a script makes it")));
  std::ofstream(directory_ / "data" / "gpu.json") << "{\"device\": \"a GPU\"}";
  EXPECT_EQ(none.given("gpu", "").at("device"), "a GPU");
}

}  // namespace
}  // namespace flame::report
