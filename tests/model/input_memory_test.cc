#include "flame/model/input_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "flame/base/error.h"

namespace flame::model {
namespace {

using ::testing::HasSubstr;

std::string refusal(const SwitchConfig& config, const DenseWeights& weights, std::size_t tokens,
                    std::uint64_t available) {
  try {
    require_input_memory(config, weights, tokens, available);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(InputMemoryTest, GrowsWithTheTokensAndNotWithTheirSquare) {
  const SwitchConfig config;
  const DenseWeights weights;
  EXPECT_EQ(input_memory(config, weights, 0), 0U);
  EXPECT_EQ(input_memory(config, weights, 4096), 8 * input_memory(config, weights, 512));
}

TEST(InputMemoryTest, CountsCrossAttentionsKeysAndValuesInTheirType) {
  const SwitchConfig config;
  DenseWeights weights;
  const std::uint64_t in_f32 = input_memory(config, weights, 1);
  weights.key_value_type = DataType::kBF16;
  EXPECT_EQ(in_f32 - input_memory(config, weights, 1), 2U * 12U * 768U * 2U) << "two bytes less an element";
}

TEST(InputMemoryTest, RefusesWhatDoesNotFitWithBothNumbers) {
  const SwitchConfig config;
  const DenseWeights weights;
  const std::uint64_t needed = input_memory(config, weights, 1'000'000);
  EXPECT_THAT(refusal(config, weights, 1'000'000, std::uint64_t{1} << 30),
              AllOf(HasSubstr("1000000 tokens"), HasSubstr("1.00 GiB are available"), HasSubstr("--max-input-tokens")));
  EXPECT_EQ(refusal(config, weights, 1'000'000, needed), "accepted");
  EXPECT_EQ(refusal(config, weights, 1'000'000, 0), "accepted") << "0: how much there is could not be found out";
}

}  // namespace
}  // namespace flame::model
