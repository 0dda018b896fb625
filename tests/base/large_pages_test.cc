#include "flame/base/large_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <new>
#include <utility>

namespace flame {
namespace {

constexpr std::size_t kLargePage = std::size_t{2} << 20;

TEST(LargePageMemory, BeginsOnALargePageAndIsZero) {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{4096}, kLargePage, 3 * kLargePage + 5}) {
    const LargePageMemory memory(bytes);
    ASSERT_EQ(memory.bytes().size(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.bytes().data()) % kLargePage, 0U);
    EXPECT_TRUE(std::ranges::all_of(memory.bytes(), [](std::byte byte) { return byte == std::byte{0}; }));
    memory.bytes().back() = std::byte{1};
  }
}

TEST(LargePageMemory, MovesWithoutMovingItsBytes) {
  LargePageMemory first(kLargePage);
  std::byte* const begin = first.bytes().data();
  first.bytes()[7] = std::byte{7};
  LargePageMemory second(std::move(first));
  EXPECT_TRUE(first.bytes().empty());  // NOLINT(bugprone-use-after-move): what a move leaves
  LargePageMemory third(5);
  third = std::move(second);
  EXPECT_EQ(third.bytes().data(), begin);
  EXPECT_EQ(third.bytes()[7], std::byte{7});
}

TEST(LargePageMemory, NothingIsNoMemory) { EXPECT_TRUE(LargePageMemory(0).bytes().empty()); }

TEST(LargePageMemory, MoreThanThereIsIsRefused) {
  EXPECT_THROW(LargePageMemory(std::numeric_limits<std::size_t>::max()), std::bad_alloc);
  EXPECT_THROW(LargePageMemory(std::size_t{1} << 62), std::bad_alloc);
}

}  // namespace
}  // namespace flame
