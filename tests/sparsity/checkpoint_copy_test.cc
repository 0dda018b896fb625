#include "flame/sparsity/checkpoint_copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/io/safetensors.h"
#include "support/test_data.h"

namespace flame::sparsity {
namespace {

io::FileSystem& files() { return io::FileSystem::real(); }

TEST(CheckpointCopy, PytorchShardsBecomeSafetensorsShards) {
  const test::TemporaryDirectory directory;
  const std::filesystem::path model = directory / "model";
  const std::filesystem::path target = directory / "copy";
  std::filesystem::copy(test::data_path("io/sharded_bin"), model);
  files().create(model / "config.json")->append("{}");
  const io::Checkpoint before = io::Checkpoint::open(model);
  CheckpointCopy copy(model, before, target, io::Existing::kRefuse, files());
  copy.write({}, "");
  copy.commit();

  EXPECT_THAT(files().list(target),
              testing::ElementsAre("config.json", "model-00001-of-00002.safetensors",
                                   "model-00002-of-00002.safetensors", "model.safetensors.index.json"));
  const io::Checkpoint after = io::Checkpoint::open(target);
  ASSERT_EQ(after.names(), before.names());
  for (const std::string& name : before.names()) {
    EXPECT_EQ(after.tensor(name).type, before.tensor(name).type) << name;
    EXPECT_EQ(after.tensor(name).shape, before.tensor(name).shape) << name;
    EXPECT_TRUE(std::ranges::equal(after.tensor(name).bytes, before.tensor(name).bytes)) << name;
    EXPECT_EQ(after.file_of(name).stem().string(), "model" + before.file_of(name).stem().string().substr(13)) << name;
  }
  // transformers demands to know whose layout a safetensors file has.
  EXPECT_EQ(io::SafetensorsFile(target / "model-00001-of-00002.safetensors").metadata().at("format"), "pt");
  EXPECT_TRUE(copy.left_out().empty());  // an index of .bin files is written anew for what they become
}

TEST(CheckpointCopy, EditsAndOverwritesReachTheirTensorsOnly) {
  const test::TemporaryDirectory directory;
  const std::filesystem::path model = directory / "model";
  std::filesystem::copy(test::data_path("io/sharded_safetensors"), model);
  const io::Checkpoint before = io::Checkpoint::open(model);
  ASSERT_GE(before.names().size(), 2U);
  const std::string edited = before.names().front();
  const std::string overwritten = before.names().back();
  CheckpointCopy copy(model, before, directory / "copy", io::Existing::kRefuse, files());
  copy.write({{edited,
               [](std::string_view, const io::TensorView& original, std::span<std::byte> bytes) {
                 std::transform(original.bytes.begin(), original.bytes.end(), bytes.begin(),
                                [](std::byte byte) { return ~byte; });
               }}},
             "");
  const io::Checkpoint staged = io::Checkpoint::open(copy.path());
  copy.overwrite(overwritten, std::vector<std::byte>(before.tensor(overwritten).bytes.size(), std::byte{7}));
  EXPECT_EQ(staged.tensor(overwritten).bytes.front(), std::byte{7});  // maps see it at once
  EXPECT_FALSE(std::filesystem::exists(directory / "copy"));
  copy.commit();

  const io::Checkpoint after = io::Checkpoint::open(directory / "copy");
  for (const std::string& name : before.names()) {
    const auto old_bytes = before.tensor(name).bytes;
    const auto bytes = after.tensor(name).bytes;
    ASSERT_EQ(bytes.size(), old_bytes.size());
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const std::byte expected = name == edited ? ~old_bytes[i] : name == overwritten ? std::byte{7} : old_bytes[i];
      ASSERT_EQ(bytes[i], expected) << name;
    }
  }
}

TEST(CheckpointCopy, AModelThatIsAFileIsRefused) {
  const test::TemporaryDirectory directory;
  const std::filesystem::path file = test::data_path("io/types.safetensors");
  const io::Checkpoint checkpoint = io::Checkpoint::open(file);
  EXPECT_THROW(CheckpointCopy(file, checkpoint, directory / "copy", io::Existing::kRefuse, files()), FileError);
}

}  // namespace
}  // namespace flame::sparsity
