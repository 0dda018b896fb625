#include "flame/report/measurements.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

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
    return {directory_ / "data", program_, only_stored, [this](const std::string& line) { started_.push_back(line); }};
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

TEST_F(MeasurementsTest, PassesOnWhatAFailingCommandSaid) {
  program("echo 'flame: no such model' >&2; exit 1");
  EXPECT_THAT([&] { (void)open().json({.name = "x", .arguments = {"a"}}); },
              ThrowsMessage<DeviceError>(HasSubstr("no such model")));
}

TEST_F(MeasurementsTest, MakesAFileUnlessItIsThere) {
  program("for last; do :; done; echo made > \"$last\"");
  const Measurement measurement{.name = "a.trace", .arguments = {"trace", "-o", "{output}"}};
  const std::filesystem::path path = open().file(measurement);
  EXPECT_TRUE(std::filesystem::exists(path));
  (void)open().file(measurement);
  EXPECT_EQ(runs(), 1U);
}

}  // namespace
}  // namespace flame::report
