#include "flame/accel/simulated_card.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "flame/accel/waveform_file.h"
#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "support/test_data.h"

namespace flame::accel {
namespace {

std::unique_ptr<SimulatedCard> make_card(const SimulatedCardOptions& options = {}) {
  try {
    return std::make_unique<SimulatedCard>(options);
  } catch (const DeviceError&) {
    return nullptr;  // built without Verilator
  }
}

TEST(SimulatedCard, AnInterruptEndsALongSimulation) {
  const std::unique_ptr<SimulatedCard> card = make_card();
  if (card == nullptr) GTEST_SKIP() << "built without Verilator";
  request_interrupt();
  EXPECT_THROW(card->let_pass(1'000'000'000'000), Interrupted);
  clear_interrupt();
}

TEST(SimulatedCard, FinishingLeavesAWholeWaveform) {
  const test::TemporaryDirectory directory;
  SimulatedCardOptions options;
  options.trace_path = (directory / "wave.fst").string();
  const std::unique_ptr<SimulatedCard> card = make_card(options);
  if (card == nullptr) GTEST_SKIP() << "built without Verilator";
  card->let_pass(100);
  EXPECT_NE(card->finish().find("cycles 0 to"), std::string::npos);
  EXPECT_NO_THROW(check_waveform(options.trace_path));
}

TEST(SimulatedCard, AWaveformHoldsTheCyclesThatWereAskedFor) {
  if (make_card() == nullptr) GTEST_SKIP() << "built without Verilator";
  const test::TemporaryDirectory directory;
  std::vector<std::uintmax_t> sizes;
  for (const std::uint64_t cycles : {100U, 4000U}) {
    SimulatedCardOptions options;
    options.trace_path = (directory / "wave.fst").string();
    options.trace_start = 500;
    options.trace_cycles = cycles;
    SimulatedCard card(options);
    for (int i = 0; i < 500; ++i) card.read_register(0x90);
    const std::uint64_t end = std::min(card.cycles(), 500 + cycles);
    EXPECT_EQ(card.finish(),
              options.trace_path + ": cycles 500 to " + std::to_string(end) + " of " + std::to_string(card.cycles()));
    sizes.push_back(std::filesystem::file_size(options.trace_path));
  }
  EXPECT_LT(sizes[0], sizes[1]);
}

TEST(SimulatedCard, AWaveformThatTheRunNeverReachedIsAnError) {
  if (make_card() == nullptr) GTEST_SKIP() << "built without Verilator";
  const test::TemporaryDirectory directory;
  SimulatedCardOptions options;
  options.trace_path = (directory / "wave.fst").string();
  options.trace_start = 1'000'000;
  SimulatedCard card(options);
  card.let_pass(100);
  EXPECT_THROW((void)card.finish(), DeviceError);
}

TEST(SimulatedCard, BanksHaveTheSizesOfTheCards) {
  const std::unique_ptr<SimulatedCard> card = make_card();
  if (card == nullptr) GTEST_SKIP() << "built without Verilator";
  const std::uint64_t whole = card->allocate(2U << 20, kHostPort);
  EXPECT_THROW((void)card->allocate(1, kHostPort), DeviceError);
  card->release(whole);
  EXPECT_EQ(card->allocate(1, kHostPort), whole);
  EXPECT_THROW((void)card->allocate((std::size_t{16} << 30) + 1, 0), DeviceError);
}

TEST(SimulatedCard, AWaveformThatCannotBeWrittenIsAnErrorAtTheStart) {
  if (make_card() == nullptr) GTEST_SKIP() << "built without Verilator";
  SimulatedCardOptions options;
  options.trace_path = "/nowhere/wave.fst";
  EXPECT_THROW(SimulatedCard{options}, FileError);
}

}  // namespace
}  // namespace flame::accel
