#include "flame/engine/prompt_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "flame/base/error.h"
#include "support/test_data.h"

namespace flame::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PromptSourceTest : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) {
    std::ofstream(directory_ / "lines") << text;
    return directory_ / "lines";
  }
  io::JsonLinesOptions options_{.on_bad_line = [this](const std::string& message) { bad_.push_back(message); }};

  static std::vector<std::uint64_t> indices(const PromptSource& source) {
    std::vector<std::uint64_t> found;
    while (const auto prompt = source()) found.push_back(prompt->index);
    return found;
  }

  test::TemporaryDirectory directory_;
  std::vector<std::string> bad_;
};

TEST_F(PromptSourceTest, NumbersPromptsByTheirLines) {
  const auto file = write("{\"d\": \"a\"}\n{\"e\": \"b\"}\n\n{\"d\": \"c\"}\n");
  EXPECT_THAT(indices(text_lines(file, "d", options_)), ElementsAre(0, 3));
  EXPECT_THAT(bad_, ElementsAre(HasSubstr("line 2")));
}

TEST_F(PromptSourceTest, ReadsTokenIdsAndNamesALineWithoutAny) {
  const auto file = write("{\"tokens\": [5, 1]}\n{\"tokens\": []}\n{\"tokens\": [-1]}\n{\"tokens\": [2]}\n");
  const PromptSource source = token_lines(file, options_);
  EXPECT_THAT(source()->tokens, ElementsAre(5, 1));
  EXPECT_THAT(source()->tokens, ElementsAre(2));
  EXPECT_FALSE(source());
  EXPECT_THAT(bad_, ElementsAre(HasSubstr("line 2"), HasSubstr("line 3")));
}

TEST_F(PromptSourceTest, TakesTextAndReferenceFromOneLine) {
  const auto file = write("{\"d\": \"a\", \"s\": \"b\"}\n{\"d\": \"c\"}\n");
  const TracePromptSource source = reference_lines(file, "d", "s", options_);
  const std::optional<TracePrompt> first = source();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->prompt.text, "a");
  EXPECT_EQ(first->reference, "b");
  EXPECT_FALSE(source());
  EXPECT_THAT(bad_, ElementsAre(HasSubstr("\"s\"")));
}

TEST_F(PromptSourceTest, APartLeavesOutTheFirstAndStopsAfterTheLimit) {
  const auto part = [](std::size_t skip, std::optional<std::size_t> limit) {
    return indices(part_of<Prompt>(prompts_of({"a", "b", "c", "d"}), skip, limit));
  };
  EXPECT_THAT(part(0, std::nullopt), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(part(1, 2), ElementsAre(1, 2));
  EXPECT_THAT(part(9, 2), ElementsAre());
}

}  // namespace
}  // namespace flame::engine
