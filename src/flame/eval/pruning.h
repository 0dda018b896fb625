#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flame/base/json.h"
#include "flame/engine/engine.h"
#include "flame/engine/text_generation.h"
#include "flame/eval/bootstrap.h"
#include "flame/eval/rouge.h"
#include "flame/eval/text_examples.h"
#include "flame/sparsity/prune.h"

namespace flame::eval {

/// One way to prune: a row of the table.
struct PruningCell {
  std::optional<sparsity::Method> method;  ///< nothing: the model as it is
  sparsity::Pattern pattern;               ///< baselines take its sparsity

  /// "dense", "sparsegpt 2:4", "unstructured 50 %".
  [[nodiscard]] std::string name() const;
  /// The same as a file name: "sparsegpt-2of4".
  [[nodiscard]] std::string file_name() const;
};

/// Every method at every pattern, dense first; baselines once for each sparsity among the patterns. Methods that need
/// calibration are part of it like the others. Throws UsageError for a pattern that removes nothing.
[[nodiscard]] std::vector<PruningCell> pruning_cells(const std::vector<sparsity::Method>& methods,
                                                     const std::vector<sparsity::Pattern>& patterns);

/// The patterns of the paper's Figure 7: sparsity 25, 50, 75 and 87.5 % for M = 4, 8 and 16 where M allows it.
[[nodiscard]] std::vector<sparsity::Pattern> figure_7_patterns();

struct PruningSweep {
  std::filesystem::path model;
  std::filesystem::path directory;  ///< keeps every finished cell, and half-finished ones' predictions
  std::vector<PruningCell> cells;
  std::vector<TextExample> examples;
  std::string examples_source;     ///< for the record of what was measured, for example "test.jsonl"
  sparsity::PruneOptions pruning;  ///< calibration, block, damping, …; method and pattern come from the cell
  engine::EngineOptions engine;
  engine::TextGenerationOptions generation;
  bool stem = true;
  ManyReferences many = ManyReferences::kBest;
  Bootstrap bootstrap;
};

/// What one cell gave.
struct PruningResult {
  PruningCell cell;
  std::vector<RougeScores> scores;  ///< [examples]
  RougeSummary rouge;
  double perplexity = 0.0;      ///< of the references, teacher-forced, all tokens of all references together
  double relative_error = 0.0;  ///< of the pruned weights: norm of the change over norm
  double zeros = 0.0;           ///< share of the pruned tensors' weights
  sparsity::IndexStorage index_bytes;
  std::map<std::string, std::uint64_t> packed_bytes;  ///< values, scales and the index by stored type: bf16, int8, int4
  std::size_t fallbacks = 0;                          ///< experts pruned by their layer's statistics
};

/// Throws UsageError for a model that is a bundle, and for a directory that is the model's, or of which one lies in the
/// other.
void check_sweep_directories(const std::filesystem::path& model, const std::filesystem::path& directory);

/// Runs every cell that `directory` does not have yet and returns all, in the order of sweep.cells. A cell: prune into
/// `directory`, generate for every example, score, remove the pruned checkpoint. Settings are kept beside the cells:
/// UsageError when the directory was made with other ones, or by something else, and as check_sweep_directories() does.
/// FileError while another run writes to it. Throws Interrupted; finished work is kept.
[[nodiscard]] std::vector<PruningResult> run_pruning_sweep(
    const PruningSweep& sweep, const std::function<void(const std::string& message)>& on_note = {});

/// One element of "results" in `flame eval pruning --json`.
[[nodiscard]] Json to_json(const PruningResult& result, const Bootstrap& bootstrap);

/// The table for people, each row with its ROUGE-2 against the dense row's, and the paper's two comparisons.
[[nodiscard]] std::string to_text(const std::vector<PruningResult>& results, const Bootstrap& bootstrap);

/// N:M against the baselines at equal sparsity, as in the paper's Figure 4(b); see to_text().
[[nodiscard]] Json comparisons_to_json(const std::vector<PruningResult>& results, const Bootstrap& bootstrap);

}  // namespace flame::eval
