#include "flame/base/byte_size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/base/error.h"

namespace flame {
namespace {

using ::testing::HasSubstr;

TEST(ParseByteSize, UnderstandsBinaryAndDecimalUnits) {
  EXPECT_EQ(parse_byte_size("0"), 0U);
  EXPECT_EQ(parse_byte_size("4096"), 4096U);
  EXPECT_EQ(parse_byte_size("16MiB"), 16U << 20);
  EXPECT_EQ(parse_byte_size("16 mib"), 16U << 20);
  EXPECT_EQ(parse_byte_size("64k"), 64U << 10);
  EXPECT_EQ(parse_byte_size("500MB"), 500'000'000U);
  EXPECT_EQ(parse_byte_size("2GiB"), std::uint64_t{2} << 30);
  EXPECT_EQ(parse_byte_size("1.5GiB"), std::uint64_t{3} << 29);
  EXPECT_EQ(parse_byte_size("1TB"), 1'000'000'000'000U);
  EXPECT_EQ(parse_byte_size(" 7 B "), 7U);
}

TEST(ParseByteSize, KeepsAllDigitsOfLargeWholeNumbers) {
  EXPECT_EQ(parse_byte_size("9007199254740993"), 9007199254740993U);  // 2^53 + 1
}

TEST(ParseByteSize, RefusesWithTheOptionsNameAndAnExample) {
  const auto message = [](std::string_view text) -> std::string {
    try {
      static_cast<void>(parse_byte_size(text, "--expert-memory"));
    } catch (const UsageError& error) {
      return error.what();
    }
    ADD_FAILURE() << text << " was accepted";
    return {};
  };
  EXPECT_EQ(message("16XB"),
            "--expert-memory: \"16XB\" ends in an unknown unit \"XB\"; write for example 4096, 16MiB, 500MB or 2GiB");
  EXPECT_THAT(message(""), HasSubstr("is not a size"));
  EXPECT_THAT(message("MiB"), HasSubstr("is not a size"));
  EXPECT_THAT(message("-1"), HasSubstr("is negative"));
  EXPECT_THAT(message("9000000TiB"), HasSubstr("is too large"));
  EXPECT_THAT(message("99999999999999999999"), HasSubstr("is too large"));
  EXPECT_THAT(message("1.5.2MiB"), HasSubstr("unknown unit"));
  EXPECT_THAT(message("nan"), HasSubstr("is not a size"));
  EXPECT_THAT(message("1e3"), HasSubstr("unknown unit"));
}

TEST(FormatByteSize, ChoosesTheUnitThatReadsWell) {
  EXPECT_EQ(format_byte_size(0), "0 B");
  EXPECT_EQ(format_byte_size(1023), "1023 B");
  EXPECT_EQ(format_byte_size(1024), "1.00 KiB");
  EXPECT_EQ(format_byte_size(16U << 20), "16.0 MiB");
  EXPECT_EQ(format_byte_size((1U << 20) - 1), "1.00 MiB");
  EXPECT_EQ(format_byte_size(2'500'000'000U), "2.33 GiB");
}

TEST(ParseByteBudget, TakesAShareOrASize) {
  EXPECT_EQ(parse_byte_budget("25%", 1000, "--budget"), 250U);
  EXPECT_EQ(parse_byte_budget("12.5%", 1000, "--budget"), 125U);
  EXPECT_EQ(parse_byte_budget("100%", 7, "--budget"), 7U);
  EXPECT_EQ(parse_byte_budget("0.05%", 1000, "--budget"), 1U) << "to the nearest byte";
  EXPECT_EQ(parse_byte_budget("64KiB", 1000, "--budget"), 65536U);
  for (const char* text : {"%", "0%", "-5%", "101%", "25x%", "25 %", "nan%", "inf%", "1e1%", "25%%", "many", "0", "0MiB"}) {
    EXPECT_THROW(static_cast<void>(parse_byte_budget(text, 1000, "--budget")), UsageError) << text;
  }
}

TEST(ParseBandwidth, IsASizeASecondAboveZero) {
  EXPECT_EQ(parse_bandwidth("500MB/s"), 5e8);
  EXPECT_EQ(parse_bandwidth("1GiB"), 0x1p30);
  for (const char* text : {"0", "0MB/s", "/s", "", "fast", "1GB/h", "-1GB/s"}) {
    EXPECT_THROW(static_cast<void>(parse_bandwidth(text)), UsageError) << text;
  }
}

}  // namespace
}  // namespace flame
