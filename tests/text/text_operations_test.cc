#include "flame/text/text_operations.h"

#include <gtest/gtest.h>

#include <string>

namespace flame::text {
namespace {

TEST(TextOperations, WhiteSpaceIsUnicodes) {
  int count = 0;
  for (char32_t c = 0; c <= 0x10ffff; ++c) count += is_white_space(c) ? 1 : 0;
  EXPECT_EQ(count, 25);  // PropList.txt, White_Space
  EXPECT_EQ(leading_white_space(" \u3000\tx "), 5U);
  EXPECT_EQ(trailing_white_space("x \u3000\t"), 5U);
  EXPECT_EQ(trailing_white_space("  "), 2U);
  EXPECT_EQ(leading_white_space(""), 0U);
}

TEST(TextOperations, ReplacesEveryOccurrenceFromTheLeft) {
  EXPECT_EQ(replace_all("aaa", "aa", "b"), "ba");
  EXPECT_EQ(replace_all("x.y.z", ".", ".."), "x..y..z");
  EXPECT_EQ(replace_all("abc", "", "x"), "abc");
}

TEST(TextOperations, DecodesBase64) {
  std::string bytes;
  EXPECT_TRUE(decode_base64("", bytes));
  EXPECT_EQ(bytes, "");
  EXPECT_TRUE(decode_base64("Zg==", bytes));
  EXPECT_EQ(bytes, "f");
  EXPECT_TRUE(decode_base64("Zm9vYg==", bytes));
  EXPECT_EQ(bytes, "foob");
  EXPECT_TRUE(decode_base64("+/9v", bytes));
  EXPECT_EQ(bytes, "\xfb\xff\x6f");
  for (const char* wrong : {"Zg=", "Zg", "Z===", "Zg==Zg==", "Zm 9", "Zm9-"})
    EXPECT_FALSE(decode_base64(wrong, bytes)) << wrong;
}

}  // namespace
}  // namespace flame::text
