#include "flame/routing/forced_routing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/base/error.h"
#include "routing/fake_device.h"
#include "routing/synthetic_trace.h"

namespace flame::routing {
namespace {

using model::RoutingDecision;
using model::Stack;
using test::FakeDevice;
using test::route;
using ::testing::ElementsAre;

/// Two examples of two steps and two layers; expert = 10 * example + 4 * step + layer, modulo 16.
std::shared_ptr<const Trace> small_trace() {
  auto trace = std::make_shared<Trace>();
  trace->info = test::synthetic_info(16, 2);
  trace->decoder.layers = 2;
  for (int example = 0; example < 2; ++example) {
    for (int step = 0; step < 2; ++step) {
      for (int layer = 0; layer < 2; ++layer) {
        trace->decoder.experts.push_back(static_cast<std::uint16_t>((10 * example + 4 * step + layer) % 16));
        trace->decoder.probability.push_back(Float16::from_float(0.25F));
      }
      trace->decoder.token.push_back(100 * example + step);
      trace->decoder.example.push_back(example);
    }
  }
  trace->encoder = trace->decoder;
  trace->encoder.dropped = {0, 0, 1, 0, 0, 0, 0, 0};
  return trace;
}

std::vector<std::uint16_t> experts(const std::vector<RoutingDecision>& decisions) {
  std::vector<std::uint16_t> result;
  for (const RoutingDecision& decision : decisions) result.push_back(decision.expert);
  return result;
}

TEST(ForcedRouting, GivesRowsTheDecisionsOfConsecutiveExamples) {
  auto owned = std::make_unique<FakeDevice>();
  FakeDevice& inner = *owned;
  ForcedRoutingDevice device(std::move(owned), ForcedRouting(small_trace(), 16, 2, 2));
  device.begin_batch(2);
  device.feed(std::vector<std::int32_t>{7, 7});
  EXPECT_THAT(inner.fed, ElementsAre(0, 100)) << "predictors are fed the trace's tokens";
  const std::vector<RoutingDecision> first = route(device, {Stack::kDecoder, 0}, {0, 1});
  EXPECT_THAT(experts(first), ElementsAre(0, 10));
  EXPECT_EQ(first[0].probability, 0.25F);
  EXPECT_THAT(experts(route(device, {Stack::kDecoder, 1}, {0, 1})), ElementsAre(1, 11));
  device.feed(std::vector<std::int32_t>{7, 7});
  EXPECT_THAT(experts(route(device, {Stack::kDecoder, 0}, {0, 1})), ElementsAre(4, 14));
  device.feed(std::vector<std::int32_t>{7, 7});
  EXPECT_THAT(experts(route(device, {Stack::kDecoder, 0}, {0, 1})), ElementsAre(10, 0))
      << "an example that is over is followed by the next, the last by the first";
}

TEST(ForcedRouting, ShowsPredictorsTheStatesOfItsTraceWidenedWithZeros) {
  auto trace = std::make_shared<Trace>(*small_trace());
  for (int position = 0; position < 8; ++position) {  // two numbers a state
    trace->decoder.hidden.push_back(BFloat16::from_float(static_cast<float>(position)));
    trace->decoder.hidden.push_back(BFloat16::from_float(-1.0F));
  }
  ForcedRouting routing(trace, 16, 4, 4);
  routing.begin_batch(2);
  (void)routing.feed();
  (void)routing.feed();
  const Matrix<float> own(2, 3, 7.0F);
  const MatrixView<const float> shown = routing.hidden({Stack::kDecoder, 2}, own.view());
  ASSERT_EQ(shown.rows(), 2U);
  // Step 1 of either example; layer 2 of four is layer 1 of the trace's two.
  EXPECT_THAT(shown.row(0), ElementsAre(3.0F, -1.0F, 0.0F));
  EXPECT_THAT(shown.row(1), ElementsAre(7.0F, -1.0F, 0.0F));
  EXPECT_THAT(routing.approach({Stack::kDecoder, 2}, own.view()).row(0), ElementsAre(7.0F, 7.0F, 7.0F))
      << "the trace has none of these: the model's own";
  EXPECT_THAT(routing.hidden({Stack::kEncoder, 0}, own.view()).row(0), ElementsAre(7.0F, 7.0F, 7.0F));
  const Matrix<float> narrow(2, 1, 7.0F);
  EXPECT_THAT(routing.hidden({Stack::kDecoder, 0}, narrow.view()).row(0), ElementsAre(7.0F));
}

TEST(ForcedRouting, FollowsRowsThatMove) {
  ForcedRoutingDevice device(std::make_unique<FakeDevice>(), ForcedRouting(small_trace(), 16, 2, 2));
  device.begin_batch(2);
  device.feed(std::vector<std::int32_t>{7, 7});
  device.reorder(std::vector<std::uint32_t>{1, 1});
  device.feed(std::vector<std::int32_t>{7, 7});
  EXPECT_THAT(experts(route(device, {Stack::kDecoder, 0}, {0, 1})), ElementsAre(14, 14));
}

TEST(ForcedRouting, MapsLayersProportionallyAndExpertsModulo) {
  ForcedRoutingDevice device(std::make_unique<FakeDevice>(), ForcedRouting(small_trace(), 4, 4, 4));
  device.begin_batch(2);
  device.feed(std::vector<std::int32_t>{7, 7});
  EXPECT_THAT(experts(route(device, {Stack::kDecoder, 1}, {0, 1})), ElementsAre(0, 2));
  EXPECT_THAT(experts(route(device, {Stack::kDecoder, 2}, {0, 1})), ElementsAre(1, 3));
}

TEST(ForcedRouting, RepeatsAnExamplesEncoderSteps) {
  ForcedRoutingDevice device(std::make_unique<FakeDevice>(), ForcedRouting(small_trace(), 16, 2, 2));
  device.begin_batch(2);
  const std::vector<RoutingDecision> decisions = route(device, {Stack::kEncoder, 0}, {0, 0, 0, 1});
  EXPECT_THAT(experts(decisions), ElementsAre(0, 4, 0, 10));
  EXPECT_TRUE(decisions[1].dropped);
  EXPECT_FALSE(decisions[2].dropped);
}

TEST(ForcedRouting, RefusesATraceWithoutDecoderSteps) {
  EXPECT_THROW(ForcedRouting(std::make_shared<Trace>(), 8, 2, 2), UsageError);
}

}  // namespace
}  // namespace flame::routing
