#include "flame/kernels/target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace flame::kernels {
namespace {

TEST(TargetTest, PortableCodeIsAlwaysAmongTheInstructionSets) {
  const auto names = available_instruction_sets();
  EXPECT_GE(names.size(), 2U);
  EXPECT_THAT(names, testing::Contains(testing::AnyOf("SCALAR", "EMU128")));
#if defined(__x86_64__)
  EXPECT_THAT(names, testing::Contains("SSSE3"));
#endif
}

TEST(TargetTest, EachCanBeForcedAndTheBestComesBack) {
  const std::string_view best = instruction_set();
  EXPECT_EQ(best, available_instruction_sets().front());
  for (const std::string_view name : available_instruction_sets()) {
    EXPECT_TRUE(force_instruction_set(name));
    EXPECT_EQ(instruction_set(), name);
  }
  EXPECT_TRUE(force_instruction_set(""));
  EXPECT_EQ(instruction_set(), best);
}

TEST(TargetTest, AnUnknownNameIsRefused) { EXPECT_FALSE(force_instruction_set("AVX9")); }

}  // namespace
}  // namespace flame::kernels
