#include "flame/base/bits.h"

#include <gtest/gtest.h>

namespace flame {
namespace {

TEST(LowBits, KeepsThoseAskedForAndAllOfThemFrom64) {
  EXPECT_EQ(low_bits(0xffU, 0), 0U);
  EXPECT_EQ(low_bits(0xabcdU, 8), 0xcdU);
  EXPECT_EQ(low_bits(~std::uint64_t{0}, 63), ~std::uint64_t{0} >> 1);
  EXPECT_EQ(low_bits(~std::uint64_t{0}, 64), ~std::uint64_t{0});
  EXPECT_EQ(low_bits(5U, 90), 5U);
}

}  // namespace
}  // namespace flame
