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

}  // namespace
}  // namespace flame
