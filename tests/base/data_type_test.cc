#include "flame/base/data_type.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace flame {
namespace {

TEST(DataType, NamesAreThoseOfSafetensorsAndReadBack) {
  for (int i = 0; i <= static_cast<int>(DataType::kF64); ++i) {
    const auto type = static_cast<DataType>(i);
    DataType read = DataType::kBool;
    ASSERT_TRUE(parse_data_type(name_of(type), read)) << name_of(type);
    EXPECT_EQ(read, type);
  }
  DataType unused = DataType::kBool;
  EXPECT_FALSE(parse_data_type("F8_E4M3", unused));
  EXPECT_FALSE(parse_data_type("f32", unused));
  EXPECT_EQ(size_of(DataType::kBF16), 2U);
  EXPECT_EQ(size_of(DataType::kF64), 8U);
}

TEST(BFloat16, EveryValueSurvivesTheWayThroughFloat) {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const BFloat16 value{static_cast<std::uint16_t>(bits)};
    if (std::isnan(value.to_float())) {
      EXPECT_TRUE(std::isnan(BFloat16::from_float(value.to_float()).to_float()));
    } else {
      ASSERT_EQ(BFloat16::from_float(value.to_float()), value) << bits;
    }
  }
}

TEST(BFloat16, RoundsToNearestTiesToEven) {
  EXPECT_EQ(BFloat16::from_float(std::bit_cast<float>(0x3f808000U)).bits, 0x3f80);  // a tie, down to even
  EXPECT_EQ(BFloat16::from_float(std::bit_cast<float>(0x3f818000U)).bits, 0x3f82);  // a tie, up to even
  EXPECT_EQ(BFloat16::from_float(std::bit_cast<float>(0x3f808001U)).bits, 0x3f81);
  EXPECT_EQ(BFloat16::from_float(std::numeric_limits<float>::max()).bits, 0x7f80);  // past the largest: infinity
}

TEST(Float16, EveryValueSurvivesTheWayThroughFloat) {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const Float16 value{static_cast<std::uint16_t>(bits)};
    if (std::isnan(value.to_float())) {
      EXPECT_TRUE(std::isnan(Float16::from_float(value.to_float()).to_float()));
    } else {
      ASSERT_EQ(Float16::from_float(value.to_float()), value) << bits;
    }
  }
}

TEST(Float16, RoundsToNearestTiesToEvenAndOverflowsToInfinity) {
  EXPECT_EQ(Float16::from_float(65504.0F).bits, 0x7bff);
  EXPECT_EQ(Float16::from_float(65519.9F).bits, 0x7bff);
  EXPECT_EQ(Float16::from_float(65520.0F).bits, 0x7c00);
  EXPECT_EQ(Float16::from_float(0x1p-24F).bits, 0x0001);     // smallest subnormal
  EXPECT_EQ(Float16::from_float(0x1p-25F).bits, 0x0000);     // a tie, down to even
  EXPECT_EQ(Float16::from_float(-0x1.8p-24F).bits, 0x8002);  // a tie, up to even
  EXPECT_EQ(Float16::from_float(1.0F + 0x1p-11F).bits, 0x3c00);
  EXPECT_EQ(Float16::from_float(1.0F + 0x1.8p-10F).bits, 0x3c02);
}

}  // namespace
}  // namespace flame
