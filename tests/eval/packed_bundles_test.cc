#include "flame/eval/packed_bundles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "flame/base/error.h"
#include "flame/experts/bundle.h"
#include "flame/io/file.h"
#include "flame/model/config.h"
#include "flame/model/synth.h"
#include "flame/routing/profile.h"
#include "support/test_data.h"
#include "support/tiny_checkpoint.h"

namespace flame::eval {
namespace {

using kernels::PackedType;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class PackedBundlesTest : public ::testing::Test {
 protected:
  PackedBundlesTest() { fs::copy(test::tiny_checkpoint(), directory_ / "model", fs::copy_options::recursive); }

  [[nodiscard]] PackedBundles bundles(const fs::path& profile = {}) const {
    return {directory_ / "model", directory_ / "work", profile};
  }

  /// A profile of the model that has counted nothing, up to contexts of `order`.
  [[nodiscard]] fs::path profile_of_order(std::uint32_t order) const {
    const model::SwitchConfig config = model::load_config(directory_ / "model");
    routing::TraceInfo info;
    info.experts = config.num_experts;
    info.encoder_layers = config.moe_layers(model::Stack::kEncoder);
    info.decoder_layers = config.moe_layers(model::Stack::kDecoder);
    info.d_model = config.d_model;
    info.vocabulary = config.vocab_size;
    const fs::path path = directory_ / ("profile" + std::to_string(order));
    routing::Profile(info, {.max_order = order}).write(path);
    return path;
  }

  /// Other random weights in the model's place.
  void change_weights() const {
    const model::SwitchConfig config = model::load_config(directory_ / "model");
    model::synthesise(config, directory_ / "other", {.seed = 99}, {});
    fs::rename(directory_ / "other" / "model.safetensors", directory_ / "model" / "model.safetensors");
  }

  test::TemporaryDirectory directory_;
};

TEST_F(PackedBundlesTest, ArePackedOnceAndKept) {
  const fs::path packed = bundles().get("2:4", PackedType::kInt8);
  EXPECT_EQ(packed, directory_ / "work" / "2_4-int8");
  const fs::file_time_type made = fs::last_write_time(packed / "flame.json");
  EXPECT_EQ(bundles().get("2:4", PackedType::kInt8), packed);
  EXPECT_EQ(fs::last_write_time(packed / "flame.json"), made);
  EXPECT_EQ(experts::Bundle::open(bundles().get("dense", PackedType::kBF16)).pattern(), "dense");
}

TEST_F(PackedBundlesTest, OfOtherWeightsAreRefused) {
  static_cast<void>(bundles().get("2:4", PackedType::kInt8));
  change_weights();
  try {
    static_cast<void>(bundles().get("2:4", PackedType::kInt8));
    FAIL() << "no error";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("was packed from other weights"));
  }
}

TEST_F(PackedBundlesTest, OfTheSameWeightsInOtherFilesAreUsed) {
  const fs::path packed = bundles().get("2:4", PackedType::kInt8);
  fs::rename(directory_ / "model", directory_ / "moved");
  const PackedBundles moved(directory_ / "moved", directory_ / "work", {});
  EXPECT_EQ(moved.get("2:4", PackedType::kInt8), packed);
}

TEST_F(PackedBundlesTest, GetTheProfileOfThisRun) {
  const fs::path first = profile_of_order(2);
  const fs::path second = profile_of_order(3);
  const fs::path packed = bundles(first).get("2:4", PackedType::kInt8);
  EXPECT_EQ(experts::Bundle::open(packed).profile().options().max_order, 2U);
  EXPECT_EQ(bundles(second).get("2:4", PackedType::kInt8), packed);
  EXPECT_EQ(experts::Bundle::open(packed).profile().options().max_order, 3U);
  EXPECT_GT(experts::verify_bundle(packed), 0U);
}

}  // namespace
}  // namespace flame::eval
