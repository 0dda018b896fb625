#include "flame/experts/buffer_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "experts/tiny_bundle.h"

namespace flame::experts {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class BufferChecksTest : public ::testing::Test {
 protected:
  std::vector<std::string> messages(const Bundle& bundle, const std::vector<std::string_view>& given) {
    return options_without_effect(bundle, options_, [&](std::string_view option) {
      return std::find(given.begin(), given.end(), option) != given.end();
    });
  }

  const test::TinyModel model_;
  const std::shared_ptr<const Bundle> bundle_ = model_.pack("b", "", kernels::PackedType::kInt8);
  BufferOptions options_;
};

TEST_F(BufferChecksTest, AContextNeedsAPredictorThatLooksBack) {
  EXPECT_THAT(messages(*bundle_, {"--context"}), IsEmpty()) << "cepr, by the profile";
  for (const char* name : {"none", "popularity", "lru", "random"}) {
    options_.predictor = name;
    EXPECT_THAT(messages(*bundle_, {"--context", "--predictor"}), ElementsAre(HasSubstr(name)));
    EXPECT_THAT(messages(*bundle_, {"--predictor"}), IsEmpty()) << "nobody asked for a context";
  }
}

TEST_F(BufferChecksTest, SaysWhichPredictorsAContextIsFor) {
  options_.predictor = "edgemoe";  // looks back, but always on two layers
  EXPECT_THAT(messages(*bundle_, {"--context"}),
              ElementsAre(HasSubstr("--predictor edgemoe, only with cepr, incremental, backoff and online")));
}

TEST_F(BufferChecksTest, WithoutAProfileNothingIsPredicted) {
  PackOptions pack = model_.pack_options("", kernels::PackedType::kInt8);
  pack.profile.reset();
  static_cast<void>(pack_bundle(model_.checkpoint(), model_ / "plain", pack));
  const Bundle plain = Bundle::open(model_ / "plain");
  EXPECT_THAT(messages(plain, {"--context"}), ElementsAre(HasSubstr("no profile")));
  options_.prefetch = false;
  EXPECT_THAT(messages(plain, {"--no-prefetch"}), ElementsAre(HasSubstr("nothing is predicted")));
}

TEST_F(BufferChecksTest, APredictorThatStandsForAReplacementOverridesIt) {
  options_.predictor = "lru";
  options_.replacement = Replacement::kLfu;
  EXPECT_THAT(messages(*bundle_, {"--replacement"}), ElementsAre(HasSubstr("--replacement lfu")));
}

TEST_F(BufferChecksTest, APredictorServesPrefetchOrReplacement) {
  options_.predictor = "cepr";
  options_.prefetch = false;
  EXPECT_THAT(messages(*bundle_, {"--predictor", "--no-prefetch"}), IsEmpty()) << "next-use asks it";
  options_.replacement = Replacement::kLru;
  EXPECT_THAT(messages(*bundle_, {"--predictor", "--no-prefetch", "--replacement"}),
              ElementsAre(HasSubstr("--predictor cepr")));
}

}  // namespace
}  // namespace flame::experts
