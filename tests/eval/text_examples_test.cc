#include "flame/eval/text_examples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "flame/base/error.h"
#include "support/test_data.h"

namespace flame::eval {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class TextExamples : public testing::Test {
 protected:
  std::filesystem::path file(std::string_view text) {
    const std::filesystem::path path = directory_ / "examples.jsonl";
    std::ofstream(path) << text;
    return path;
  }
  std::string error_of(std::string_view text, const std::vector<std::string>& references) {
    try {
      static_cast<void>(read_examples(file(text), "in", references, std::nullopt));
    } catch (const FormatError& error) {
      return error.what();
    }
    return "no error";
  }
  test::TemporaryDirectory directory_;
};

TEST_F(TextExamples, ReferencesAreTextsAndArraysOfTexts) {
  const auto examples = read_examples(file("{\"in\":\"a\",\"one\":\"b\",\"many\":[\"c\",\"d\"]}\n\n"
                                           "{\"in\":\"e\",\"one\":\"f\",\"many\":[\"g\"]}\n"),
                                      "in", {"many", "one"}, std::nullopt);
  ASSERT_EQ(examples.size(), 2U);
  EXPECT_EQ(examples[0].input, "a");
  EXPECT_THAT(examples[0].references, ElementsAre("c", "d", "b"));
  EXPECT_EQ(examples[1].index, 2U);  // lines count, empty ones too: as `flame generate` numbers its prompts
}

TEST_F(TextExamples, TheLimitEndsTheReading) {
  const auto examples = read_examples(file("{\"r\":\"b\"}\n{\"r\":\"c\"}\nnot json\n"), "", {"r"}, 2);
  EXPECT_EQ(examples.size(), 2U);
}

TEST_F(TextExamples, ErrorsNameTheLine) {
  EXPECT_THAT(error_of("{\"in\":\"a\",\"r\":\"b\"}\n{\"in\":\"a\"}\n", {"r"}), HasSubstr("line 2"));
  EXPECT_THAT(error_of("{\"in\":\"a\",\"r\":7}\n", {"r"}), HasSubstr("line 1"));
  EXPECT_THAT(error_of("{\"in\":\"a\",\"r\":[]}\n", {"r"}), HasSubstr("at least one reference"));
  EXPECT_THAT(error_of("{\"r\":\"b\"}\n", {"r"}), HasSubstr("in"));
  EXPECT_THAT(error_of("{\"in\":\n", {"r"}), HasSubstr("line 1"));
  EXPECT_THAT(error_of("", {"r"}), HasSubstr("found none"));
}

}  // namespace
}  // namespace flame::eval
