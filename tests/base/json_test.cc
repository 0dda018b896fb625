#include "flame/base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "flame/base/error.h"

namespace flame {
namespace {

using ::testing::HasSubstr;

/// The message of the FormatError that `action` throws.
template <typename Action>
std::string format_error(Action&& action) {
  try {
    action();
  } catch (const FormatError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no FormatError was thrown";
  return {};
}

std::string parse_error(std::string_view text, const JsonLimits& limits = {}) {
  return format_error([&] { static_cast<void>(parse_json(text, "c.json", limits)); });
}

TEST(ParseJson, ReadsEveryKindOfValue) {
  const Json value = parse_json(R"( {"a": [1, -2, 3.5, true, null, "ü\u00e9"], "b": {}} )", "c.json");
  EXPECT_EQ(value["a"][5], "üé");
  EXPECT_EQ(to_text(value), R"({"a":[1,-2,3.5,true,null,"üé"],"b":{}})");
}

TEST(ParseJson, NamesFileLineColumnAndByteOfASyntaxError) {
  EXPECT_THAT(parse_error("{\n  \"a\": 1,\n  \"b\" 2\n}"),
              HasSubstr("c.json: invalid JSON at line 3, column 7 (byte 18)"));
}

TEST(ParseJson, RefusesTextThatGoesOnBehindTheValue) {
  EXPECT_THAT(parse_error("{} x"), HasSubstr("invalid JSON at line 1"));
}

TEST(ParseJson, RefusesAnEmptyText) { EXPECT_THAT(parse_error(""), HasSubstr("invalid JSON")); }

TEST(ParseJson, RefusesACutOffText) { EXPECT_THAT(parse_error(R"({"a": [1, 2)"), HasSubstr("invalid JSON")); }

TEST(ParseJson, NamesThePlaceOfInvalidUtf8) {
  EXPECT_THAT(parse_error("{\"a\": \"\xff\"}"), HasSubstr("invalid UTF-8 at line 1, column 8 (byte 7)"));
}

TEST(ParseJson, RefusesAKeyGivenTwiceInOneObject) {
  EXPECT_THAT(parse_error(R"({"a": {"k": 1, "k": 2}})"), HasSubstr("the key \"k\" is given twice"));
}

TEST(ParseJson, AllowsAKeyInTwoObjects) {
  EXPECT_NO_THROW(static_cast<void>(parse_json(R"([{"k": 1}, {"k": 2}])", "c")));
}

TEST(ParseJson, RefusesNestingPastTheLimit) {
  EXPECT_NO_THROW(static_cast<void>(parse_json("[[[[1]]]]", "c", {.bytes = 100, .depth = 4})));
  EXPECT_THAT(parse_error("[[[[[1]]]]]", {.bytes = 100, .depth = 4}), HasSubstr("nested deeper than 4 levels"));
}

TEST(ParseJson, RefusesAHundredThousandOpenBrackets) {
  EXPECT_THAT(parse_error(std::string(100'000, '[')), HasSubstr("nested deeper than 64 levels"));
}

TEST(ParseJson, RefusesTextPastTheSizeLimit) {
  EXPECT_THAT(parse_error("[1, 2, 3]", {.bytes = 8, .depth = 4}), HasSubstr("JSON text of 9 bytes; at most 8"));
}

TEST(ParseJson, RefusesNumbersPastTheRangeOfDouble) { EXPECT_THAT(parse_error("1e999"), HasSubstr("invalid JSON")); }

TEST(ToText, WritesBytesThatAreNotUtf8AsReplacementCharacters) {
  EXPECT_EQ(to_text(Json("a\xff")), "\"a\xef\xbf\xbd\"");
}

class JsonViewTest : public ::testing::Test {
 protected:
  Json document_ = parse_json(
      R"({"text": "x", "count": 3, "whole": 3.0, "half": 3.5, "minus": -1, "flag": true, "none": null,
          "large": 18446744073709551615, "list": [{"k": 1}, 2], "deep": {"inner": {"leaf": "v"}}})",
      "c.json");
  JsonView root_{document_, "c.json"};
};

TEST_F(JsonViewTest, ReadsTypedValues) {
  EXPECT_EQ(root_.at("text").as_string(), "x");
  EXPECT_EQ(root_.at("count").as_integer(), 3);
  EXPECT_EQ(root_.at("whole").as_integer(0, 3), 3);
  EXPECT_EQ(root_.at("half").as_number(), 3.5);
  EXPECT_EQ(root_.at("count").as_number(0, 10), 3.0);
  EXPECT_TRUE(root_.at("flag").as_bool());
  EXPECT_EQ(root_.at("large").as_unsigned(), 18446744073709551615U);
  EXPECT_EQ(root_.at("list").size(), 2U);
  EXPECT_EQ(root_.at("deep").keys(), std::vector<std::string>{"inner"});
}

TEST_F(JsonViewTest, TreatsNullAsNotSet) {
  EXPECT_FALSE(root_.find("none"));
  EXPECT_FALSE(root_.find("absent"));
  EXPECT_TRUE(root_.find("flag"));
}

TEST_F(JsonViewTest, NamesAMissingKeyAndWhereItIsMissing) {
  EXPECT_EQ(format_error([&] { static_cast<void>(root_.at("deep").at("inner").at("leaves")); }),
            "c.json: deep.inner: the key \"leaves\" is missing");
}

TEST_F(JsonViewTest, NamesExpectedAndFoundForEachWrongType) {
  EXPECT_EQ(format_error([&] { static_cast<void>(root_.at("text").as_integer(1, 8)); }),
            "c.json: text: expected an integer from 1 to 8, found \"x\"");
  EXPECT_EQ(format_error([&] { static_cast<void>(root_.at("half").as_integer()); }),
            "c.json: half: expected an integer, found 3.5");
  EXPECT_EQ(format_error([&] { static_cast<void>(root_.at("count").as_integer(4, 8)); }),
            "c.json: count: expected an integer from 4 to 8, found 3");
  EXPECT_EQ(format_error([&] { static_cast<void>(root_.at("large").as_integer()); }),
            "c.json: large: expected an integer, found 18446744073709551615");
  EXPECT_EQ(format_error([&] { static_cast<void>(root_.at("minus").as_unsigned(9)); }),
            "c.json: minus: expected an integer from 0 to 9, found -1");
  EXPECT_EQ(format_error([&] { static_cast<void>(root_.at("count").as_bool()); }),
            "c.json: count: expected true or false, found 3");
  EXPECT_EQ(format_error([&] { static_cast<void>(root_.at("list").as_string()); }),
            "c.json: list: expected a text, found an array");
  EXPECT_EQ(format_error([&] { static_cast<void>(root_.at("deep").as_number(0, 1)); }),
            "c.json: deep: expected a number from 0 to 1, found an object");
  EXPECT_EQ(format_error([&] { static_cast<void>(root_.at("list").element(0).at("k").as_string()); }),
            "c.json: list[0].k: expected a text, found 1");
  EXPECT_EQ(format_error([&] { static_cast<void>(root_.at("list").element(1).at("k")); }),
            "c.json: list[1]: expected an object, found 2");
  EXPECT_EQ(format_error([&] { static_cast<void>(root_.at("list").element(2)); }),
            "c.json: list: expected at least 3 elements, found 2");
}

}  // namespace
}  // namespace flame
