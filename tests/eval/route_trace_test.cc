#include "flame/eval/route_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "flame/base/error.h"
#include "flame/routing/fit.h"
#include "flame/routing/predictor.h"
#include "routing/synthetic_trace.h"

namespace flame::eval {
namespace {

using routing::Trace;
using ::testing::HasSubstr;

/// Two layers of three experts, with states of six numbers that say nothing.
Trace traced(bool states) {
  Trace trace = routing::test::random_trace(3, 2, 10, 8, 1);
  trace.info.d_model = 6;
  if (!states) return trace;
  std::mt19937_64 random(2);
  std::normal_distribution<float> normal;
  for (std::size_t i = 0; i < trace.decoder.experts.size() * 6; ++i) {
    trace.decoder.hidden.push_back(BFloat16::from_float(normal(random)));
    trace.decoder.approach.push_back(BFloat16::from_float(normal(random)));
  }
  return trace;
}

RouteRequest request(const std::string& predictor, std::uint32_t width = 10) {
  RouteRequest request;
  request.model = routing::test::synthetic_info(3, 4);
  request.model.model = "large";
  request.model.d_model = width;
  request.predictor = predictor;
  return request;
}

std::string refusal(const Trace& trace, const RouteRequest& request) {
  try {
    static_cast<void>(route_as(trace, request));
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(RouteAs, FitsWhatThePredictorAsksFor) {
  const Trace trace = traced(true);
  for (const char* name : {"cepr", "lookahead", "pre-attention", "mix", "mix-hidden", "auto"}) {
    const RoutedRun routed = route_as(trace, request(name));
    ASSERT_TRUE(routed.profile) << name;
    EXPECT_TRUE(routed.warnings.empty()) << name;
    EXPECT_EQ(routed.profile->model().model, "large routed as synthetic");
    EXPECT_EQ(routing::examples_of(routed.run->decoder).size(), 5U) << "the second half";
    EXPECT_EQ(routed.run->decoder.layers, 4U);
    const std::string built = std::string(name) == "auto" ? "mix-hidden" : name;
    EXPECT_NO_THROW((void)routing::make_predictor(built, {.context = 1, .depth = 1}, *routed.profile)) << name;
  }
  EXPECT_TRUE(route_as(trace, request("cepr")).profile->fitted().maps.empty()) << "nothing that nobody asks for";
}

TEST(RouteAs, SaysWhatATraceDoesNotHave) {
  const Trace plain = traced(false);
  for (const char* name : {"lookahead", "pre-attention", "mix-hidden"}) {
    EXPECT_THAT(refusal(plain, request(name)), HasSubstr("make it with flame trace --hidden")) << name;
  }
  EXPECT_EQ(refusal(plain, request("mix")), "");
  EXPECT_EQ(refusal(plain, request("auto")), "");
  EXPECT_THAT(refusal(traced(true), request("next-router")), HasSubstr("which a trace does not hold"));
}

TEST(RouteAs, ShowsNoStatesThatAreTooWide) {
  const Trace trace = traced(true);
  for (const char* name : {"lookahead", "pre-attention", "mix-hidden"}) {
    EXPECT_THAT(refusal(trace, request(name, 5)),
                HasSubstr("hidden states are of 6 numbers, which cannot be shown as states of large, of 5"))
        << name;
  }
  const RoutedRun chosen = route_as(trace, request("auto", 5));
  ASSERT_EQ(chosen.warnings.size(), 1U);
  EXPECT_THAT(chosen.warnings[0], HasSubstr("--predictor auto is mix"));
  EXPECT_EQ(chosen.profile->fitted().mixtures.size(), 1U);
  EXPECT_TRUE(route_as(trace, request("mix", 5)).warnings.empty());
}

TEST(RouteAs, HoldsAGivenProfileToTheSame) {
  const Trace trace = traced(true);
  routing::Profile profile = *route_as(trace, request("mix-hidden")).profile;
  routing::Fitted fitted = profile.fitted();
  fitted.router = fitted.maps;
  profile.set_fitted(fitted);
  for (const char* name : {"next-router", "lookahead", "mix-hidden", "auto", "mix"}) {
    RouteRequest with = request(name);
    with.profile = &profile;
    EXPECT_FALSE(route_as(trace, with).profile) << name;
    if (std::string(name) == "mix") {
      EXPECT_EQ(refusal(traced(false), with), "");
    } else {
      EXPECT_THAT(refusal(traced(false), with), HasSubstr("flame trace --hidden")) << name;
    }
  }
}

TEST(RouteAs, NeedsAnExampleToProfileAndOneToRun) {
  EXPECT_THAT(refusal(routing::test::random_trace(3, 2, 1, 8, 1), request("cepr")), HasSubstr("two are needed"));
}

// The documented rule: layer floor(l * Lt / L), expert e mod E.
TEST(MapTrace, FollowsTheRule) {
  const Trace trace = routing::test::random_trace(8, 6, 4, 5, 3);
  routing::TraceInfo model = routing::test::synthetic_info(4, 9);
  const Trace mapped = map_trace(trace, model, 1, 3);
  ASSERT_EQ(mapped.decoder.steps(), 10U);
  for (std::size_t step = 0; step < 10; ++step) {
    for (std::uint32_t layer = 0; layer < 9; ++layer) {
      EXPECT_EQ(mapped.decoder.experts[step * 9 + layer], trace.decoder.experts[(step + 5) * 6 + layer * 6 / 9] % 4);
    }
  }
}

}  // namespace
}  // namespace flame::eval
