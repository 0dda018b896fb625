#include "flame/accel/expert_layout.h"

#include <gtest/gtest.h>

#include "accel/random_expert.h"
#include "flame/base/error.h"

namespace flame::accel {
namespace {

using test::RandomExpert;

/// Undoes the layout by the words of its description: weight [row][column] of wi or wo.
class Decoder {
 public:
  Decoder(const ExpertLayout& layout, const RandomExpert& expert) : layout_(layout) {
    for (std::size_t c = 0; c < layout.channels; ++c)
      channels_.push_back(pack_expert_channel(layout, expert.view(), c));
  }

  [[nodiscard]] const std::uint8_t* word(std::size_t bank, std::size_t index) const {
    const std::size_t per_channel = layout_.positions / layout_.channels;
    const std::size_t beat = index * per_channel + bank % per_channel;
    return channels_[bank / per_channel].data() + beat * layout_.axi_bytes;
  }

  [[nodiscard]] std::vector<std::int8_t> matrix(bool output) const {
    const std::size_t rows = output ? layout_.d_model : layout_.d_ff;
    const std::size_t columns = output ? layout_.d_ff : layout_.d_model;
    const std::size_t steps = output ? layout_.output_steps() : layout_.input_steps();
    const std::size_t first = output ? layout_.input_blocks() * layout_.input_steps() : 0;
    const std::size_t planes = layout_.pattern.log2_m;
    std::vector<std::int8_t> result(rows * columns);
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t kept = 0; kept < steps * layout_.positions; ++kept) {
        const std::size_t bank = kept % layout_.positions;
        const std::size_t step = first + row / layout_.rows() * steps + kept / layout_.positions;
        const std::size_t group = layout_.header_words() + step / kGroupSteps * (planes + kGroupSteps);
        std::size_t index = 0;
        for (std::size_t plane = 0; plane < planes; ++plane) {
          const std::size_t bit = step % kGroupSteps * layout_.rows() + row % layout_.rows();
          index |= (word(bank, group + plane)[bit / 8] >> (bit % 8) & 1U) << plane;
        }
        const std::size_t column = kept / layout_.pattern.n() * layout_.pattern.m() + index;
        const auto value =
            static_cast<std::int8_t>(word(bank, group + planes + step % kGroupSteps)[row % layout_.rows()]);
        if (value != 0) result[row * columns + column] = value;
      }
    }
    return result;
  }

  [[nodiscard]] std::uint16_t multiplier(std::size_t row) const {
    const std::size_t index = row / layout_.scales_per_word();
    const std::uint8_t* at =
        word(index % layout_.positions, index / layout_.positions) + row % layout_.scales_per_word() * 2;
    return static_cast<std::uint16_t>(at[0] | at[1] << 8);
  }

 private:
  ExpertLayout layout_;
  std::vector<std::vector<std::uint8_t>> channels_;
};

TEST(ExpertLayout, AnImageHoldsEveryWeightAndScaleOnceForAllPatternsAndArrays) {
  std::mt19937 random(1);
  for (const auto& [n, m] : {std::pair{1U, 1U}, {1U, 2U}, {1U, 4U}, {2U, 4U}, {2U, 8U}, {4U, 8U}}) {
    for (const auto& [positions, channels, axi_bytes] : {std::tuple{1U, 1U, 64U},
                                                         {2U, 1U, 64U},
                                                         {4U, 2U, 64U},
                                                         {4U, 4U, 64U},
                                                         {1U, 1U, 16U},
                                                         {2U, 2U, 32U},
                                                         {4U, 2U, 16U}}) {
      const DevicePattern pattern = DevicePattern::from(n, m);
      const RandomExpert expert(72, 200, pattern, random);
      const ExpertLayout layout = ExpertLayout::make(72, 200, pattern, positions, channels, axi_bytes);
      const Decoder decoder(layout, expert);
      SCOPED_TRACE(pattern.name() + " positions " + std::to_string(positions) + " channels " +
                   std::to_string(channels) + " bytes " + std::to_string(axi_bytes));
      EXPECT_EQ(decoder.matrix(false), expert.wi);
      EXPECT_EQ(decoder.matrix(true), expert.wo);
      for (std::size_t row = 0; row < 200; ++row) ASSERT_EQ(decoder.multiplier(row), expert.multiplier[row]);
    }
  }
}

TEST(ExpertLayout, SwitchBaseSizesAreThoseOfTheDocumentation) {
  const ExpertLayout half = ExpertLayout::make(768, 3072, DevicePattern::from(2, 4), 4, 4);
  EXPECT_EQ(half.steps(), 9216U);
  EXPECT_EQ(half.header_words(), 24U);
  EXPECT_EQ(half.bank_words(), 24U + 9216U / 8 * 10);
  EXPECT_EQ(half.slot_bytes(), 2'955'264U);
  const ExpertLayout dense = ExpertLayout::make(768, 3072, DevicePattern::from(1, 1), 4, 4);
  EXPECT_EQ(dense.slot_bytes(), 4'724'736U);
}

TEST(ExpertLayout, AGroupWithTooManyWeightsIsNamed) {
  std::mt19937 random(2);
  RandomExpert expert(64, 64, DevicePattern::from(2, 4), random);
  for (std::size_t i = 0; i < 4; ++i) expert.wo[3 * 64 + 8 + i] = 1;
  const ExpertLayout layout = ExpertLayout::make(64, 64, DevicePattern::from(2, 4), 1, 1);
  try {
    pack_expert_channel(layout, expert.view(), 0);
    FAIL() << "packed a group of four as 2:4";
  } catch (const ModelError& error) {
    EXPECT_NE(std::string(error.what()).find("wo row 3, columns 8 to 11: 4 non-zero"), std::string::npos)
        << error.what();
  }
}

TEST(ExpertLayout, PatternsTheArrayCannotRunAreRefused) {
  EXPECT_THROW(DevicePattern::from(1, 8), UsageError);
  EXPECT_THROW(DevicePattern::from(3, 4), UsageError);
  EXPECT_THROW(DevicePattern::from(8, 16), UsageError);
  EXPECT_THROW(DevicePattern::from(0, 4), UsageError);
  EXPECT_EQ(DevicePattern::from(4, 4).name(), "dense");
}

TEST(ExpertLayout, ShapesBeyondTheKernelAreRefused) {
  EXPECT_THROW(ExpertLayout::make(1025, 64, {}, 1, 1), UsageError);
  EXPECT_THROW(ExpertLayout::make(64, 4097, {}, 1, 1), UsageError);
  EXPECT_THROW(ExpertLayout::make(0, 64, {}, 1, 1), UsageError);
  EXPECT_THROW(ExpertLayout::make(64, 64, {}, 3, 2), UsageError);
}

}  // namespace
}  // namespace flame::accel
