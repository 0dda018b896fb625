#include "flame/experts/bundle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "experts/tiny_bundle.h"
#include "flame/base/checksum.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/io/atomic_output.h"
#include "flame/io/failing_file_system.h"
#include "flame/io/safetensors.h"
#include "flame/model/tensor_names.h"
#include "flame/sparsity/group_select.h"

namespace flame::experts {
namespace {

using kernels::PackedType;
using test::TinyModel;
using testing::HasSubstr;

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

class BundleTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { model_ = new TinyModel; }
  static void TearDownTestSuite() { delete model_; }
  static TinyModel* model_;
};
TinyModel* BundleTest::model_ = nullptr;

TEST_F(BundleTest, HoldsEveryExpertAsItWasPruned) {
  const auto bundle = model_->pack("f32", "2:4,decoder=1:4", PackedType::kF32);
  EXPECT_EQ(bundle->grid(), (ExpertGrid{3, 3, 8}));
  EXPECT_EQ(bundle->pattern(), "2:4,decoder=1:4");
  const io::Checkpoint checkpoint = io::Checkpoint::open(model_->checkpoint());
  const std::string file = read(bundle->experts_file());
  for (ExpertIndex expert = 0; expert < bundle->grid().size(); ++expert) {
    const LayerIndex layer = bundle->grid().layer_of(expert);
    const kernels::PackedExpertLayout& layout = bundle->layout(layer);
    EXPECT_EQ(layout.format.n, layer < 3 ? 2 : 1);
    const StoredExpert& stored = bundle->expert(expert);
    EXPECT_EQ(stored.offset % 4096, 0U);
    const auto bytes = std::as_bytes(std::span(file)).subspan(stored.offset, layout.size_bytes());
    const std::string name = model::expert_tensor_name(bundle->config(), bundle->grid().layer(layer),
                                                       bundle->grid().number_of(expert), "wi");
    const io::TensorView& tensor = checkpoint.tensor(name);
    std::vector<std::byte> pruned(tensor.bytes.begin(), tensor.bytes.end());
    sparsity::keep_largest({layout.format.n, layout.format.m}, DataType::kF32, pruned, 64);
    Matrix<float> unpacked(512, 64);
    kernels::unpack_rows({layout.wi(), bytes.first(layout.wi().size_bytes())}, 0, 512, unpacked);
    EXPECT_EQ(std::memcmp(unpacked.data(), pruned.data(), pruned.size()), 0) << name;
  }
}

TEST_F(BundleTest, OpensWithASafetensorsReaderAndKeepsEverythingElseAsItWas) {
  const auto bundle = model_->pack("bf16", "2:4", PackedType::kBF16);
  const io::SafetensorsFile experts(bundle->experts_file());
  EXPECT_NE(experts.find("decoder.block.1.layer.2.mlp.experts.expert_3"), nullptr);
  EXPECT_EQ(experts.find("__padding__.0"), nullptr);
  const io::SafetensorsFile dense(bundle->dense_file());
  const io::Checkpoint checkpoint = io::Checkpoint::open(model_->checkpoint());
  for (const std::string& name : checkpoint.names()) {
    if (name.find(".experts.") != std::string::npos) {
      EXPECT_EQ(dense.find(name), nullptr);
    } else {
      const io::TensorView* tensor = dense.find(name);
      ASSERT_NE(tensor, nullptr) << name;
      EXPECT_TRUE(std::ranges::equal(tensor->bytes, checkpoint.tensor(name).bytes)) << name;
    }
  }
  EXPECT_EQ(read(bundle->path() / "config.json"), read(model_->checkpoint() / "config.json"));
  EXPECT_EQ(bundle->profile().steps(), 200U);
}

TEST_F(BundleTest, IsTheSameToTheByteWhenMadeAgain) {
  const auto first = model_->pack("first", "2:4", PackedType::kInt8);
  const auto second = model_->pack("second", "2:4", PackedType::kInt8);
  for (const auto& entry : std::filesystem::directory_iterator(first->path())) {
    EXPECT_EQ(read(entry.path()), read(second->path() / entry.path().filename())) << entry.path();
  }
}

TEST_F(BundleTest, VerifiesWhole) {
  const auto bundle = model_->pack("whole", "2:4", PackedType::kInt4);
  EXPECT_GT(verify_bundle(bundle->path()), bundle->packed_bytes());
}

TEST_F(BundleTest, AnyDamagedByteIsFoundAndNamed) {
  const auto bundle = model_->pack("damaged", "2:4", PackedType::kInt8);
  std::mt19937 random(1);
  for (const char* name : {"config.json", "model.safetensors", "experts.safetensors", "profile.json", "flame.json"}) {
    const std::string good = read(bundle->path() / name);
    for (int i = 0; i < 12; ++i) {
      std::string bad = good;
      bad[random() % bad.size()] ^= static_cast<char>(1 << (random() % 7));
      write(bundle->path() / name, bad);
      const std::string message = error_of([&] { verify_bundle(bundle->path()); });
      // A changed number in flame.json shows where it is compared: in the file it speaks of.
      EXPECT_THAT(message, testing::AnyOf(HasSubstr(name), HasSubstr("safetensors"), HasSubstr("json")));
      EXPECT_NE(message, "no error");
    }
    write(bundle->path() / name, good);
  }
  EXPECT_NO_THROW(verify_bundle(bundle->path()));
}

TEST_F(BundleTest, DamageOfAnExpertIsNamedWithItsBlock) {
  const auto bundle = model_->pack("block", "2:4", PackedType::kBF16);
  std::string bytes = read(bundle->experts_file());
  const StoredExpert& expert = bundle->expert(bundle->grid().expert(4, 2));
  ASSERT_GE(expert.block_checksums.size(), 2U);
  bytes[expert.offset + kBundleBlockBytes + 5] ^= 1;
  write(bundle->experts_file(), bytes);
  EXPECT_THAT(error_of([&] { verify_bundle(bundle->path()); }),
              testing::AllOf(HasSubstr("decoder.block.3.layer.2.mlp.experts.expert_2"), HasSubstr("block 1")));
}

TEST_F(BundleTest, ATruncatedOrForeignFileIsAnError) {
  const auto bundle = model_->pack("cut", "2:4", PackedType::kInt8);
  const std::string bytes = read(bundle->experts_file());
  write(bundle->experts_file(), bytes.substr(0, bytes.size() / 2));
  EXPECT_THAT(error_of([&] { (void)Bundle::open(bundle->path()); }), HasSubstr("cut or replaced"));
  write(bundle->experts_file(), bytes);
  write(bundle->path() / "stranger.bin", "x");
  EXPECT_THAT(error_of([&] { verify_bundle(bundle->path()); }), HasSubstr("stranger.bin"));
}

TEST_F(BundleTest, IsNotOpenedWithAFileMissingOrOfAnotherSizeNorWithASmallOneChanged) {
  const auto bundle = model_->pack("opened", "2:4", PackedType::kInt8);
  const auto open = [&] { return error_of([&] { (void)Bundle::open(bundle->path()); }); };
  for (const char* name : {"config.json", "model.safetensors", "experts.safetensors", "profile.json"}) {
    const std::string good = read(bundle->path() / name);
    write(bundle->path() / name, good + " ");
    EXPECT_THAT(open(), HasSubstr(name));
    std::filesystem::remove(bundle->path() / name);
    EXPECT_THAT(open(), HasSubstr(name));
    write(bundle->path() / name, good);
  }
  for (const char* name : {"config.json", "profile.json"}) {
    const std::string good = read(bundle->path() / name);
    std::string bad = good;
    bad[bad.rfind('}') - 1] ^= 2;  // white space or a digit
    write(bundle->path() / name, bad);
    EXPECT_NE(open(), "no error") << name;
    write(bundle->path() / name, good);
  }
  EXPECT_EQ(open(), "no error");
  std::filesystem::remove(bundle->path() / "flame.json");
  EXPECT_TRUE(Bundle::is_bundle(bundle->path()));
  EXPECT_THAT(open(), HasSubstr("flame.json"));
}

TEST_F(BundleTest, EveryWrongFieldOfTheManifestIsRefusedByName) {
  const auto bundle = model_->pack("fields", "2:4", PackedType::kInt8);
  const Json good = Json::parse(read(bundle->path() / "flame.json"));
  const std::vector<std::pair<std::string, std::function<void(Json&)>>> changes{
      {"format", [](Json& j) { j["format"] = "other"; }},
      {"version", [](Json& j) { j["version"] = 2; }},
      {"block_bytes", [](Json& j) { j["block_bytes"] = 4096; }},
      {"block_table_xxh3", [](Json& j) { j["block_table_xxh3"] = "xyz"; }},
      {"packing", [](Json& j) { j.erase("packing"); }},
      {"dtype", [](Json& j) { j["packing"]["dtype"] = "int2"; }},
      {"activation", [](Json& j) { j["packing"]["activation"] = "tanhh"; }},
      {"layout", [](Json& j) { j["packing"]["block_rows"] = 8; }},
      {"layers", [](Json& j) { j["packing"]["layers"].erase(0); }},
      {"layers[0].n", [](Json& j) { j["packing"]["layers"][0]["n"] = 17; }},
      {"layers[1].m", [](Json& j) { j["packing"]["layers"][1]["m"] = 1; }},
      {"layers[2]", [](Json& j) { j["packing"]["layers"][2]["stack"] = "decoder"; }},
      {"experts", [](Json& j) { j["experts"].push_back(j["experts"][0]); }},
      {"expert 1", [](Json& j) { j["experts"][1]["name"] = "elsewhere"; }},
      {"xxh3", [](Json& j) { j["experts"][1]["xxh3"] = 5; }},
      {"files", [](Json& j) { j["files"]["../escape"] = j["files"]["config.json"]; }},
      {"experts.safetensors", [](Json& j) { j["files"].erase("experts.safetensors"); }},
      {"bytes", [](Json& j) { j["files"]["experts.safetensors"]["bytes"] = 7; }},
  };
  for (const auto& [part, change] : changes) {
    Json bad = good;
    change(bad);
    write(bundle->path() / "flame.json", bad.dump());
    EXPECT_THAT(error_of([&] { (void)Bundle::open(bundle->path()); }), HasSubstr(part));
  }
}

TEST_F(BundleTest, AWrongPackedSizeIsRefusedBeforeAnythingIsRead) {
  const auto bundle = model_->pack("size", "2:4", PackedType::kInt8);
  Json json = Json::parse(read(bundle->path() / "flame.json"));
  json["packing"]["dtype"] = "f32";
  write(bundle->path() / "flame.json", json.dump());
  EXPECT_THAT(error_of([&] { (void)Bundle::open(bundle->path()); }), HasSubstr("block_xxh3"));
}

TEST_F(BundleTest, PackingThatFailsAnywhereLeavesNothing) {
  const auto fails = [&](const io::FailurePlan& plan) {
    io::FailingFileSystem files(io::FileSystem::real(), plan);
    const std::filesystem::path target = *model_ / "never";
    auto options = model_->pack_options("2:4", PackedType::kInt8);
    try {
      static_cast<void>(pack_bundle(model_->checkpoint(), target, options, files));
    } catch (const Error&) {
      EXPECT_FALSE(std::filesystem::exists(target));
      return true;
    }
    return false;
  };
  for (const std::uint64_t room : {0U, 1000U, 100'000U, 1'000'000U}) {
    io::FailurePlan full;
    full.room_bytes = room;
    EXPECT_TRUE(fails(full)) << room;
  }
  for (std::uint64_t operation = 0; operation < 60; operation += 3) {
    io::FailurePlan broken;
    broken.fail_operation = operation;
    broken.persistent = true;
    EXPECT_TRUE(fails(broken)) << operation;
  }
}

// Under the thread sanitizer each of the processes takes minutes, and packing has one thread.
#if !defined(__SANITIZE_THREAD__)
using KilledPackDeathTest = BundleTest;

// SIGKILL while a file is being written, early and late: the limit on a file's size is where it strikes.
TEST_F(KilledPackDeathTest, LeavesNothingUnderTheNameAndTheNextRunPacksTheWhole) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  // The child process starts this test from its beginning, and has to meet the same directory.
  constexpr const char* kTarget = "FLAME_TEST_KILLED_PACK";
  if (std::getenv(kTarget) == nullptr) ::setenv(kTarget, (*model_ / "killed").c_str(), 1);
  const std::filesystem::path target = std::getenv(kTarget);
  const test::TemporariesIn childrens(*model_ / "childrens");
  const PackOptions options = model_->pack_options("2:4", PackedType::kInt8);
  const auto pack_and_die = [&](std::uint64_t limit) {
    std::signal(SIGXFSZ, [](int) { std::raise(SIGKILL); });
    const rlimit size{limit, limit};
    if (::setrlimit(RLIMIT_FSIZE, &size) != 0) ::_exit(3);
    static_cast<void>(pack_bundle(model_->checkpoint(), target, options));
    ::_exit(0);
  };
  EXPECT_EXIT(pack_and_die(3000), testing::KilledBySignal(SIGKILL), "");
  EXPECT_EXIT(pack_and_die(300'000), testing::KilledBySignal(SIGKILL), "");
  EXPECT_EXIT(pack_and_die(1'500'000), testing::KilledBySignal(SIGKILL), "");
  EXPECT_FALSE(std::filesystem::exists(target));
  EXPECT_EQ(io::abandoned_outputs(target).size(), 1U);  // each run removes what the one before it left
  static_cast<void>(pack_bundle(model_->checkpoint(), target, options));
  EXPECT_EQ(io::abandoned_outputs(target).size(), 0U);
  EXPECT_GT(verify_bundle(target), 0U);
  ::unsetenv(kTarget);
}
#endif

TEST_F(BundleTest, ReplacesBundlesOnly) {
  const std::filesystem::path target = *model_ / "letters";
  std::filesystem::create_directories(target);
  write(target / "letter", "precious");
  PackOptions options = model_->pack_options("2:4", PackedType::kInt8);
  options.existing = io::Existing::kReplace;
  EXPECT_THROW(static_cast<void>(pack_bundle(model_->checkpoint(), target, options)), UsageError);
  EXPECT_EQ(read(target / "letter"), "precious");
  std::filesystem::remove(target / "letter");
  static_cast<void>(pack_bundle(model_->checkpoint(), target, options));  // an empty directory
  static_cast<void>(pack_bundle(model_->checkpoint(), target, options));  // a bundle
  EXPECT_GT(verify_bundle(target), 0U);
  const auto refused = [&] {
    return error_of([&] { static_cast<void>(pack_bundle(model_->checkpoint(), target, options)); });
  };
  write(target / "letter", "precious");
  EXPECT_THAT(refused(), testing::AllOf(HasSubstr("letter"), HasSubstr("flame.json does not name it")));
  EXPECT_EQ(read(target / "letter"), "precious");
  std::filesystem::remove(target / "letter");
  write(target / "flame.json", "{\"format\": \"broken");  // who knows what it named
  EXPECT_THAT(refused(), HasSubstr("flame.json does not name it"));
}

TEST_F(BundleTest, RefusesAProfileOfAnotherModel) {
  model::SwitchConfig other = test::tiny_config();
  other.num_experts = 4;
  test::tiny_profile(other).write(*model_ / "other.json");
  auto options = model_->pack_options("2:4", PackedType::kInt8);
  options.profile = *model_ / "other.json";
  EXPECT_THROW((void)pack_bundle(model_->checkpoint(), *model_ / "refused", options), UsageError);
  EXPECT_FALSE(std::filesystem::exists(*model_ / "refused"));
}

TEST(DescribeExperts, SaysWhetherTheyAreAlike) {
  EXPECT_EQ(describe_experts(3, 2048, 3 * 2048), "3 experts of 2.00 KiB each");
  EXPECT_EQ(describe_experts(3, 2048, 3 * 2048 - 1024), "3 experts of up to 2.00 KiB each");
}

TEST_F(BundleTest, ADirectoryWithoutManifestIsACheckpoint) {
  EXPECT_FALSE(Bundle::is_bundle(model_->checkpoint()));
  EXPECT_TRUE(Bundle::is_bundle(model_->pack("is", "2:4", PackedType::kInt8)->path()));
}

}  // namespace
}  // namespace flame::experts
