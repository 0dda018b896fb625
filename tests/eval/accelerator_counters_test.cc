// The RTL's lookup counters against the replay of `flame eval buffer`, for the policies that both have.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>

#include "flame/accel/driver.h"
#include "flame/accel/predictor_table.h"
#include "flame/accel/simulated_card.h"
#include "flame/base/error.h"
#include "flame/eval/buffer.h"

namespace flame::eval {
namespace {

constexpr std::uint32_t kLayers = 4, kExperts = 8;

/// A decoder trace, without an encoder, in which an expert mostly follows the one before it.
routing::Trace decoder_trace(std::uint32_t seed, std::size_t examples) {
  routing::Trace trace;
  trace.info.experts = kExperts;
  trace.info.decoder_layers = kLayers;
  trace.info.d_model = 64;
  trace.info.vocabulary = 50;
  trace.decoder.layers = kLayers;
  std::mt19937 random(seed);
  std::uint32_t expert = 0;
  for (std::size_t example = 0; example < examples; ++example) {
    for (std::size_t step = 0; step < 12; ++step) {
      trace.decoder.token.push_back(static_cast<std::int32_t>(random() % 50));
      trace.decoder.example.push_back(static_cast<std::int32_t>(example));
      for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
        expert = static_cast<std::uint32_t>(random() % 10 < 6 ? (expert * 3 + layer) % kExperts : random() % kExperts);
        trace.decoder.experts.push_back(static_cast<std::uint16_t>(expert));
        trace.decoder.probability.push_back(Float16::from_float(0.5F));
      }
    }
  }
  return trace;
}

/// The kernel with all-zero experts: only what is looked up matters here.
class AcceleratorCounters : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      driver_ = std::make_unique<accel::Driver>(std::make_unique<accel::SimulatedCard>(accel::SimulatedCardOptions{}));
    } catch (const DeviceError& error) {
      GTEST_SKIP() << error.what();
    }
    driver_->configure(64, 64, accel::DevicePattern::from(1, 4), kLayers, kExperts, 0);
    driver_->reserve(1);
    driver_->upload_token(0, driver_->make_token(std::vector<float>(64, 1.0F), true, true));
    profile_.add(decoder_trace(1, 30));
  }

  /// Replays the trace with `gap` cycles between MoE layers; `begin` is what an example starts with.
  template <class Begin>
  accel::KernelCounters::Lookups run(const routing::Trace& trace, bool observe, std::uint32_t gap, const Begin& begin) {
    bool clear = true;
    for (const routing::StepRange& steps : routing::examples_of(trace.decoder)) {
      accel::CommandList commands;
      begin(commands);
      for (std::size_t step = steps.first; step < steps.end; ++step) {
        for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
          commands.layer({.route = false, .forced = true, .lookup = true, .observe = observe, .compute = true}, layer,
                         trace.decoder.experts_of(step)[layer], 0, driver_->token_address(0),
                         driver_->result_address(0));
          commands.delay(gap);
        }
      }
      driver_->run(commands, clear);
      clear = false;
    }
    return driver_->counters().lookups();
  }

  std::unique_ptr<accel::Driver> driver_;
  const routing::Trace trace_ = decoder_trace(2, 12);
  routing::Profile profile_{trace_.info, routing::ProfileOptions{}};
};

TEST_F(AcceleratorCounters, WithoutPredictionAreThoseOfTheReplayWithLru) {
  for (const std::size_t slots : {1U, 3U, 5U, 9U, 16U, 31U}) {
    driver_->set_slots(slots);
    driver_->set_policy({});
    const auto counted = run(trace_, false, 0, [](accel::CommandList&) {});
    BufferCase setting;
    setting.predictor = "none";
    setting.replacement = experts::Replacement::kLru;
    setting.slots = slots;
    const BufferResult replayed = replay_buffer(trace_, profile_, setting);
    EXPECT_EQ(counted.hits, replayed.decoder.hits) << slots << " slots";
    EXPECT_EQ(counted.late, replayed.decoder.late);
    EXPECT_EQ(counted.misses, replayed.decoder.misses);
    // The next run starts with empty slots.
    accel::CommandList flush;
    flush.flush();
    driver_->run(flush);
  }
}

// With one slot for the expert at work and C for the guesses, and time enough to load them, the slots hold the top C of
// each layer when its router decides: the paper's buffer.
TEST_F(AcceleratorCounters, WithCeprAreThoseOfThePapersBuffer) {
  for (const std::size_t order : {1U, 3U}) {
    const std::vector<accel::TableEntry> table = accel::predictor_table(profile_, order, driver_->limits().ranked);
    for (const std::size_t guesses : {1U, 2U, 3U}) {
      driver_->set_slots(guesses + 1);
      driver_->set_policy({.order = order, .prefetch_count = guesses, .path_layers = kLayers});
      driver_->load_table(table);
      // An example starts with nothing known but the first layer's popularity.
      const auto first = std::find_if(table.begin(), table.end(), [](const accel::TableEntry& entry) {
        return entry.layer == 0 && entry.context.empty();
      });
      ASSERT_NE(first, table.end());
      const auto counted = run(trace_, true, 1500, [&](accel::CommandList& commands) {
        commands.flush();
        commands.clear_sequence(0);
        for (std::size_t i = 0; i < guesses; ++i) commands.prefetch(0, first->ranked[i]);
        commands.delay(1500);
      });
      BufferCase setting;
      setting.predictor = "cepr";
      setting.context = static_cast<std::uint32_t>(order);
      setting.slots = guesses;
      setting.mode = BufferMode::kPaper;
      const BufferResult replayed = replay_buffer(trace_, profile_, setting);
      EXPECT_EQ(counted.hits, replayed.decoder.hits) << "cepr(" << order << "), " << guesses << " guesses";
      EXPECT_EQ(counted.late, 0U);
      EXPECT_EQ(counted.misses, replayed.decoder.misses);
    }
  }
}

}  // namespace
}  // namespace flame::eval
