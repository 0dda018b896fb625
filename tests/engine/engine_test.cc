#include "flame/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "flame/base/error.h"
#include "support/test_data.h"
#include "support/tiny_checkpoint.h"

namespace flame::engine {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(Engine, SaysWhatRuns) {
  const Engine engine = Engine::open(test::tiny_checkpoint(), {.type = DataType::kF32, .threads = 1});
  EXPECT_THAT(engine.describe(), HasSubstr("cpu"));
  EXPECT_THAT(engine.describe(), HasSubstr("f32"));
  EXPECT_THAT(engine.describe(), HasSubstr("1 thread"));
  EXPECT_GT(engine.weight_bytes(), 0U);
}

TEST(Engine, HoldsHalfTheBytesInBf16) {
  const Engine wide = Engine::open(test::tiny_checkpoint(), {.type = DataType::kF32});
  const Engine narrow = Engine::open(test::tiny_checkpoint(), {.type = DataType::kBF16});
  EXPECT_LT(narrow.weight_bytes(), wide.weight_bytes() * 6 / 10);
}

TEST(Engine, NamesAMissingDirectory) {
  EXPECT_THAT([] { (void)Engine::open("no/such/model"); }, ThrowsMessage<FileError>(HasSubstr("no/such/model")));
}

TEST(Engine, WorksOnIdsWithoutATokenizerAndSaysWhyTextCannotBeHad) {
  const test::TemporaryDirectory directory;
  const std::filesystem::path model = directory / "mute";
  std::filesystem::copy(test::tiny_checkpoint(), model);
  std::filesystem::remove(model / "spiece.model");
  const Engine engine = Engine::open(model);
  EXPECT_EQ(engine.tokenizer(), nullptr);
  EXPECT_THAT([&] { (void)engine.require_tokenizer(); }, ThrowsMessage<ModelError>(HasSubstr("spiece.model")));
}

TEST(Engine, TakesTheLongestInputFromTheTokenizersConfiguration) {
  EXPECT_EQ(Engine::open(test::tiny_checkpoint()).longest_input(), 512U);
  const test::TemporaryDirectory directory;
  const std::filesystem::path model = directory / "short";
  std::filesystem::copy(test::tiny_checkpoint(), model);
  std::ofstream(model / "tokenizer_config.json") << R"({"model_max_length": 99})";
  EXPECT_EQ(Engine::open(model).longest_input(), 99U);
  std::ofstream(model / "tokenizer_config.json") << R"({"model_max_length": 1e30})";
  EXPECT_EQ(Engine::open(model).longest_input(), 512U);
}

TEST(Engine, PutsTheDecoratorAroundItsDevice) {
  bool called = false;
  EngineOptions options;
  options.decorate = [&](std::unique_ptr<model::MoeDevice> device) {
    called = true;
    return device;
  };
  (void)Engine::open(test::tiny_checkpoint(), options);
  EXPECT_TRUE(called);
}

}  // namespace
}  // namespace flame::engine
