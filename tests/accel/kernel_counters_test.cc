#include "flame/accel/kernel_counters.h"

#include <gtest/gtest.h>

namespace flame::accel {
namespace {

KernelCounters some(std::uint64_t value) {
  KernelCounters counters;
  counters.cycles.fill(value);
  counters.load_bytes = counters.demand_loads = counters.prefetch_loads = counters.prefetch_used = value;
  counters.prefetch_dropped = counters.read_bytes = counters.write_bytes = value;
  counters.layers = {{value, 0, 1}, {0, value, 2}};
  return counters;
}

TEST(KernelCounters, SumsAndDifferencesTakeEveryCount) {
  KernelCounters counters = some(5);
  counters -= some(3);
  KernelCounters sum;
  sum += counters;
  sum += counters;
  EXPECT_EQ(sum[CycleKind::kCompute], 4U);
  EXPECT_EQ(sum.busy_cycles(), 4U * (kCycleKinds - 1));
  EXPECT_EQ(sum.load_bytes, 4U);
  EXPECT_EQ(sum.demand_loads, 4U);
  EXPECT_EQ(sum.prefetch_loads, 4U);
  EXPECT_EQ(sum.prefetch_used, 4U);
  EXPECT_EQ(sum.prefetch_dropped, 4U);
  EXPECT_EQ(sum.read_bytes, 4U);
  EXPECT_EQ(sum.write_bytes, 4U);
  EXPECT_EQ(sum.lookups().hits, 4U);
  EXPECT_EQ(sum.lookups().late, 4U);
  EXPECT_EQ(sum.lookups().misses, 0U);
}

}  // namespace
}  // namespace flame::accel
