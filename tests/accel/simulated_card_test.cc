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
  card->finish();
  EXPECT_NO_THROW(check_waveform(options.trace_path));
}

TEST(SimulatedCard, AWaveformThatCannotBeWrittenIsAnErrorAtTheStart) {
  if (make_card() == nullptr) GTEST_SKIP() << "built without Verilator";
  SimulatedCardOptions options;
  options.trace_path = "/nowhere/wave.fst";
  EXPECT_THROW(SimulatedCard{options}, FileError);
}

}  // namespace
}  // namespace flame::accel
