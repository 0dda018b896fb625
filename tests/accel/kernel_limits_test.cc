#include "flame/accel/kernel_limits.h"

#include <gtest/gtest.h>

#include "flame/accel/driver.h"
#include "flame/accel/simulated_card.h"
#include "flame/accel/transaction_model.h"
#include "flame/base/error.h"

namespace flame::accel {
namespace {

const KernelLimits kLimits = limits_of(RtlConfiguration::kLanes256);

#ifdef FLAME_TEST_RTL
TEST(KernelLimits, AreWhatTheRtlSaysOfItself) {
  for (const RtlConfiguration configuration :
       {RtlConfiguration::kLanes16, RtlConfiguration::kLanes64, RtlConfiguration::kLanes256}) {
    SimulatedCardOptions options;
    options.configuration = configuration;
    EXPECT_EQ(Driver(std::make_unique<SimulatedCard>(options)).limits(), limits_of(configuration));
  }
}

TEST(KernelLimits, TheLargestShapeRunsInTheMemoryThatTheHostPortHas) {
  Driver driver(std::make_unique<SimulatedCard>(SimulatedCardOptions{}));
  const KernelLimits& limits = driver.limits();
  driver.configure(limits.max_d_model, 64, DevicePattern::from(1, 4), limits.max_layers, limits.max_experts, 0);
  driver.load_router(0, std::vector<float>(limits.max_experts * limits.max_d_model, 0.5F));
  driver.set_policy({.order = 3, .prefetch_count = 2, .path_layers = 8});  // every entry of the table
  driver.load_table(std::vector<TableEntry>{{0, {}, {1, 2}}});
  driver.reserve(128);
  EXPECT_THROW(driver.reserve(256), DeviceError);
}
#endif

TEST(KernelLimits, SlotsComeFromACountABudgetOrWhatFits) {
  const ExpertLayout layout = kLimits.layout(768, 3072, DevicePattern::from(2, 4));
  EXPECT_EQ(kLimits.choose_slots(layout, 0, 0, 48), 9U);
  EXPECT_EQ(kLimits.choose_slots(layout, 0, 0, 2), 2U);
  EXPECT_EQ(kLimits.choose_slots(layout, 4, 0, 2), 4U);
  EXPECT_EQ(kLimits.choose_slots(layout, 0, 2 * layout.slot_bytes() + 1, 48), 2U);
  EXPECT_EQ(kLimits.choose_slots(layout, 0, kLimits.slot_bytes(), 48), 9U);
}

TEST(KernelLimits, WhatTheKernelDoesNotHoldIsRefused) {
  const ExpertLayout layout = kLimits.layout(768, 3072, DevicePattern::from(2, 4));
  EXPECT_THROW((void)kLimits.choose_slots(layout, 10, 0, 48), UsageError);
  EXPECT_THROW((void)kLimits.choose_slots(layout, 0, layout.slot_bytes() - 1, 48), UsageError);
  EXPECT_THROW((void)kLimits.choose_slots(layout, 0, kLimits.slot_bytes() + 1, 48), UsageError);
  EXPECT_THROW((void)kLimits.layout(1088, 3072, {}), UsageError);
  EXPECT_THROW(kLimits.check_model(13, 8), UsageError);
  EXPECT_THROW(kLimits.check_model(6, 17), UsageError);
}

TEST(TransactionModel, RefusesThePredictorsThatTheCeprUnitCannotBe) {
  const RoutingReplay replay{6, 16, std::vector<std::uint16_t>(6, 0), std::vector<std::int32_t>(1, 0)};
  AcceleratorBenchOptions options;
  options.policy = {.order = 5, .prefetch_count = 2};
  EXPECT_THROW((void)run_transaction_model(options, replay), UsageError);
  options.policy = {.order = 1, .prefetch_count = 5};
  EXPECT_THROW((void)run_transaction_model(options, replay), UsageError);
  options.policy = {.order = 4, .prefetch_count = 2};  // six layers of 16^4 contexts
  EXPECT_THROW((void)run_transaction_model(options, replay), UsageError);
  options.policy = {.order = 3, .prefetch_count = 2};
  EXPECT_NO_THROW((void)run_transaction_model(options, replay));
}

}  // namespace
}  // namespace flame::accel
