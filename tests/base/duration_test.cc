#include "flame/base/duration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/base/error.h"

namespace flame {
namespace {

TEST(Duration, ReadsMicrosecondsMillisecondsAndSeconds) {
  EXPECT_DOUBLE_EQ(parse_duration("100us"), 1e-4);
  EXPECT_DOUBLE_EQ(parse_duration("2ms"), 2e-3);
  EXPECT_DOUBLE_EQ(parse_duration("0.5s"), 0.5);
  EXPECT_DOUBLE_EQ(parse_duration("3 s"), 3.0);
  EXPECT_DOUBLE_EQ(parse_duration("0s"), 0.0);
}

TEST(Duration, NamesTheOptionOfATextThatIsNoTime) {
  for (const char* text : {"", "5", "ms", "-1ms", "inf s", "nan s", "1 minute", "1msx", "1e999s"}) {
    try {
      (void)parse_duration(text, "--latency");
      ADD_FAILURE() << text;
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), ::testing::StartsWith("--latency: ")) << text;
    }
  }
}

}  // namespace
}  // namespace flame
