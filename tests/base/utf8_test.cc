#include "flame/base/utf8.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <vector>

namespace flame {
namespace {

TEST(Utf8, AcceptsEveryUnicodeScalarValueAndReadsItBack) {
  for (char32_t c = 0; c <= 0x10ffff; ++c) {
    if (c == 0xd800) c = 0xe000;
    const std::string text = utf8_of(c);
    ASSERT_FALSE(first_invalid_utf8(text)) << static_cast<std::uint32_t>(c);
    std::size_t position = 0;
    ASSERT_EQ(next_code_point(text, position), c);
    ASSERT_EQ(position, text.size());
    ASSERT_EQ(complete_utf8_length(text), text.size());
    for (std::size_t cut = 1; cut < text.size(); ++cut) ASSERT_EQ(complete_utf8_length(text.substr(0, cut)), 0U);
  }
}

TEST(Utf8, FindsTheFirstByteThatIsWrong) {
  EXPECT_EQ(first_invalid_utf8("ab\xff"), 2U);
  EXPECT_EQ(first_invalid_utf8("a\x80"), 1U);             // continuation without a lead
  EXPECT_EQ(first_invalid_utf8("\xc0\xaf"), 0U);          // overlong "/"
  EXPECT_EQ(first_invalid_utf8("\xe0\x80\xaf"), 0U);      // overlong, three bytes
  EXPECT_EQ(first_invalid_utf8("\xf0\x80\x80\xaf"), 0U);  // overlong, four bytes
  EXPECT_EQ(first_invalid_utf8("\xed\xa0\x80"), 0U);      // surrogate U+D800
  EXPECT_EQ(first_invalid_utf8("\xf4\x90\x80\x80"), 0U);  // U+110000
  EXPECT_EQ(first_invalid_utf8("\xf5\x80\x80\x80"), 0U);  // lead past the range
  EXPECT_EQ(first_invalid_utf8("x\xe2\x82"), 1U);         // cut off
  EXPECT_EQ(first_invalid_utf8("x\xe2\x28\xa1"), 1U);     // wrong continuation
}

TEST(Utf8, ReplacesEachMaximalInvalidPartAsPythonDoes) {
  const std::string mark = "\xef\xbf\xbd";
  // bytes.decode(errors="replace") of the same bytes, Python 3.11.
  EXPECT_EQ(replace_invalid_utf8("a\xe2\x82z"), "a" + mark + "z");
  EXPECT_EQ(replace_invalid_utf8("\xf0\x9f\x98"), mark);
  EXPECT_EQ(replace_invalid_utf8("\xc0\xaf"), mark + mark);
  EXPECT_EQ(replace_invalid_utf8("\xed\xa0\x80"), mark + mark + mark);
  EXPECT_EQ(replace_invalid_utf8("\xff\xfe!"), mark + mark + "!");
}

RC_GTEST_PROP(Utf8, ReplacedTextIsValidAndValidTextIsKept, (const std::vector<std::uint8_t>& bytes)) {
  const std::string text(bytes.begin(), bytes.end());
  const std::string replaced = replace_invalid_utf8(text);
  RC_ASSERT(!first_invalid_utf8(replaced));
  if (!first_invalid_utf8(text)) RC_ASSERT(replaced == text);
}

RC_GTEST_PROP(Utf8, ACompletePrefixOfValidTextIsValid, (const std::vector<std::uint16_t>& values, std::size_t cut)) {
  std::string text;
  for (const std::uint16_t value : values) text += utf8_of(value >= 0xd800 && value < 0xe000 ? U'x' : char32_t{value});
  const std::string part = text.substr(0, cut % (text.size() + 1));
  const std::size_t length = complete_utf8_length(part);
  RC_ASSERT(part.size() - length < 3);
  RC_ASSERT(!first_invalid_utf8(part.substr(0, length)));
}

}  // namespace
}  // namespace flame
