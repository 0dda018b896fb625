#include "flame/base/memory_usage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace flame {
namespace {

constexpr std::size_t kBlock = std::size_t{64} << 20;
constexpr std::uint64_t kSlack = std::uint64_t{16} << 20;

TEST(MemoryUsage, SeesMemoryThatIsTouched) {
  const MemoryUsage before = memory_usage();
  ASSERT_GT(before.resident, 0U);
  EXPECT_GE(before.peak, before.resident);
  std::vector<std::byte> block(kBlock, std::byte{1});
  const MemoryUsage during = memory_usage();
  EXPECT_GT(during.anonymous + kSlack, before.anonymous + kBlock);
  EXPECT_GE(during.peak, before.resident + kBlock - kSlack);
}

TEST(MemoryUsage, AvailableMemoryIsSomethingAndBelowAllThereIs) {
  EXPECT_GT(available_memory(), 0U);
  EXPECT_LT(available_memory(), std::uint64_t{1} << 50);
}

TEST(MemoryUsage, ForgetsAnOldPeakWhereTheKernelAllowsIt) {
  { std::vector<std::byte> block(kBlock, std::byte{1}); }
  if (!reset_peak_memory()) GTEST_SKIP() << "/proc/self/clear_refs cannot be written here";
  const MemoryUsage usage = memory_usage();
  EXPECT_LT(usage.peak, usage.resident + kSlack);
}

}  // namespace
}  // namespace flame
