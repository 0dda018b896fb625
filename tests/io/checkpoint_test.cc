#include "flame/io/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "flame/base/error.h"
#include "flame/io/failing_file_system.h"
#include "flame/io/memory_file_system.h"
#include "io/expected_tensors.h"
#include "support/test_data.h"

namespace flame::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::filesystem::path data(const std::string& name) { return test::data_path("io") / name; }

template <typename Error>
std::string refusal(const std::filesystem::path& path, FileSystem& files) {
  try {
    static_cast<void>(Checkpoint::open(path, files));
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "the checkpoint was accepted";
  return {};
}

/// A model directory in memory.
class CheckpointTest : public ::testing::Test {
 protected:
  void put(const std::string& name, const std::string& from) { files_.put("/model/" + name, read_file(data(from))); }
  void put_index(const std::string& name, const std::string& weight_map) {
    files_.put("/model/" + name, "{\"metadata\": {}, \"weight_map\": " + weight_map + "}");
  }
  Checkpoint open() { return Checkpoint::open("/model", files_); }

  MemoryFileSystem files_;
};

TEST_F(CheckpointTest, TheSameTensorsComeFromEveryForm) {
  const auto expected = test::expected_tensors("types.safetensors");
  for (const char* form : {"types.safetensors", "types.bin", "sharded_safetensors", "sharded_bin",
                           "sharded_safetensors/model.safetensors.index.json"}) {
    const Checkpoint checkpoint = Checkpoint::open(data(form));
    EXPECT_EQ(test::contents_of(checkpoint), expected) << form;
    EXPECT_EQ(checkpoint.total_bytes(), 233U) << form;
  }
}

TEST_F(CheckpointTest, TheContentChecksumDoesNotDependOnTheForm) {
  const std::uint64_t checksum = Checkpoint::open(data("types.safetensors")).content_checksum();
  for (const char* form : {"types.bin", "sharded_safetensors", "sharded_bin"}) {
    const Checkpoint checkpoint = Checkpoint::open(data(form));
    EXPECT_EQ(checkpoint.content_checksum(), checksum) << form;
    EXPECT_EQ(checkpoint.content_checksum(), checksum) << form;  // remembered
  }
  EXPECT_NE(Checkpoint::open(data("views.bin")).content_checksum(), checksum);
}

TEST_F(CheckpointTest, FilesAreLookedForInTheOrderOfTransformers) {
  put("pytorch_model.bin", "views.bin");
  put_index("pytorch_model.bin.index.json", "{}");
  EXPECT_EQ(open().files().front(), "/model/pytorch_model.bin");
  put_index("model.safetensors.index.json", R"({"scalar": "other.safetensors"})");
  put("other.safetensors", "types.safetensors");
  EXPECT_EQ(open().files().front(), "/model/other.safetensors");
  put("model.safetensors", "types.safetensors");
  EXPECT_EQ(open().files().front(), "/model/model.safetensors");
}

TEST_F(CheckpointTest, ADirectoryWithoutWeightsSaysWhatWasLookedFor) {
  files_.create_directories("/model");
  EXPECT_EQ(refusal<ModelError>("/model", files_),
            "/model: no weights; looked for model.safetensors, model.safetensors.index.json, pytorch_model.bin, "
            "pytorch_model.bin.index.json");
  EXPECT_THAT(refusal<FileError>("/absent", files_), HasSubstr("/absent: cannot open: No such file"));
}

TEST_F(CheckpointTest, AMissingShardIsNamed) {
  put_index("model.safetensors.index.json", R"({"scalar": "a.safetensors", "deep": "b.safetensors"})");
  put("a.safetensors", "types.safetensors");
  EXPECT_EQ(
      refusal<ModelError>("/model", files_),
      "/model/b.safetensors: the shard is missing (model.safetensors.index.json names it for 1 tensors, deep among "
      "them)");
}

TEST_F(CheckpointTest, ATensorThatItsShardLacksIsNamed) {
  put_index("model.safetensors.index.json", R"({"scalar": "a.safetensors", "wanted": "a.safetensors"})");
  put("a.safetensors", "types.safetensors");
  EXPECT_EQ(refusal<ModelError>("/model", files_),
            "/model/a.safetensors: the tensor \"wanted\" is missing, although model.safetensors.index.json says it is "
            "there");
}

TEST_F(CheckpointTest, ATensorInTwoShardsIsNamed) {
  put_index("model.safetensors.index.json", R"({"scalar": "a.safetensors", "deep": "b.safetensors"})");
  put("a.safetensors", "types.safetensors");
  put("b.safetensors", "types.safetensors");
  EXPECT_EQ(refusal<ModelError>("/model", files_),
            "the tensor \"deep\" is both in /model/a.safetensors and in /model/b.safetensors");
}

TEST_F(CheckpointTest, BrokenIndexesAreRefused) {
  files_.put("/model/model.safetensors.index.json", "{}");
  EXPECT_THAT(refusal<FormatError>("/model", files_), HasSubstr("the key \"weight_map\" is missing"));
  put_index("model.safetensors.index.json", "{}");
  EXPECT_THAT(refusal<FormatError>("/model", files_), HasSubstr("weight_map: lists no tensors"));
  put_index("model.safetensors.index.json", R"({"a": 7})");
  EXPECT_THAT(refusal<FormatError>("/model", files_), HasSubstr("weight_map.a: expected a text, found 7"));
  for (const char* name : {"../secret", "/etc/passwd", "", ".."}) {
    put_index("model.safetensors.index.json", "{\"a\": \"" + std::string(name) + "\"}");
    EXPECT_THAT(refusal<FormatError>("/model", files_), HasSubstr("is not the name of a file beside the index"));
  }
}

TEST_F(CheckpointTest, MissingTensorsAreNamedAndFoundOnesKnowTheirFile) {
  const Checkpoint checkpoint = Checkpoint::open(data("sharded_bin"));
  EXPECT_EQ(checkpoint.find("absent"), nullptr);
  try {
    static_cast<void>(checkpoint.tensor("absent"));
    FAIL();
  } catch (const ModelError& error) {
    EXPECT_THAT(error.what(), HasSubstr("sharded_bin: the tensor \"absent\" is missing"));
  }
  EXPECT_EQ(checkpoint.file_of("scalar").filename().string().find("pytorch_model-0000"), 0U);
  EXPECT_EQ(checkpoint.path(), data("sharded_bin"));
  EXPECT_THAT(checkpoint.files(), ElementsAre(data("sharded_bin/pytorch_model-00001-of-00002.bin"),
                                              data("sharded_bin/pytorch_model-00002-of-00002.bin")));
  checkpoint.release("scalar");
  checkpoint.release("absent");
  checkpoint.release_all();
}

TEST_F(CheckpointTest, AFileIsReadByItsContentNotItsName) {
  put("weights", "views.bin");
  EXPECT_EQ(test::contents_of(Checkpoint::open("/model/weights", files_)), test::expected_tensors("views.bin"));
  put("weights", "types.safetensors");
  EXPECT_EQ(test::contents_of(Checkpoint::open("/model/weights", files_)), test::expected_tensors("types.safetensors"));
  put("weights", "legacy.bin");
  EXPECT_THAT(refusal<FormatError>("/model/weights", files_), HasSubstr("before 1.6"));
}

TEST_F(CheckpointTest, APointerOfGitLfsIsNamedAsWhatItIs) {
  for (const char* name : {"model.safetensors", "pytorch_model.bin"}) {
    MemoryFileSystem files;
    files.put(std::string("/model/") + name,
              "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 2500000000\n");
    EXPECT_THAT(refusal<FormatError>("/model", files), HasSubstr("git lfs pull")) << name;
  }
}

TEST_F(CheckpointTest, EveryFailingReadIsReported) {
  for (std::uint64_t step = 0;; ++step) {
    FailingFileSystem failing(FileSystem::real(), {.fail_operation = step});
    try {
      const Checkpoint checkpoint = Checkpoint::open(data("sharded_safetensors"), failing);
      EXPECT_GT(step, 4U);
      return;
    } catch (const FileError& error) {
      EXPECT_EQ(error.error_number(), EIO) << step;
    }
  }
}

}  // namespace
}  // namespace flame::io
