#include "flame/accel/card_timeline.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "support/test_data.h"

namespace flame::accel {
namespace {

constexpr std::uint64_t kFirst = 0x1000, kStride = 0x2000, kToken = 0x40000, kResult = 0x50000;

/// Two layers of four experts at 100 MHz: a cycle is a hundredth of a microsecond.
class CardTimelineTest : public ::testing::Test {
 protected:
  CardTimelineTest() { timeline_.set_experts(kFirst, kStride, 4, {"decoder layer 0", "encoder layer 0"}); }

  /// A layer command as the host port sees it.
  void command(std::uint64_t begin, std::uint64_t end) {
    timeline_.read_requested(kHostPort, kToken, begin);
    timeline_.written(kHostPort, kResult, end);
  }
  void beats(std::uint64_t expert, std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t cycle = first; cycle <= last; ++cycle) {
      timeline_.beat_read(0, kFirst + expert * kStride + 64 * (cycle - first), cycle);
    }
  }
  nlohmann::json events() {
    timeline_.close();
    std::ifstream file(path_);
    nlohmann::json spans = nlohmann::json::array();
    for (const auto& event : nlohmann::json::parse(file)) {
      if (event["ph"] == "X") spans.push_back({event["name"], event["tid"], event["ts"], event["dur"]});
    }
    return spans;
  }

  test::TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "timeline.json";
  CardTimeline timeline_{path_, 100.0};
};

TEST_F(CardTimelineTest, ShowsEachCommandFromItsTokenToItsLastResult) {
  timeline_.expect(0, 2, false, kToken);
  timeline_.expect(1, 3, true, kToken);
  timeline_.read_requested(kHostPort, 0x30000, 50);  // the command list itself
  command(100, 150);
  timeline_.read_requested(kHostPort, kToken, 200);
  timeline_.written(kHostPort, kResult, 290);
  timeline_.written(kHostPort, kResult + 4096, 300);
  EXPECT_EQ(events(), nlohmann::json::parse(R"([["route decoder layer 0 expert 2", 0, 1.0, 0.5],
                                                ["compute encoder layer 0 expert 3", 0, 2.0, 1.0]])"));
}

TEST_F(CardTimelineTest, ShowsWhoseBeatsTheFirstChannelCarries) {
  timeline_.expect(0, 1, true, kToken);
  timeline_.read_requested(kHostPort, kToken, 100);
  beats(1, 110, 119);
  beats(5, 120, 129);
  beats(1, 130, 139);
  timeline_.beat_read(1, kFirst, 140);  // another channel
  timeline_.written(kHostPort, kResult, 200);
  EXPECT_EQ(events(), nlohmann::json::parse(R"([["load decoder layer 0 expert 1", 1, 1.1, 0.1],
                                                ["load encoder layer 0 expert 1", 1, 1.2, 0.1],
                                                ["compute while loading decoder layer 0 expert 1", 0, 1.0, 1.0],
                                                ["load decoder layer 0 expert 1", 1, 1.3, 0.1]])"));
}

}  // namespace
}  // namespace flame::accel
