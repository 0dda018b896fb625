#include "flame/base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

namespace flame {
namespace {

class ThreadPoolTest : public testing::TestWithParam<std::size_t> {
 protected:
  void SetUp() override { ThreadPool::set_threads(GetParam()); }
  void TearDown() override { ThreadPool::set_threads(0); }
};

TEST_P(ThreadPoolTest, CoversEveryIndexExactlyOnce) {
  for (const std::size_t count : {0UL, 1UL, 2UL, 7UL, 64UL, 1000UL, 100003UL}) {
    for (const std::size_t grain : {0UL, 1UL, 3UL, 16UL, 5000UL}) {
      std::vector<std::uint8_t> visits(count, 0);
      ThreadPool::parallel_for(count, grain, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) ++visits[i];
      });
      EXPECT_EQ(std::accumulate(visits.begin(), visits.end(), std::size_t{0}), count) << count << " by " << grain;
      EXPECT_EQ(std::count(visits.begin(), visits.end(), 1), static_cast<std::ptrdiff_t>(count));
    }
  }
}

TEST_P(ThreadPoolTest, RangesBeginOnMultiplesOfTheGrain) {
  std::mutex mutex;
  std::vector<std::pair<std::size_t, std::size_t>> ranges;
  ThreadPool::parallel_for(1000, 16, [&](std::size_t begin, std::size_t end) {
    const std::lock_guard lock(mutex);
    ranges.emplace_back(begin, end);
  });
  for (const auto& [begin, end] : ranges) {
    EXPECT_EQ(begin % 16, 0U);
    EXPECT_TRUE(end % 16 == 0 || end == 1000) << end;
  }
}

TEST_P(ThreadPoolTest, RethrowsAnExceptionInTheCallerAndWorksAfterwards) {
  EXPECT_THROW(ThreadPool::parallel_for(1000, 1,
                                        [](std::size_t begin, std::size_t end) {
                                          if (begin <= 500 && 500 < end) throw std::runtime_error("range");
                                        }),
               std::runtime_error);
  std::atomic<std::size_t> sum = 0;
  ThreadPool::parallel_for(1000, 1, [&](std::size_t begin, std::size_t end) { sum += end - begin; });
  EXPECT_EQ(sum, 1000U);
}

TEST_P(ThreadPoolTest, RunsANestedCallSerially) {
  std::atomic<std::size_t> inner_calls = 0;
  std::atomic<std::size_t> inner_sum = 0;
  ThreadPool::parallel_for(64, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      ThreadPool::parallel_for(10, 1, [&](std::size_t inner_begin, std::size_t inner_end) {
        ++inner_calls;
        inner_sum += inner_end - inner_begin;
      });
    }
  });
  EXPECT_EQ(inner_sum, 640U);
  EXPECT_EQ(inner_calls, GetParam() > 1 ? 64U : inner_calls.load());
}

TEST_P(ThreadPoolTest, ManyShortCallsFollowOneAnother) {
  std::vector<std::uint64_t> totals(64, 0);
  for (int call = 0; call < 3000; ++call) {
    ThreadPool::parallel_for(totals.size(), 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) totals[i] += i;
    });
    if (call % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // lets the workers fall asleep
  }
  for (std::size_t i = 0; i < totals.size(); ++i) EXPECT_EQ(totals[i], 3000 * i);
}

TEST_P(ThreadPoolTest, ServesCallersFromSeveralThreads) {
  std::atomic<std::size_t> sum = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int call = 0; call < 100; ++call) {
        ThreadPool::parallel_for(50, 1, [&](std::size_t begin, std::size_t end) { sum += end - begin; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 4U * 100U * 50U);
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, testing::Values(1, 2, 3, 8), testing::PrintToStringParamName());

TEST(ThreadPoolSizeTest, ZeroStandsForAllProcessors) {
  ThreadPool::set_threads(3);
  EXPECT_EQ(ThreadPool::threads(), 3U);
  ThreadPool::set_threads(0);
  EXPECT_GE(ThreadPool::threads(), 1U);
}

}  // namespace
}  // namespace flame
