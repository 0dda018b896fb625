#include "flame/base/checksum.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <xxhash.h>

#include <span>
#include <string_view>
#include <vector>

namespace flame {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(Checksum, IsXxh3With64BitsAndSeedZero) {
  // From the reference implementation: xxhsum -H3 of no bytes, and of "abc".
  EXPECT_EQ(checksum_of({}), 0x2d06800538d394c2U);
  EXPECT_EQ(checksum_of(bytes_of("abc")), 0x78af5f94892f3950U);
}

// The library has one way that every processor can go, and faster ones.
TEST(Checksum, IsTheSameWithTheVectorsOfThisProcessor) {
  std::vector<std::byte> bytes(70'000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * i >> 3);
  for (const std::size_t size : {0UL, 1UL, 63UL, 64UL, 240UL, 241UL, 1023UL, 1024UL, 1025UL, 65'536UL, 69'999UL}) {
    EXPECT_EQ(checksum_of(std::span(bytes).first(size)), XXH3_64bits(bytes.data(), size)) << size;
    if (size + 1 < bytes.size()) {  // not aligned
      EXPECT_EQ(checksum_of(std::span(bytes).subspan(1, size)), XXH3_64bits(bytes.data() + 1, size)) << size;
    }
  }
}

RC_GTEST_PROP(Checksum, IsTheSameHoweverTheBytesAreCut, (const std::vector<std::uint8_t>& values, std::size_t cut)) {
  const auto bytes = std::as_bytes(std::span(values));
  const std::size_t place = values.empty() ? 0 : cut % (values.size() + 1);
  Checksum checksum;
  checksum.add(bytes.first(place));
  checksum.add(bytes.subspan(place));
  RC_ASSERT(checksum.value() == checksum_of(bytes));
}

TEST(Checksum, TellsTextsApartThatJoinAlike) {
  Checksum a;
  a.add_text("ab");
  a.add_text("c");
  Checksum b;
  b.add_text("a");
  b.add_text("bc");
  EXPECT_NE(a.value(), b.value());
}

TEST(Checksum, IsWrittenAndReadAsSixteenDigits) {
  EXPECT_EQ(checksum_text(0x1a), "000000000000001a");
  std::uint64_t value = 0;
  EXPECT_TRUE(parse_checksum("2d06800538d394c2", value));
  EXPECT_EQ(value, 0x2d06800538d394c2U);
  for (const std::string_view wrong :
       {"", "1a", "2D06800538D394C2", "2d06800538d394c", "2d06800538d394c2 ", "0x06800538d394c2"}) {
    EXPECT_FALSE(parse_checksum(wrong, value)) << wrong;
  }
}

}  // namespace
}  // namespace flame
