#include "flame/sparsity/prune.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "flame/base/error.h"
#include "flame/io/checkpoint.h"
#include "flame/io/failing_file_system.h"
#include "flame/io/memory_file_system.h"
#include "small_model.h"
#include "support/test_data.h"

namespace flame::sparsity {
namespace {

using testing::HasSubstr;

PruneOptions magnitude(std::string_view pattern) {
  PruneOptions options;
  options.patterns = LayerPatterns::parse(pattern);
  return options;
}

std::vector<CalibrationExample> examples(std::size_t count) {
  Random random(21);
  std::vector<CalibrationExample> list(count);
  for (CalibrationExample& example : list) {
    for (int i = 0; i < 12; ++i) example.input.push_back(static_cast<std::int32_t>(2 + random.next_below(38)));
    example.input.push_back(1);
    for (int i = 0; i < 6; ++i) example.target.push_back(static_cast<std::int32_t>(2 + random.next_below(38)));
    example.target.push_back(1);
  }
  return list;
}

bool is_expert(std::string_view name) { return name.find(".expert_") != std::string_view::npos; }

std::vector<float> floats_of(const io::TensorView& tensor) {
  std::vector<float> values(tensor.elements());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (tensor.type == DataType::kF32) {
      std::memcpy(&values[i], tensor.bytes.data() + 4 * i, 4);
    } else {
      BFloat16 half;
      std::memcpy(&half.bits, tensor.bytes.data() + 2 * i, 2);
      values[i] = half.to_float();
    }
  }
  return values;
}

std::size_t most_kept_of_a_group(const io::TensorView& tensor, std::size_t m) {
  const std::vector<float> values = floats_of(tensor);
  std::size_t most = 0;
  for (std::size_t first = 0; first < values.size(); first += m) {
    std::size_t kept = 0;
    for (std::size_t i = first; i < std::min(values.size(), first + m); ++i) kept += values[i] != 0.0F ? 1 : 0;
    most = std::max(most, kept);
  }
  return most;
}

class Prune : public testing::Test {
 protected:
  std::filesystem::path model(DataType type = DataType::kF32, std::size_t shards = 1) {
    const std::filesystem::path path = directory_ / "model";
    test::write_small_model(path, type, shards);
    return path;
  }
  std::filesystem::path output() { return directory_ / "pruned"; }

  std::string error_of(const std::filesystem::path& model_path, const PruneOptions& options) {
    try {
      static_cast<void>(prune_checkpoint(model_path, output(), options));
    } catch (const Error& error) {
      EXPECT_FALSE(std::filesystem::exists(output()));
      return error.what();
    }
    return "no error";
  }

  test::TemporaryDirectory directory_;
};

TEST_F(Prune, OnlyExpertsChangeAndTheyKeepTheLargestOfEachGroup) {
  for (const DataType type : {DataType::kF32, DataType::kBF16}) {
    const auto source_path = model(type);
    PruneOptions options = magnitude("2:4");
    options.existing = io::Existing::kReplace;
    const PruneReport report = prune_checkpoint(source_path, output(), options);
    const io::Checkpoint before = io::Checkpoint::open(source_path);
    const io::Checkpoint after = io::Checkpoint::open(output());
    ASSERT_EQ(before.names(), after.names());
    std::size_t experts = 0;
    for (const std::string& name : before.names()) {
      ASSERT_EQ(before.tensor(name).type, after.tensor(name).type);
      ASSERT_EQ(before.tensor(name).shape, after.tensor(name).shape);
      if (!is_expert(name)) {
        EXPECT_TRUE(std::ranges::equal(before.tensor(name).bytes, after.tensor(name).bytes)) << name;
        continue;
      }
      ++experts;
      const std::vector<float> old_values = floats_of(before.tensor(name));
      const std::vector<float> values = floats_of(after.tensor(name));
      for (std::size_t first = 0; first < values.size(); first += 4) {
        float smallest_kept = INFINITY;
        float largest_removed = 0.0F;
        std::size_t kept = 0;
        for (std::size_t i = first; i < first + 4; ++i) {
          if (values[i] != 0.0F) {
            EXPECT_EQ(values[i], old_values[i]);
            smallest_kept = std::min(smallest_kept, std::fabs(values[i]));
            ++kept;
          } else {
            largest_removed = std::max(largest_removed, std::fabs(old_values[i]));
          }
        }
        ASSERT_EQ(kept, 2U);
        ASSERT_GE(smallest_kept, largest_removed);
      }
    }
    EXPECT_EQ(experts, 3U * 4U * 2U);
    EXPECT_EQ(report.tensors.size(), experts);
    EXPECT_EQ(report.zeros * 2, report.weights);
    EXPECT_GT(report.relative_error(), 0.1);
    EXPECT_LT(report.relative_error(), 0.7);
  }
}

TEST_F(Prune, HeadersShardsAndOtherFilesStayAsTheyWere) {
  const auto source = model(DataType::kF32, 3);
  const PruneReport report = prune_checkpoint(source, output(), magnitude("1:4"));
  for (const char* name : {"config.json", "generation_config.json", "spiece.model", "model.safetensors.index.json"}) {
    EXPECT_EQ(io::read_file(source / name), io::read_file(output() / name)) << name;
  }
  for (int shard = 1; shard <= 3; ++shard) {
    const std::string name = "model-0000" + std::to_string(shard) + "-of-00003.safetensors";
    const std::string before = io::read_file(source / name);
    const std::string after = io::read_file(output() / name);
    ASSERT_EQ(before.size(), after.size());
    std::uint64_t header = 0;
    std::memcpy(&header, before.data(), 8);
    EXPECT_EQ(before.substr(0, 8 + header), after.substr(0, 8 + header)) << name;
  }
  EXPECT_THAT(report.left_out, testing::UnorderedElementsAre("sub", "tf_model.h5"));
  EXPECT_FALSE(std::filesystem::exists(output() / "tf_model.h5"));
}

TEST_F(Prune, TheRecordSaysHowItWasMade) {
  static_cast<void>(prune_checkpoint(model(), output(), magnitude("2:4,decoder=1:4")));
  const auto again = directory_ / "again";
  static_cast<void>(prune_checkpoint(output(), again, magnitude("1:8")));
  const Json record = parse_json(io::read_file(again / "flame_pruning.json"), "record");
  EXPECT_EQ(record["method"], "magnitude");
  EXPECT_EQ(record["pattern"], "1:8");
  EXPECT_EQ(record["source"], "pruned");
  EXPECT_EQ(record["previous"]["pattern"], "2:4,decoder=1:4");
  EXPECT_EQ(record["tensors"].size(), 24U);
  EXPECT_FALSE(record.contains("seconds"));
}

TEST_F(Prune, LayersAndStacksHavePatternsOfTheirOwn) {
  static_cast<void>(prune_checkpoint(model(), output(), magnitude("encoder=4:8,decoder=1:4,decoder.1=dense")));
  const io::Checkpoint pruned = io::Checkpoint::open(output());
  const model::SwitchConfig config = test::small_config();
  const auto tensor = [&](model::Stack stack, std::uint32_t layer) -> const io::TensorView& {
    return pruned.tensor(model::expert_tensor_name(config, {stack, layer}, 2, "wo"));
  };
  EXPECT_EQ(most_kept_of_a_group(tensor(model::Stack::kEncoder, 0), 8), 4U);
  EXPECT_EQ(most_kept_of_a_group(tensor(model::Stack::kDecoder, 0), 4), 1U);
  EXPECT_EQ(most_kept_of_a_group(tensor(model::Stack::kDecoder, 1), 4), 4U);
}

TEST_F(Prune, IncludeAndExcludeChooseTensorsByName) {
  PruneOptions options = magnitude("2:4");
  options.include = {"*.SelfAttention.q.weight"};
  options.exclude = {"encoder.*"};
  const auto source = model();
  const PruneReport report = prune_checkpoint(source, output(), options);
  EXPECT_EQ(report.tensors.size(), 2U * 4U * 2U + 4U);
  const io::Checkpoint pruned = io::Checkpoint::open(output());
  EXPECT_EQ(most_kept_of_a_group(pruned.tensor("decoder.block.3.layer.0.SelfAttention.q.weight"), 4), 2U);
  EXPECT_EQ(most_kept_of_a_group(pruned.tensor("encoder.block.0.layer.0.SelfAttention.q.weight"), 4), 4U);

  std::filesystem::remove_all(output());
  options.include = {"*.nothing.*"};
  EXPECT_THAT(error_of(source, options), HasSubstr("*.nothing.*"));
  options.include = {"*.layer_norm.weight"};
  EXPECT_THAT(error_of(source, options), HasSubstr("only matrices can be pruned"));
}

TEST_F(Prune, AListThatChangesNothingIsRefused) {
  const auto source = model();
  PruneOptions options = magnitude("encoder=2:4");
  options.include = {"decoder.*.SelfAttention.q.weight"};  // the decoder has no pattern
  EXPECT_THAT(error_of(source, options), HasSubstr("--include decoder.*.SelfAttention.q.weight: has no effect"));
  options.include = {"*.expert_*"};  // pruned without it
  EXPECT_THAT(error_of(source, options), HasSubstr("--include *.expert_*: has no effect"));
  options.include.clear();
  options.exclude = {"shared.weight"};
  EXPECT_THAT(error_of(source, options), HasSubstr("--exclude shared.weight: has no effect"));
}

TEST_F(Prune, WeightsThatAreNoNumbersAreRefusedAndNamed) {
  const float broken[] = {NAN, -INFINITY};
  for (const float value : broken) {
    const auto source = model();
    const std::string name = model::expert_tensor_name(test::small_config(), {model::Stack::kDecoder, 1}, 2, "wo");
    const io::Checkpoint checkpoint = io::Checkpoint::open(source);
    const std::string bytes = io::read_file(source / "model.safetensors");
    const auto* first = reinterpret_cast<const char*>(checkpoint.tensor(name).bytes.data());
    const std::string row(first, 64);
    const std::size_t at = bytes.find(row);
    ASSERT_NE(at, std::string::npos);
    std::string damaged = bytes;
    std::memcpy(damaged.data() + at + 5 * sizeof(float), &value, sizeof(value));
    io::FileSystem::real().create(source / "model.safetensors")->append(damaged);
    for (const Method method : {Method::kMagnitude, Method::kUnstructured, Method::kWanda}) {
      PruneOptions options = magnitude("2:4");
      options.method = method;
      if (method == Method::kWanda) options.calibration = examples(2);
      EXPECT_THAT(error_of(source, options),
                  testing::AllOf(HasSubstr(name), HasSubstr(std::isnan(value) ? "NaN" : "infinity"), HasSubstr("5")))
          << name_of(method);
    }
  }
}

TEST_F(Prune, TheModelItselfIsNeverReplaced) {
  const auto source = model();
  PruneOptions options = magnitude("2:4");
  options.existing = io::Existing::kReplace;
  std::filesystem::create_directory_symlink(source, directory_ / "link");
  for (const auto& target : {source, source / "", directory_ / "link"}) {
    EXPECT_THROW(static_cast<void>(prune_checkpoint(source, target, options)), UsageError) << target;
  }
}

TEST_F(Prune, NeitherAModelBelowOrAboveTheOutputNorWhatPruningDidNotWriteIsReplaced) {
  const auto source = model();
  std::filesystem::create_directories(directory_ / "foreign" / "thesis");
  PruneOptions options = magnitude("2:4");
  options.existing = io::Existing::kReplace;
  for (const auto& target : {source.parent_path(), source / "pruned", directory_ / "foreign"}) {
    EXPECT_THROW(static_cast<void>(prune_checkpoint(source, target, options)), UsageError) << target;
  }
  EXPECT_TRUE(std::filesystem::exists(source / "config.json"));
  EXPECT_TRUE(std::filesystem::exists(directory_ / "foreign" / "thesis"));
}

TEST_F(Prune, TheRecordNamesItsSourceHoweverThePathIsWritten) {
  const auto source = model();
  PruneOptions options = magnitude("2:4");
  options.existing = io::Existing::kReplace;
  for (const auto& path : {source, source / "", source / "."}) {
    static_cast<void>(prune_checkpoint(path, output(), options));
    const Json record = parse_json(io::read_file(output() / "flame_pruning.json"), "record");
    EXPECT_EQ(record["source"], source.filename().string()) << path;
  }
}

TEST_F(Prune, ThePatternCanBeReadFromTheRecord) {
  const auto source = model();
  EXPECT_EQ(recorded_pattern(source), std::nullopt);
  static_cast<void>(prune_checkpoint(source, output(), magnitude("2:4,decoder=1:4")));
  EXPECT_EQ(recorded_pattern(output()), "2:4,decoder=1:4");
}

TEST_F(Prune, ARecordThatNotAllExpertsAreNOfMNamesNoPattern) {
  PruneOptions options = magnitude("2:4");
  options.existing = io::Existing::kReplace;
  options.exclude = {"encoder.*"};
  static_cast<void>(prune_checkpoint(model(), output(), options));
  EXPECT_EQ(recorded_pattern(output()), std::nullopt);
  options.exclude.clear();
  options.method = Method::kUnstructured;
  static_cast<void>(prune_checkpoint(model(), output(), options));
  EXPECT_EQ(recorded_pattern(output()), std::nullopt);
  options = magnitude("4:4");
  options.existing = io::Existing::kReplace;
  static_cast<void>(prune_checkpoint(model(), output(), options));
  EXPECT_EQ(recorded_pattern(output()), std::nullopt);
}

TEST_F(Prune, WhatWasFineTunedSinceIsNotReplaced) {
  const auto source = model();
  static_cast<void>(prune_checkpoint(source, output(), magnitude("2:4")));
  const std::filesystem::path path = output() / "flame_pruning.json";
  Json record = parse_json(io::read_file(path), path);
  record["recovery"] = {{"steps", 450}};  // as tools/train/recover.py marks its output
  std::ofstream(path) << record.dump();
  PruneOptions options = magnitude("1:4");
  options.existing = io::Existing::kReplace;
  EXPECT_THROW(static_cast<void>(prune_checkpoint(source, output(), options)), UsageError);
  EXPECT_EQ(recorded_pattern(output()), "2:4");
}

TEST_F(Prune, ARowThatMDoesNotDivideIsNamedOrPadded) {
  const auto source = model();
  EXPECT_THAT(error_of(source, magnitude("1:5")), testing::AllOf(HasSubstr("wi.weight"), HasSubstr("--pad")));
  PruneOptions options = magnitude("1:5");
  options.pad = true;
  const PruneReport report = prune_checkpoint(source, output(), options);
  // Rows of 16 keep 4 of them, rows of 48 keep 10.
  EXPECT_EQ(report.weights - report.zeros, 12U * (48U * 4U + 16U * 10U));
}

TEST_F(Prune, AnOutputThatIsThereStays) {
  const auto source = model();
  std::filesystem::create_directory(output());
  io::FileSystem::real().create(output() / "precious")->append("text");
  EXPECT_THROW(static_cast<void>(prune_checkpoint(source, output(), magnitude("2:4"))), UsageError);
  EXPECT_EQ(io::read_file(output() / "precious"), "text");
}

TEST_F(Prune, OptionsThatCannotBeAreRefused) {
  const auto source = model();
  EXPECT_THAT(error_of(source, PruneOptions{}), HasSubstr("no pattern"));
  EXPECT_THAT(error_of(source, magnitude("decoder.2=2:4")), HasSubstr("has 2 MoE layers"));
  PruneOptions options = magnitude("2:4");
  options.sparsity = 0.5;
  EXPECT_THAT(error_of(source, options), HasSubstr("not a sparsity"));
  options.method = Method::kUnstructured;
  EXPECT_THAT(error_of(source, options), HasSubstr("or a pattern"));
  options = PruneOptions{};
  options.method = Method::kColumnBlock;
  options.sparsity = 1.0;
  EXPECT_THAT(error_of(source, options), HasSubstr("sparsity 1"));
  options = magnitude("2:4");
  options.method = Method::kWanda;
  EXPECT_THAT(error_of(source, options), HasSubstr("needs calibration"));
  options.calibration = examples(1);
  options.calibration[0].input[0] = 4000;
  EXPECT_THAT(error_of(source, options), HasSubstr("4000"));
  EXPECT_THAT(error_of(directory_ / "nowhere", magnitude("2:4")), HasSubstr("nowhere"));
  EXPECT_THROW(static_cast<void>(parse_method("magic")), UsageError);
}

TEST_F(Prune, ReplacesOnlyWhatAnotherRunWrote) {
  const auto source = model();
  PruneOptions options = magnitude("2:4");
  options.existing = io::Existing::kReplace;
  EXPECT_NO_THROW(static_cast<void>(prune_checkpoint(source, output(), options)));
  EXPECT_NO_THROW(static_cast<void>(prune_checkpoint(source, output(), options)));
  std::ofstream(output() / "notes.txt") << "mine";
  EXPECT_THROW(static_cast<void>(prune_checkpoint(source, output(), options)), UsageError);
  EXPECT_TRUE(std::filesystem::exists(output() / "notes.txt"));
  std::filesystem::remove_all(output());
  std::filesystem::copy(source, output());  // a checkpoint, but nobody pruned it
  EXPECT_THROW(static_cast<void>(prune_checkpoint(source, output(), options)), UsageError);
  EXPECT_TRUE(std::filesystem::exists(output() / "config.json"));
}

TEST_F(Prune, BaselinesReachTheirSparsityAndNameTheSmallestIndex) {
  const auto source = model();
  PruneOptions options;
  options.sparsity = 0.5;
  options.block = BlockShape{8, 8};
  options.existing = io::Existing::kReplace;
  for (const Method method : {Method::kUnstructured, Method::kColumnBlock}) {
    options.method = method;
    const PruneReport report = prune_checkpoint(source, output(), options);
    EXPECT_EQ(report.zeros * 2, report.weights) << name_of(method);
    EXPECT_EQ(smallest(report.index_storage).first, "bitmap") << name_of(method);
  }
  options.sparsity.reset();
  options.patterns = LayerPatterns::parse("encoder=1:4,decoder=2:4");
  const PruneReport report = prune_checkpoint(source, output(), options);
  EXPECT_EQ(report.zeros, report.weights / 3 * 3 / 4 + report.weights / 3 * 2 / 2);
}

TEST_F(Prune, ColumnBlocksReachTheirSparsityAndTheRecordSaysHowNearly) {
  PruneOptions options;
  options.method = Method::kColumnBlock;
  options.sparsity = 0.6;
  options.block = BlockShape{8, 8};
  const PruneReport report = prune_checkpoint(model(), output(), options);
  for (const PrunedTensor& tensor : report.tensors) {
    EXPECT_LE(std::fabs(static_cast<double>(tensor.zeros) - 0.6 * static_cast<double>(tensor.weights)), 8.0);
    const double share = 100.0 * static_cast<double>(tensor.zeros) / static_cast<double>(tensor.weights);
    EXPECT_EQ(tensor.how, fmt::format("{:.4g} % removed", share));
  }
}

/// Pruned experts' outputs against the dense ones' would need the model; the weights' error tells methods apart enough:
/// SparseGPT moves the weights that stay, Wanda does not.
TEST_F(Prune, CalibratedMethodsMakeNOfMAndRecordWhatTheySaw) {
  for (const DataType type : {DataType::kF32, DataType::kBF16}) {
    const auto source = model(type);
    for (const Method method : {Method::kWanda, Method::kSparseGpt}) {
      PruneOptions options = magnitude("2:4,encoder=1:4");
      options.method = method;
      options.calibration = examples(20);
      options.existing = io::Existing::kReplace;
      const PruneReport report = prune_checkpoint(source, output(), options);
      EXPECT_EQ(report.tensors.size(), 24U);
      const io::Checkpoint before = io::Checkpoint::open(source);
      const io::Checkpoint after = io::Checkpoint::open(output());
      std::size_t moved = 0;
      for (const std::string& name : before.names()) {
        if (!is_expert(name)) {
          EXPECT_TRUE(std::ranges::equal(before.tensor(name).bytes, after.tensor(name).bytes)) << name;
          continue;
        }
        EXPECT_EQ(most_kept_of_a_group(after.tensor(name), 4), name.starts_with("encoder") ? 1U : 2U) << name;
        const std::vector<float> old_values = floats_of(before.tensor(name));
        const std::vector<float> values = floats_of(after.tensor(name));
        for (std::size_t i = 0; i < values.size(); ++i)
          moved += values[i] != 0.0F && values[i] != old_values[i] ? 1 : 0;
      }
      EXPECT_EQ(moved > 0, method == Method::kSparseGpt);
      const Json record = parse_json(io::read_file(output() / "flame_pruning.json"), "record");
      EXPECT_EQ(record["calibration"]["examples"], 20);
      EXPECT_EQ(record["calibration"]["layer_statistics_used_for"].size(), report.fallbacks.size());
      EXPECT_FALSE(report.fallbacks.empty());  // 4 experts share 140 decoder tokens unevenly
      for (const Fallback& fallback : report.fallbacks) EXPECT_LT(fallback.tokens, options.minimum_tokens);
    }
  }
}

TEST_F(Prune, AnExpertThatNoTokenReachedIsPrunedByTheLayersStatistics) {
  PruneOptions options = magnitude("2:4");
  options.method = Method::kWanda;
  options.calibration = examples(1);
  options.calibration[0].target.resize(1);  // one decoder token: three of four experts get none
  options.minimum_tokens = 0;
  const PruneReport report = prune_checkpoint(model(), output(), options);
  EXPECT_GE(report.fallbacks.size(), 6U);
  for (const Fallback& fallback : report.fallbacks) EXPECT_EQ(fallback.tokens, 0U);
}

TEST_F(Prune, ExamplesWithoutATargetAreFinishedByTheModel) {
  PruneOptions options = magnitude("2:4");
  options.method = Method::kWanda;
  options.calibration = examples(3);
  for (CalibrationExample& example : options.calibration) example.target.clear();
  options.minimum_tokens = 1;
  const PruneReport report = prune_checkpoint(model(), output(), options);
  EXPECT_EQ(report.zeros * 2, report.weights);
}

TEST(PruneFiles, WhateverFileOperationFailsTheOutputIsAbsentOrWhole) {
  io::MemoryFileSystem memory;
  test::write_small_model("/model", DataType::kBF16, 2, memory);
  memory.create_directories("/out");  // with it there every run takes the same operations
  io::FailingFileSystem files(memory);
  static_cast<void>(prune_checkpoint("/model", "/out/whole", magnitude("2:4"), files));
  const std::uint64_t operations = files.operations();
  ASSERT_GT(operations, 20U);
  for (std::uint64_t fail = 0; fail < operations; ++fail) {
    io::FailurePlan plan;
    plan.fail_operation = fail;
    plan.persistent = true;
    files.set_plan(plan);
    EXPECT_THROW(static_cast<void>(prune_checkpoint("/model", "/out/pruned", magnitude("2:4"), files)), FileError)
        << fail;
    // The last operation syncs the parent directory, after the rename: all is there by then.
    if (fail + 1 < operations) {
      EXPECT_FALSE(memory.exists("/out/pruned")) << fail;
    } else {
      EXPECT_EQ(memory.list("/out/pruned"), memory.list("/out/whole"));
    }
  }
}

TEST(PruneFiles, AFullDiskLeavesNothing) {
  io::MemoryFileSystem memory;
  test::write_small_model("/model", DataType::kBF16, 1, memory);
  io::FailingFileSystem files(memory);
  for (const std::uint64_t room : {0, 100, 5000, 60000}) {
    io::FailurePlan plan;
    plan.room_bytes = room;
    files.set_plan(plan);
    EXPECT_THROW(static_cast<void>(prune_checkpoint("/model", "/out", magnitude("2:4"), files)), FileError) << room;
    EXPECT_FALSE(memory.exists("/out")) << room;
  }
  EXPECT_THAT(memory.list("/"), testing::ElementsAre("model"));
}

}  // namespace
}  // namespace flame::sparsity
