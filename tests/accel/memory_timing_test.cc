#include "flame/accel/memory_timing.h"

#include <gtest/gtest.h>

#include <cstdio>

namespace flame::accel {
namespace {

constexpr std::uint64_t kPage = 4096;

/// Beats per kernel cycle of reads of `burst` beats, one after the other at the addresses that `next` gives.
template <class Next>
double throughput(Ddr4Timing& timing, std::uint64_t bursts, std::uint64_t burst, Next next) {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  for (std::uint64_t i = 0; i < bursts; ++i) {
    const std::uint64_t address = next(i);
    for (std::uint64_t beat = 0; beat < burst; ++beat) {
      last = timing.schedule(address + 64 * beat, false, 0);
      if (i == 0 && beat == 0) first = last;
    }
  }
  return static_cast<double>(bursts * burst - 1) / static_cast<double>(last - first);
}

TEST(Ddr4Timing, LongSequentialReadsReachWhatCardsReach) {
  // 85 to 90 % of peak: KV260 85 %, LiteDRAM 89 to 90 % (docs/accelerator.md). At 300 MHz the peak is a beat a cycle.
  Ddr4Timing timing({});
  const double rate = throughput(timing, 4096, 64, [](std::uint64_t i) { return i * kPage; });
  EXPECT_GE(rate, 0.85);
  EXPECT_LE(rate, 0.90);
  EXPECT_GT(timing.refreshes(), 0U);
}

TEST(Ddr4Timing, AnIdealControllerIsBoundByRefreshWithBankGroupsLowestAndByTccdWithColumnsLowest) {
  Ddr4Parameters ideal;
  ideal.overhead_per_64_beats = 0;
  Ddr4Timing interleaved(ideal);
  // DRAMsim3: 95 % and 78 %.
  EXPECT_NEAR(throughput(interleaved, 4096, 64, [](std::uint64_t i) { return i * kPage; }), 0.95, 0.02);
  ideal.bank_groups_lowest = false;
  Ddr4Timing columns(ideal);
  const double rate = throughput(columns, 4096, 64, [](std::uint64_t i) { return i * kPage; });
  EXPECT_GT(rate, 0.60);
  EXPECT_LT(rate, 0.80);
}

TEST(Ddr4Timing, TwoStreamsThatMeetInOneBankLoseMoreThanTwoInDifferentBanks) {
  const std::uint64_t row_bytes = 32 * 1024;  // 4 bank groups x 128 bursts
  Ddr4Timing same({});
  Ddr4Timing other({});
  const double conflict =
      throughput(same, 2048, 8, [&](std::uint64_t i) { return i / 2 * 512 + (i % 2) * 4 * row_bytes * 1024; });
  const double apart = throughput(
      other, 2048, 8, [&](std::uint64_t i) { return i / 2 * 512 + (i % 2) * (4 * row_bytes * 1024 + row_bytes); });
  EXPECT_LT(conflict, 0.75 * apart);
}

TEST(Ddr4Timing, LongerBurstsAtRandomPlacesGiveMoreBandwidth) {
  double before = 0.0;
  for (const std::uint64_t burst : {1U, 2U, 4U, 8U, 16U, 32U, 64U}) {
    Ddr4Timing timing({});
    std::uint64_t state = 1;
    const double rate = throughput(timing, 16384 / burst, burst, [&](std::uint64_t) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      return (state >> 33) % 65536 * kPage;
    });
    EXPECT_GT(rate, before) << "burst of " << burst;
    // The curve in docs/accelerator.md; the peak is a beat a cycle.
    std::printf("bursts of %2d beats at random pages: %.1f %% of peak\n", static_cast<int>(burst), 100.0 * rate);
    before = rate;
  }
  EXPECT_GT(before, 0.75);
}

TEST(Ddr4Timing, AnIdleReadTakesAHundredToTwoHundredNanoseconds) {
  Ddr4Timing timing({});
  const std::uint64_t start = 1000;
  const double ns = static_cast<double>(timing.schedule(0, false, start) - start) / 0.3;
  EXPECT_GE(ns, 100.0);
  EXPECT_LE(ns, 200.0);
}

TEST(Ddr4Timing, BeatsLeaveInTheOrderOfTheirRequests) {
  Ddr4Timing timing({});
  std::uint64_t last = 0;
  std::uint64_t state = 3;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    state = state * 6364136223846793005ULL + 1;
    const std::uint64_t ready = timing.schedule((state >> 40) * 64, (state >> 20 & 7) == 0, i);
    ASSERT_GT(ready, last);
    ASSERT_GT(ready, i);
    last = ready;
  }
}

TEST(FixedBandwidthTiming, TakesTheSameTimeForEveryBeat) {
  const auto timing = make_fixed_bandwidth_timing({.bytes_per_cycle = 32.0, .latency_cycles = 10});
  const std::uint64_t first = timing->schedule(0, false, 0);
  for (std::uint64_t i = 1; i < 100; ++i) EXPECT_EQ(timing->schedule((i * 7919) % 4096 * 64, false, 0), first + 2 * i);
}

}  // namespace
}  // namespace flame::accel
