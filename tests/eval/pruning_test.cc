#include "flame/eval/pruning.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/io/checkpoint.h"
#include "flame/io/file.h"
#include "flame/kernels/weight_matrix.h"
#include "flame/sparsity/index_storage.h"
#include "support/test_data.h"
#include "support/tiny_checkpoint.h"

namespace flame::eval {
namespace {

using sparsity::Method;
using sparsity::Pattern;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> names_of(const std::vector<PruningCell>& cells) {
  std::vector<std::string> names;
  for (const PruningCell& cell : cells) names.push_back(cell.name());
  return names;
}

PruningSweep sweep_into(const std::filesystem::path& directory) {
  PruningSweep sweep;
  sweep.model = test::tiny_checkpoint();
  sweep.directory = directory;
  sweep.cells = pruning_cells({Method::kMagnitude, Method::kSparseGpt, Method::kUnstructured}, {Pattern{2, 4}});
  sweep.examples = {{0, "Ann: Are you coming?", {"Ann asks.", "Is he coming?"}}, {1, "Bob: At six.", {"Bob answers."}}};
  sweep.examples_source = "test";
  sweep.generation.generation.max_new_tokens = 3;
  sweep.pruning.calibration = {{{71, 3, 900, 1}, {5, 17, 1}}, {{8, 9, 1}, {}}};
  sweep.pruning.calibration_source = "ids";
  sweep.pruning.minimum_tokens = 2;
  return sweep;
}

TEST(PruningCells, BaselinesComeOnceForASparsity) {
  EXPECT_THAT(names_of(pruning_cells({Method::kMagnitude, Method::kColumnBlock},
                                     {Pattern{2, 4}, Pattern{4, 8}, Pattern{1, 8}})),
              ElementsAre("dense", "magnitude 2:4", "magnitude 4:8", "magnitude 1:8", "column-block 50 %",
                          "column-block 87.5 %"));
}

TEST(PruningCells, FigureSevenGoesFrom25To87Percent) {
  std::vector<std::string> patterns;
  for (const Pattern& pattern : figure_7_patterns()) patterns.push_back(pattern.to_string());
  EXPECT_THAT(patterns, ElementsAre("3:4", "2:4", "1:4", "6:8", "4:8", "2:8", "1:8", "12:16", "8:16", "4:16", "2:16"));
}

TEST(PruningCells, APatternThatRemovesNothingIsRefused) {
  EXPECT_THROW(static_cast<void>(pruning_cells({Method::kMagnitude}, {Pattern{2, 4}, Pattern{4, 4}})), UsageError);
}

TEST(PruningSweep, MeasuresEveryCellOnce) {
  const test::TemporaryDirectory directory;
  const PruningSweep sweep = sweep_into(directory / "sweep");
  const std::vector<PruningResult> first = run_pruning_sweep(sweep);
  ASSERT_EQ(first.size(), 4U);
  EXPECT_EQ(first[0].relative_error, 0.0);
  for (std::size_t i = 1; i < 4; ++i) {
    EXPECT_EQ(first[i].zeros, 0.5) << i;
    EXPECT_GT(first[i].relative_error, 0.1) << i;
    EXPECT_GT(first[i].perplexity, 1.0) << i;
    EXPECT_FALSE(std::filesystem::exists(sweep.directory / (sweep.cells[i].file_name() + ".model")));
  }
  // 3 MoE layers of 4 experts of 2 * 16 * 32 weights: the packed sizes are those of the layout.
  constexpr std::uint64_t kWeights = 3 * 4 * 2 * 16 * 32;
  constexpr std::uint64_t kRows = 3 * 4 * (16 + 32);
  EXPECT_EQ(first[0].packed_bytes.at("int8"), kWeights + 4 * kRows);
  EXPECT_EQ(first[1].packed_bytes.at("int8"), kWeights / 2 + kWeights / 8 + 4 * kRows);
  EXPECT_EQ(first[1].index_bytes.at("position"), kWeights / 8);
  EXPECT_EQ(first[3].packed_bytes.at("bf16"), kWeights + sparsity::smallest(first[3].index_bytes).second);

  std::vector<std::string> notes;
  const std::vector<PruningResult> again =
      run_pruning_sweep(sweep, [&](const std::string& note) { notes.push_back(note); });
  EXPECT_THAT(notes, testing::Each(HasSubstr("measured before")));
  ASSERT_EQ(again.size(), first.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(to_json(again[i], sweep.bootstrap), to_json(first[i], sweep.bootstrap));
    EXPECT_EQ(again[i].scores.size(), 2U);
  }
  EXPECT_THAT(to_text(again, sweep.bootstrap), HasSubstr("magnitude 2:4 against unstructured 50 %"));
  EXPECT_EQ(comparisons_to_json(again, sweep.bootstrap).size(), 2U);
}

TEST(PruningSweep, PaddingOfARelativeIndexIsCountedAtTheTypeOfTheValues) {
  const test::TemporaryDirectory directory;
  PruningSweep sweep = sweep_into(directory / "sweep");
  sweep.cells = pruning_cells({Method::kUnstructured}, {Pattern{1, 16}});
  const PruningResult result = run_pruning_sweep(sweep).back();

  sparsity::PruneOptions options;
  options.method = Method::kUnstructured;
  options.sparsity = Pattern{1, 16}.sparsity();
  const auto report = sparsity::prune_checkpoint(sweep.model, directory / "pruned", options);
  const io::Checkpoint pruned = io::Checkpoint::open(directory / "pruned");
  for (const auto& [type, bits] : {std::pair("bf16", 16U), std::pair("int8", 8U), std::pair("int4", 4U)}) {
    sparsity::IndexStorage storage;
    std::uint64_t values = 0;
    std::uint64_t scales = 0;
    for (const sparsity::PrunedTensor& tensor : report.tensors) {
      const io::TensorView& view = pruned.tensor(tensor.name);
      const auto rows = static_cast<std::size_t>(view.shape[0]);
      const auto columns = static_cast<std::size_t>(view.shape[1]);
      Matrix<float> weights(rows, columns);
      kernels::widen({view.type, view.bytes.data(), rows, columns}, std::span(weights.data(), rows * columns));
      Matrix<std::uint8_t> kept(rows, columns);
      std::transform(weights.data(), weights.data() + rows * columns, kept.data(),
                     [](float weight) { return std::uint8_t{weight != 0.0F}; });
      sparsity::add(sparsity::unstructured_index_storage(kept, bits), storage);
      values += rows * columns / 16 * bits / 8;
      scales += bits == 16 ? 0 : bits == 8 ? 4 * rows : 2 * rows;
    }
    ASSERT_THAT(sparsity::smallest(storage).first, HasSubstr("relative")) << type;
    EXPECT_EQ(result.packed_bytes.at(type), values + scales + sparsity::smallest(storage).second) << type;
  }
}

TEST(PruningSweep, WithoutResamplingThereAreNoIntervals) {
  const test::TemporaryDirectory directory;
  PruningSweep sweep = sweep_into(directory / "sweep");
  sweep.bootstrap.samples = 0;
  const std::vector<PruningResult> results = run_pruning_sweep(sweep);
  EXPECT_FALSE(to_json(results[1], sweep.bootstrap)["rouge"]["rouge1"]["f"].contains("low"));
  EXPECT_FALSE(comparisons_to_json(results, sweep.bootstrap)[0]["rouge1"]["difference"].contains("low"));
  EXPECT_THAT(to_text(results, sweep.bootstrap), testing::Not(HasSubstr("resampled")));
}

TEST(PruningSweep, ASecondRunIntoTheSameDirectoryIsRefusedWhileTheFirstGoesOn) {
  const test::TemporaryDirectory directory;
  PruningSweep sweep = sweep_into(directory / "sweep");
  sweep.cells = pruning_cells({}, {});
  bool refused = false;
  static_cast<void>(run_pruning_sweep(sweep, [&](const std::string&) {
    try {
      static_cast<void>(run_pruning_sweep(sweep));
    } catch (const FileError& error) {
      EXPECT_THAT(error.what(), HasSubstr("another run is writing to it"));
      refused = true;
    }
  }));
  EXPECT_TRUE(refused);
  EXPECT_EQ(run_pruning_sweep(sweep).size(), 1U);
}

TEST(PruningSweep, AFileOfAnotherNamedLockIsLeftAlone) {
  const test::TemporaryDirectory directory;
  const PruningSweep sweep = sweep_into(directory / "sweep");
  std::filesystem::create_directories(sweep.directory);
  std::ofstream(sweep.directory / "lock") << "of another";
  EXPECT_THROW(static_cast<void>(run_pruning_sweep(sweep)), UsageError);
  EXPECT_EQ(io::read_file(sweep.directory / "lock"), "of another");
}

TEST(PruningSweep, IsNotPutIntoItsModel) {
  PruningSweep sweep = sweep_into(test::tiny_checkpoint());
  EXPECT_THROW(static_cast<void>(run_pruning_sweep(sweep)), UsageError);
  sweep.directory = sweep.model / "sweep";
  EXPECT_THROW(static_cast<void>(run_pruning_sweep(sweep)), UsageError);
  EXPECT_FALSE(std::filesystem::exists(sweep.directory));
}

TEST(PruningSweep, ACellIsNotScoredByTextsOfAnother) {
  const test::TemporaryDirectory directory;
  const PruningSweep sweep = sweep_into(directory / "sweep");
  static_cast<void>(run_pruning_sweep(sweep));
  std::filesystem::copy_file(sweep.directory / "magnitude-2of4.predictions.jsonl",
                             sweep.directory / "dense.predictions.jsonl",
                             std::filesystem::copy_options::overwrite_existing);
  try {
    static_cast<void>(run_pruning_sweep(sweep));
    FAIL() << "the texts of another cell were taken";
  } catch (const ModelError& error) {
    EXPECT_THAT(error.what(), HasSubstr("not the texts that dense.json was measured from"));
  }
}

TEST(PruningSweep, ADirectoryOfOtherSettingsIsRefused) {
  const test::TemporaryDirectory directory;
  PruningSweep sweep = sweep_into(directory / "sweep");
  sweep.cells = pruning_cells({Method::kSparseGpt}, {Pattern{2, 4}});
  static_cast<void>(run_pruning_sweep(sweep));
  sweep.pruning.damping = 0.1;
  EXPECT_THROW(static_cast<void>(run_pruning_sweep(sweep)), UsageError);
  sweep.cells = pruning_cells({}, {});  // what does not depend on it stands
  EXPECT_EQ(run_pruning_sweep(sweep).size(), 1U);
  sweep.generation.generation.num_beams = 2;
  EXPECT_THROW(static_cast<void>(run_pruning_sweep(sweep)), UsageError);
}

TEST(PruningSweep, APatternThatDoesNotDivideTheRowsFailsBeforeAnythingIsMeasuredUnlessRowsAreFilledUp) {
  const test::TemporaryDirectory directory;
  PruningSweep sweep = sweep_into(directory / "sweep");
  sweep.cells = pruning_cells({Method::kMagnitude}, {Pattern{2, 4}, Pattern{2, 7}});
  EXPECT_THROW(static_cast<void>(run_pruning_sweep(sweep)), ModelError);
  EXPECT_FALSE(std::filesystem::exists(directory / "sweep"));
  sweep.pruning.pad = true;
  EXPECT_EQ(run_pruning_sweep(sweep).size(), 3U);
}

TEST(PruningSweep, OtherTextsOfTheSameNumberAreNoticed) {
  const test::TemporaryDirectory directory;
  PruningSweep sweep = sweep_into(directory / "sweep");
  sweep.cells = pruning_cells({Method::kSparseGpt}, {Pattern{2, 4}});
  static_cast<void>(run_pruning_sweep(sweep));
  const auto refusal = [](const PruningSweep& changed) -> std::string {
    try {
      static_cast<void>(run_pruning_sweep(changed));
      return "";
    } catch (const UsageError& error) {
      return error.what();
    }
  };
  PruningSweep changed = sweep;
  changed.examples[1].input = "Bob: At seven.";
  EXPECT_THAT(refusal(changed), HasSubstr("another \"examples_checksum\""));
  changed = sweep;
  changed.examples[0].references[1] = "Will he come?";
  EXPECT_THAT(refusal(changed), HasSubstr("another \"examples_checksum\""));
  changed = sweep;
  changed.generation.generation.do_sample = true;
  EXPECT_THAT(refusal(changed), HasSubstr("another \"options\""));
  changed = sweep;
  changed.pruning.calibration[0].input[0] = 72;
  EXPECT_THAT(refusal(changed), HasSubstr("another \"calibration\""));
  EXPECT_EQ(refusal(sweep), "");
}

TEST(PruningSweep, AnInterruptedRunKeepsWhatItHas) {
  const test::TemporaryDirectory directory;
  const PruningSweep sweep = sweep_into(directory / "sweep");
  std::size_t cells = 0;
  const auto stop_at_the_third = [&](const std::string& note) {
    if (note.starts_with("cell") && ++cells == 3) request_interrupt();
  };
  EXPECT_THROW(static_cast<void>(run_pruning_sweep(sweep, stop_at_the_third)), Interrupted);
  clear_interrupt();
  std::vector<std::string> notes;
  EXPECT_EQ(run_pruning_sweep(sweep, [&](const std::string& note) { notes.push_back(note); }).size(), 4U);
  EXPECT_EQ(std::count_if(notes.begin(), notes.end(),
                          [](const std::string& note) { return note.find("measured before") != std::string::npos; }),
            2);
}

}  // namespace
}  // namespace flame::eval
