#include "flame/sparsity/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "flame/base/error.h"

namespace flame::sparsity {
namespace {

using model::MoeLayer;
using model::Stack;
using testing::HasSubstr;

std::string error_of(const std::string& text) {
  try {
    static_cast<void>(LayerPatterns::parse(text));
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Pattern, ReadsNOfM) {
  EXPECT_EQ(parse_pattern("2:4"), (Pattern{2, 4}));
  EXPECT_EQ(parse_pattern("16:16"), (Pattern{16, 16}));
  EXPECT_EQ(parse_pattern("dense"), (Pattern{1, 1}));
}

TEST(Pattern, RefusesWhatIsNotNOfM) {
  for (const char* text : {"", ":", "2", "2:", ":4", "2:4:8", "a:4", "2:b", " 2:4", "2:4 ", "-1:4", "0:4", "5:4",
                           "1:17", "99999999999:4", "2.0:4", "Dense"}) {
    EXPECT_THROW(static_cast<void>(parse_pattern(text)), UsageError) << text;
  }
}

TEST(Pattern, KnowsItsIndexBits) {
  EXPECT_EQ((Pattern{2, 4}).index_bits(), 2U);
  EXPECT_EQ((Pattern{1, 2}).index_bits(), 1U);
  EXPECT_EQ((Pattern{2, 5}).index_bits(), 3U);
  EXPECT_EQ((Pattern{1, 16}).index_bits(), 4U);
  EXPECT_EQ((Pattern{4, 4}).index_bits(), 0U);
  EXPECT_EQ((Pattern{1, 4}).sparsity(), 0.75);
}

TEST(LayerPatterns, TheNarrowestEntryWins) {
  const LayerPatterns patterns = LayerPatterns::parse("2:8,encoder=4:8,decoder=1:4,decoder.3=2:4");
  EXPECT_EQ(patterns.of(MoeLayer{Stack::kEncoder, 0}), (Pattern{4, 8}));
  EXPECT_EQ(patterns.of(MoeLayer{Stack::kDecoder, 2}), (Pattern{1, 4}));
  EXPECT_EQ(patterns.of(MoeLayer{Stack::kDecoder, 3}), (Pattern{2, 4}));
  EXPECT_EQ(LayerPatterns::parse("2:8,decoder.1=1:4").of(MoeLayer{Stack::kEncoder, 1}), (Pattern{2, 8}));
}

TEST(LayerPatterns, LayersThatAreNotNamedStayAsTheyAre) {
  EXPECT_EQ(LayerPatterns::parse("decoder=1:4").of(MoeLayer{Stack::kEncoder, 0}), std::nullopt);
  EXPECT_EQ(LayerPatterns::parse("encoder.1=1:4").of(MoeLayer{Stack::kEncoder, 0}), std::nullopt);
  EXPECT_EQ(LayerPatterns().of(MoeLayer{Stack::kDecoder, 0}), std::nullopt);
}

TEST(LayerPatterns, TensorsOutsideMoeLayersGoByTheirStack) {
  const LayerPatterns patterns = LayerPatterns::parse("2:8,decoder=1:4,decoder.0=2:4");
  EXPECT_EQ(patterns.outside_layers(Stack::kDecoder), (Pattern{1, 4}));
  EXPECT_EQ(patterns.outside_layers(Stack::kEncoder), (Pattern{2, 8}));
  EXPECT_EQ(patterns.outside_layers(std::nullopt), (Pattern{2, 8}));
  EXPECT_EQ(LayerPatterns::parse("encoder=1:4").outside_layers(std::nullopt), std::nullopt);
}

TEST(LayerPatterns, ErrorsNameTheEntry) {
  EXPECT_THAT(error_of("encoder=4:8,bottom=1:4"), HasSubstr("bottom=1:4"));
  EXPECT_THAT(error_of("encoder.x=4:8"), HasSubstr("encoder.x=4:8"));
  EXPECT_THAT(error_of("decoder.=4:8"), HasSubstr("decoder.=4:8"));
  EXPECT_THAT(error_of("2:4,"), HasSubstr("expected N:M"));
  EXPECT_THAT(error_of("2:4,1:4"), HasSubstr("second time"));
  EXPECT_THAT(error_of("decoder.1=2:4,decoder.1=2:4"), HasSubstr("second time"));
}

TEST(LayerPatterns, ALayerThatTheModelLacksIsNamed) {
  const LayerPatterns patterns = LayerPatterns::parse("decoder.6=2:4");
  EXPECT_NO_THROW(patterns.check(0, 7));
  EXPECT_THROW(patterns.check(7, 6), UsageError);
}

RC_GTEST_PROP(LayerPatterns, ComeBackFromTheirText, ()) {
  const auto pattern = [] {
    const int m = *rc::gen::inRange(1, 17);
    return std::to_string(*rc::gen::inRange(1, m + 1)) + ":" + std::to_string(m);
  };
  std::string text = pattern();
  if (*rc::gen::arbitrary<bool>()) text += ",encoder=" + pattern();
  if (*rc::gen::arbitrary<bool>()) text += ",decoder=" + pattern();
  const auto layers = *rc::gen::unique<std::vector<int>>(rc::gen::inRange(0, 50));
  for (const int layer : layers) text += ",decoder." + std::to_string(layer) + "=" + pattern();
  const LayerPatterns patterns = LayerPatterns::parse(text);
  RC_ASSERT(LayerPatterns::parse(patterns.to_string()) == patterns);
}

}  // namespace
}  // namespace flame::sparsity
