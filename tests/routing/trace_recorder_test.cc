#include "flame/routing/trace_recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/base/error.h"
#include "routing/fake_device.h"

namespace flame::routing {
namespace {

using model::Stack;
using test::FakeDevice;
using test::route;
using ::testing::ElementsAre;

TEST(TraceRecorder, KeepsWhatTheRoutersDecided) {
  TraceRecorder recorder(std::make_unique<FakeDevice>());
  recorder.begin_batch(2);
  const std::vector<std::vector<std::int32_t>> inputs = {{5, 6}, {7}};
  for (std::uint32_t layer = 0; layer < 2; ++layer) route(recorder, {Stack::kEncoder, layer}, {0, 0, 1});
  recorder.feed(std::vector<std::int32_t>{0, 0});
  for (std::uint32_t layer = 0; layer < 3; ++layer) route(recorder, {Stack::kDecoder, layer}, {0, 1});
  recorder.feed(std::vector<std::int32_t>{11, 12});
  for (std::uint32_t layer = 0; layer < 3; ++layer) route(recorder, {Stack::kDecoder, layer}, {0, 1});
  const Trace trace = recorder.take(inputs);
  EXPECT_THAT(trace.encoder.token, ElementsAre(5, 6, 7));
  EXPECT_THAT(trace.encoder.example, ElementsAre(0, 0, 1));
  // The fake device decides 0, 1, 2, … in the order of the tokens it sees, modulo 8.
  EXPECT_THAT(trace.encoder.experts, ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_THAT(trace.encoder.dropped, ElementsAre(0, 0, 1, 0, 0, 1)) << "the fake device drops decisions 1 and 5";
  EXPECT_THAT(trace.decoder.token, ElementsAre(0, 11, 0, 12));
  EXPECT_THAT(trace.decoder.example, ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(trace.decoder.experts, ElementsAre(6, 0, 2, 4, 6, 0, 7, 1, 3, 5, 7, 1));
  EXPECT_EQ(trace.decoder.layers, 3U);
  EXPECT_TRUE(trace.decoder.hidden.empty());
}

TEST(TraceRecorder, FollowsExamplesWhoseRowsMove) {
  TraceRecorder recorder(std::make_unique<FakeDevice>());
  recorder.begin_batch(3);
  recorder.feed(std::vector<std::int32_t>{1, 2, 3});
  route(recorder, {Stack::kDecoder, 0}, {0, 1, 2});
  recorder.reorder(std::vector<std::uint32_t>{0, 2});  // example 1 has ended
  recorder.feed(std::vector<std::int32_t>{4, 5});
  route(recorder, {Stack::kDecoder, 0}, {0, 1});
  const std::vector<std::vector<std::int32_t>> inputs(3);
  const Trace trace = recorder.take(inputs);
  EXPECT_THAT(trace.decoder.token, ElementsAre(1, 4, 2, 3, 5));
  EXPECT_THAT(trace.decoder.example, ElementsAre(0, 0, 1, 2, 2));
  EXPECT_THAT(trace.decoder.experts, ElementsAre(0, 3, 1, 2, 4));
}

TEST(TraceRecorder, RefusesBeams) {
  TraceRecorder recorder(std::make_unique<FakeDevice>());
  recorder.begin_batch(1);
  EXPECT_THROW(recorder.reorder(std::vector<std::uint32_t>{0, 0}), UsageError);
}

TEST(TraceRecorder, KeepsHiddenStatesOnRequest) {
  TraceRecorder recorder(std::make_unique<FakeDevice>(), {.hidden = true, .approach = true});
  recorder.begin_batch(1);
  const Matrix<float> block(1, test::kFakeWidth, 3.0F);
  for (int step = 0; step < 2; ++step) {
    recorder.feed(std::vector<std::int32_t>{1});
    for (std::uint32_t layer = 0; layer < 2; ++layer) {
      recorder.approach({Stack::kDecoder, layer}, block);
      route(recorder, {Stack::kDecoder, layer}, {0}, static_cast<float>(step * 2) + static_cast<float>(layer));
    }
  }
  const std::vector<std::vector<std::int32_t>> inputs(1);
  const Trace trace = recorder.take(inputs);
  ASSERT_EQ(trace.decoder.hidden.size(), 2 * 2 * test::kFakeWidth);
  for (std::size_t i = 0; i < trace.decoder.hidden.size(); ++i) {
    EXPECT_EQ(trace.decoder.hidden[i].to_float(), static_cast<float>(i / test::kFakeWidth));
    EXPECT_EQ(trace.decoder.approach[i].to_float(), 3.0F);
  }
}

TEST(TraceRecorder, ComplainsWhenTheEncoderTokensAreNotThoseThatWereRouted) {
  TraceRecorder recorder(std::make_unique<FakeDevice>());
  recorder.begin_batch(1);
  route(recorder, {Stack::kEncoder, 0}, {0, 0});
  const std::vector<std::vector<std::int32_t>> inputs = {{1, 2, 3}};
  EXPECT_THROW((void)recorder.take(inputs), Error);
}

}  // namespace
}  // namespace flame::routing
