#include "flame/engine/inspection.h"

#include <gtest/gtest.h>

#include "flame/base/error.h"
#include "support/tiny_checkpoint.h"

namespace flame::engine {
namespace {

TEST(Inspection, CountsAtMostAllExpertsAsSlots) {
  const Inspection inspection = inspect(test::tiny_checkpoint(), std::uint64_t{1} << 40);
  EXPECT_EQ(inspection.experts, 12U) << "one encoder and two decoder MoE layers of four";
  for (const ExpertFootprint& footprint : inspection.footprints) EXPECT_EQ(footprint.slots, 12U);
}

TEST(Inspection, LeavesSlotsOutWithoutABudget) {
  for (const ExpertFootprint& footprint : inspect("switch-base-8", std::nullopt).footprints) {
    EXPECT_FALSE(footprint.slots.has_value());
  }
}

TEST(Inspection, ShrinksAnExpertWithPatternAndType) {
  const Inspection inspection = inspect("switch-base-8", std::nullopt);
  const auto bytes = [&](int n, int m, kernels::PackedType type) {
    for (const ExpertFootprint& footprint : inspection.footprints) {
      if (footprint.format.n == n && footprint.format.m == m && footprint.format.type == type) {
        return footprint.expert_bytes;
      }
    }
    return std::uint64_t{0};
  };
  using kernels::PackedType;
  EXPECT_EQ(bytes(1, 1, PackedType::kF32), inspection.expert_parameters * 4);
  EXPECT_LT(bytes(2, 4, PackedType::kInt8), bytes(1, 1, PackedType::kInt8));
  EXPECT_LT(bytes(1, 4, PackedType::kInt8), bytes(2, 4, PackedType::kInt8));
  EXPECT_LT(bytes(2, 4, PackedType::kInt4), bytes(2, 4, PackedType::kInt8));
}

TEST(Inspection, NamesWhatIsNotThere) { EXPECT_THROW((void)inspect("no/such/model", std::nullopt), FileError); }

}  // namespace
}  // namespace flame::engine
