#include "flame/routing/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>

#include "flame/base/error.h"
#include "routing/synthetic_trace.h"
#include "support/test_data.h"

namespace flame::routing {
namespace {

using test::random_trace;
using test::synthetic_info;
using ::testing::HasSubstr;

Trace slice(const Trace& trace, std::size_t first, std::size_t end) {
  Trace part;
  part.info = trace.info;
  part.decoder.layers = trace.decoder.layers;
  const std::vector<StepRange> ranges = examples_of(trace.decoder);
  for (std::size_t example = first; example < end; ++example) {
    for (std::size_t step = ranges[example].first; step < ranges[example].end; ++step) {
      const auto path = trace.decoder.experts_of(step);
      part.decoder.experts.insert(part.decoder.experts.end(), path.begin(), path.end());
      part.decoder.probability.insert(part.decoder.probability.end(), path.size(), Float16{});
      part.decoder.token.push_back(trace.decoder.token[step]);
      part.decoder.example.push_back(static_cast<std::int32_t>(example));
    }
  }
  return part;
}

RC_GTEST_PROP(Profile, OfPartsMergesIntoTheProfileOfTheWhole, (std::uint16_t seed)) {
  const auto experts = *rc::gen::inRange<std::uint32_t>(2, 10);
  const auto layers = *rc::gen::inRange<std::uint32_t>(1, 5);
  const auto examples = *rc::gen::inRange<std::size_t>(2, 8);
  const auto cut = *rc::gen::inRange<std::size_t>(1, examples);
  const Trace trace = random_trace(experts, layers, examples, 4, seed);
  const ProfileOptions options{.max_order = 4, .max_depth = 2, .token_order = 1};
  Profile whole(trace.info, options);
  whole.add(trace);
  Profile first(trace.info, options);
  first.add(slice(trace, 0, cut));
  Profile second(trace.info, options);
  second.add(slice(trace, cut, examples));
  second.merge(first);
  RC_ASSERT(second.to_json() == whole.to_json());
}

RC_GTEST_PROP(Profile, IsReadAsItWasWritten, (std::uint16_t seed)) {
  const auto experts = *rc::gen::inRange<std::uint32_t>(2, 300);
  const Trace trace = random_trace(experts, 3, 3, 5, seed);
  Profile profile(trace.info, fitting_options({}, experts));
  profile.add(trace);
  RC_ASSERT(Profile::parse(profile.to_json(), "p").to_json() == profile.to_json());
}

RC_GTEST_PROP(Profile, CountsContextsOfEveryOrderAndDepth, (std::uint16_t seed)) {
  const Trace trace = random_trace(4, 3, 3, 6, seed);
  Profile profile(trace.info, {.max_order = 3, .max_depth = 3, .token_order = 1});
  profile.add(trace);
  for (std::uint32_t layer = 0; layer < 3; ++layer) {
    for (std::uint32_t order = 0; order <= 3; ++order) {
      for (std::uint32_t depth = 1; depth <= 3; ++depth) {
        std::map<std::pair<std::uint64_t, std::uint16_t>, std::uint64_t> expected;
        for (const StepRange& range : examples_of(trace.decoder)) {
          const std::size_t begin = range.first * 3;
          for (std::size_t p = begin + layer; p < range.end * 3; p += 3) {
            const std::size_t skipped = order == 0 ? 0 : depth - 1;
            if (p - begin < order + skipped) continue;
            std::uint64_t context = 0;
            for (std::size_t back = order + skipped; back > skipped; --back) {
              context = context << 2 | trace.decoder.experts[p - back];
            }
            ++expected[{context, trace.decoder.experts[p]}];
          }
        }
        std::vector<ContextCount> rows;
        for (const auto& [key, count] : expected) rows.push_back({key.first, key.second, count});
        RC_ASSERT(profile.contexts(layer, order, depth) == rows);
      }
    }
  }
}

RC_GTEST_PROP(Profile, CountsTokensWithAndWithoutTheExpertBefore, (std::uint16_t seed)) {
  const Trace trace = random_trace(4, 2, 3, 6, seed);
  Profile profile(trace.info, {});
  profile.add(trace);
  for (std::uint32_t layer = 0; layer < 2; ++layer) {
    std::map<std::pair<std::int32_t, std::uint16_t>, std::uint64_t> alone;
    std::map<std::tuple<std::int32_t, std::uint64_t, std::uint16_t>, std::uint64_t> joined;
    for (const StepRange& range : examples_of(trace.decoder)) {
      for (std::size_t step = range.first; step < range.end; ++step) {
        const std::size_t p = step * 2 + layer;
        const std::int32_t token = trace.decoder.token[step];
        ++alone[{token, trace.decoder.experts[p]}];
        if (p > range.first * 2) ++joined[{token, trace.decoder.experts[p - 1], trace.decoder.experts[p]}];
      }
    }
    std::vector<TokenCount> rows;
    for (const auto& [key, count] : alone) rows.push_back({key.first, 0, key.second, count});
    RC_ASSERT(profile.tokens(layer, 0) == rows);
    rows.clear();
    for (const auto& [key, count] : joined)
      rows.push_back({std::get<0>(key), std::get<1>(key), std::get<2>(key), count});
    RC_ASSERT(profile.tokens(layer, 1) == rows);
  }
}

TEST(Profile, RefusesAnotherModel) {
  const Trace trace = random_trace(8, 3, 2, 4, 1);
  Profile profile(trace.info, {});
  profile.add(trace);
  TraceInfo other = trace.info;
  other.checksum = "00000000000000bb";
  EXPECT_THROW(profile.require_model(other), UsageError);
  other.checksum.clear();
  EXPECT_NO_THROW(profile.require_model(other)) << "without a checksum the shape decides";
  other.decoder_layers = 4;
  EXPECT_THROW(profile.require_model(other), UsageError);
  Trace wider = random_trace(16, 3, 2, 4, 1);
  EXPECT_THROW(profile.add(wider), UsageError);
}

TEST(Profile, RefusesToMergeOneTwice) {
  const Trace trace = random_trace(8, 3, 2, 4, 1);
  Profile profile(trace.info, {});
  profile.add(trace);
  const Profile same = profile;
  EXPECT_THROW(profile.merge(same), UsageError);
}

TEST(Profile, RefusesToMergeOtherOptions) {
  const Trace trace = random_trace(8, 3, 2, 4, 1);
  Profile profile(trace.info, {.max_order = 3});
  EXPECT_THROW(profile.merge(Profile(trace.info, {.max_order = 4})), UsageError);
}

TEST(Profile, KnowsTheExamplesItCounted) {
  const Trace counted = random_trace(8, 3, 4, 4, 1);
  const Trace other = random_trace(8, 3, 4, 4, 2);
  Profile profile(counted.info, {});
  profile.add(counted);
  EXPECT_EQ(profile.overlap(example_fingerprints(counted)), 4U);
  EXPECT_EQ(profile.overlap(example_fingerprints(other)), 0U);
}

TEST(Profile, RefusesMorePairsOfExpertsThanItCanHold) {
  TraceInfo info = test::synthetic_info(60000, 2);
  EXPECT_THROW(Profile(info, fitting_options({}, info.experts)), UsageError);
}

TEST(Profile, FitsKeysIntoSixtyFourBits) {
  EXPECT_EQ(fitting_options({}, 8), (ProfileOptions{6, 3, 1}));
  EXPECT_EQ(fitting_options({}, 128), (ProfileOptions{6, 3, 1}));
  EXPECT_EQ(fitting_options({}, 256), (ProfileOptions{6, 2, 1}));
  EXPECT_EQ(fitting_options({}, 65535), (ProfileOptions{3, 1, 1}));
  EXPECT_THROW(Profile(synthetic_info(256, 2), {}), UsageError);
}

/// The JSON of a small profile with one thing in it replaced must be refused with that reason.
void expect_refused(const std::string& from, const std::string& to, const std::string& reason) {
  Trace trace = test::synthetic_trace(
      4, 2, 2, 3, 5,
      [](const auto& path, std::uint32_t, std::int32_t) { return static_cast<std::uint16_t>(path.size() % 3); }, 3);
  Profile profile(trace.info, {.max_order = 2, .max_depth = 1, .token_order = 0});
  profile.add(trace);
  std::string text = profile.to_json();
  const std::size_t place = text.find(from);
  ASSERT_NE(place, std::string::npos) << from << " is not in " << text;
  text.replace(place, from.size(), to);
  try {
    (void)Profile::parse(text, "p.json");
    ADD_FAILURE() << "read without complaint; expected: " << reason;
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(reason));
  }
}

TEST(Profile, NamesWhatIsWrongInAFile) {
  expect_refused("flame-profile", "profile", "\"format\"");
  expect_refused("\"version\":1", "\"version\":2", "profile version 2 is not 1");
  expect_refused("\"experts\":4", "\"experts\":0", "without MoE layers");
  expect_refused("\"experts\":4", "\"experts\":60000", "more experts and layers");
  expect_refused("\"steps\":6", "\"steps\":7", "add up to 6, not to the 7 steps");
  expect_refused("\"examples\":\"", "\"examples\":\"f", "10 hexadecimal digits");
  expect_refused("\"layer\":0", "\"layer\":2", "layer");
  expect_refused("\"length\":0", "\"length\":3", "length");
  expect_refused("\"keys\":[", "\"keys\":[99999,", "keys, but");
  expect_refused("\"counts\":[", "\"counts\":[-1,", "expected a whole number");
  expect_refused("\"previous\":[0,", "\"previous\":[", "expected 32 numbers, found 31");
  expect_refused("\"paths\":{\"counts\":[", "\"paths\":{\"counts\":[1,", "experts a path");
  expect_refused("\"max_order\":2", "\"max_order\":0", "order must be at least 1");
  expect_refused("{", "[", "p.json");
}

TEST(Profile, RefusesTokensBeyondTheVocabulary) {
  const Trace trace = random_trace(4, 2, 2, 3, 5);
  Profile profile(trace.info, {.max_order = 2, .max_depth = 1, .token_order = 0});
  profile.add(trace);
  std::string text = profile.to_json();
  EXPECT_NO_THROW((void)Profile::parse(text, "p.json"));
  const std::string vocabulary = "\"vocabulary\":1000";
  text.replace(text.find(vocabulary), vocabulary.size(), "\"vocabulary\":2");
  EXPECT_THROW((void)Profile::parse(text, "p.json"), FormatError);
}

TEST(Profile, RefusesMixturesOfWhatCannotBeMixed) {
  const Trace trace = random_trace(2, 2, 2, 3, 1);
  Profile profile(trace.info, {});
  profile.add(trace);
  const auto refused = [&](const Mixture& mixture, const std::string& reason, std::size_t times = 1) {
    Fitted fitted;
    fitted.mixtures.assign(times, mixture);
    profile.set_fitted(fitted);
    try {
      (void)Profile::parse(profile.to_json(), "p.json");
      ADD_FAILURE() << "read without complaint; expected: " << reason;
    } catch (const FormatError& error) {
      EXPECT_THAT(error.what(), HasSubstr(reason));
    }
  };
  for (const char* part : {"oracle", "belady", "lru", "lifo", "mix", "crystal-ball"}) {
    refused({"mix", 2, {"token", part}, {}}, std::string(part) + "\" cannot be a part of a mixture");
  }
  refused({"mix", 2, {}, {}}, "a mixture of nothing");
  refused({"blend", 2, {"token"}, {}}, "\"blend\" is no mixture");
  refused({"mix", 2, {"token"}, {}}, "mix is there twice", 2);
  refused({"mix", 2, {"token"}, {{2, 1, {1.0F}}}}, "layer");
  refused({"mix", 0, {"backoff"}, {}}, "a context of no experts");
}

TEST(Profile, RefusesWhatIsFittedTwice) {
  const Trace trace = random_trace(2, 2, 2, 3, 1);
  Profile profile(trace.info, {});
  profile.add(trace);
  const auto refusal = [&](const Fitted& fitted) -> std::string {
    profile.set_fitted(fitted);
    try {
      (void)Profile::parse(profile.to_json(), "p.json");
    } catch (const FormatError& error) {
      return error.what();
    }
    return "";
  };
  const auto map = [](std::uint32_t layer, std::uint32_t depth) {
    return LinearMap{layer, depth, true, {0.25F, -0.5F, 1.0F, 2.0F}, {0.0F, 1e-3F}};
  };
  for (std::vector<LinearMap> Fitted::*const maps : {&Fitted::router, &Fitted::maps, &Fitted::approach}) {
    Fitted fitted;
    fitted.*maps = {map(0, 1), map(1, 1), map(0, 2)};
    EXPECT_EQ(refusal(fitted), "");
    (fitted.*maps).push_back(map(1, 1));
    EXPECT_THAT(refusal(fitted), HasSubstr("this layer and depth are there twice"));
  }
  Fitted mixed;
  mixed.mixtures = {{"mix", 2, {"cepr", "token"}, {{0, 1, {1.0F, 0.0F}}, {1, 1, {1.0F, 0.0F}}}}};
  EXPECT_EQ(refusal(mixed), "");
  mixed.mixtures[0].weights.push_back({0, 1, {0.0F, 1.0F}});
  EXPECT_THAT(refusal(mixed), HasSubstr("this layer and depth are there twice"));
  mixed.mixtures = {{"mix", 2, {"cepr", "token", "cepr"}, {}}};
  EXPECT_THAT(refusal(mixed), HasSubstr("the part cepr is there twice"));
}

TEST(Profile, FileOfAnotherKindIsNamed) {
  const flame::test::TemporaryDirectory folder;
  EXPECT_THROW((void)Profile::read(folder / "absent.json"), FileError);
}

TEST(Profile, KeepsWhatWasFitted) {
  const Trace trace = random_trace(2, 2, 2, 3, 1);
  Profile profile(trace.info, {});
  profile.add(trace);
  Fitted fitted;
  fitted.maps.push_back({1, 1, true, {0.25F, -0.5F, 1.0F, 2.0F}, {0.0F, 1e-3F}});
  fitted.mixtures.push_back({"mix", 2, {"cepr", "token"}, {{1, 2, {0.5F, 0.75F}}}});
  profile.set_fitted(fitted);
  const Profile read = Profile::parse(profile.to_json(), "p");
  EXPECT_EQ(read.to_json(), profile.to_json());
  for (const char* const part : {"maps", "mixtures"}) {  // the layer itself is none ahead
    const std::string depth = "\"depth\":";
    std::string broken = profile.to_json();
    const std::size_t at = broken.find(depth, broken.find('"' + std::string(part) + '"')) + depth.size();
    broken[at] = '0';
    EXPECT_THROW(static_cast<void>(Profile::parse(broken, "profile.json")), FormatError) << part;
  }
  ASSERT_EQ(read.fitted().maps.size(), 1U);
  EXPECT_EQ(read.fitted().maps[0].weight, fitted.maps[0].weight);
  EXPECT_EQ(read.fitted().mixtures[0].parts, fitted.mixtures[0].parts);
  Profile merged = read;
  merged.merge(Profile(trace.info, {}));
  EXPECT_TRUE(merged.fitted().maps.empty()) << "fitted parts belong to what they were fitted on";
}

}  // namespace
}  // namespace flame::routing
