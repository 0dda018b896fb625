#include "flame/eval/pruning.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <utility>

#include "flame/base/byte_size.h"
#include "flame/base/checksum.h"
#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/base/progress.h"
#include "flame/engine/output_file.h"
#include "flame/eval/perplexity.h"
#include "flame/eval/text_predictions.h"
#include "flame/experts/bundle.h"
#include "flame/io/atomic_output.h"
#include "flame/io/checkpoint.h"
#include "flame/io/file.h"
#include "flame/kernels/packed_matrix.h"
#include "flame/sparsity/prune_plan.h"

namespace flame::eval {
namespace {

using sparsity::Method;
using sparsity::Pattern;

// FLAME (DAC'24), section 4: N:M loses 0.85 % of the accuracy of unstructured pruning and gains 37.6 % over
// column-balanced block pruning at equal sparsity.
constexpr double kPaperAgainstUnstructured = -0.85;
constexpr double kPaperAgainstColumnBlock = 37.6;

constexpr std::array<kernels::PackedType, 3> kPackedTypes = {kernels::PackedType::kBF16, kernels::PackedType::kInt8,
                                                             kernels::PackedType::kInt4};

bool is_baseline(const PruningCell& cell) { return cell.method && !sparsity::is_pattern_method(*cell.method); }

std::filesystem::path cell_path(const PruningSweep& sweep, const PruningCell& cell) {
  return sweep.directory / (cell.file_name() + ".json");
}

std::filesystem::path predictions_path(const PruningSweep& sweep, const PruningCell& cell) {
  return sweep.directory / (cell.file_name() + ".predictions.jsonl");
}

sparsity::PruneOptions options_of(const PruningSweep& sweep, const PruningCell& cell) {
  sparsity::PruneOptions options = sweep.pruning;
  options.method = cell.method.value_or(Method::kMagnitude);
  options.patterns = {};
  options.sparsity.reset();
  if (is_baseline(cell)) {
    options.sparsity = cell.pattern.sparsity();
  } else {
    options.patterns = sparsity::LayerPatterns(cell.pattern);
  }
  if (!sparsity::needs_calibration(options.method)) options.calibration.clear();
  options.existing = io::Existing::kReplace;
  return options;
}

std::size_t value_bits(kernels::PackedType type) {
  return 4 * kernels::PackedLayout({.n = 1, .m = 1, .type = type, .int4_group = 64}, 1, 64).value_bytes_of(2);
}

/// Bytes of the index that is smallest where values take `value_bits`: padding weights count as values do.
std::uint64_t smallest_index(const io::Checkpoint& pruned, const std::vector<sparsity::PlannedTensor>& plan,
                             const sparsity::PruneOptions& options, std::size_t value_bits) {
  sparsity::IndexStorage storage;
  for (const sparsity::PlannedTensor& tensor : plan) {
    sparsity::add(index_storage_of(tensor, options, pruned.tensor(tensor.name).bytes, value_bits), storage);
  }
  return sparsity::smallest(storage).second;
}

/// Bytes that the kept values of the pruned tensors and what is stored beside them take. N:M and dense: the packed
/// layout, exactly. Baselines: the kept values at the same types and scales, with the smallest index.
std::map<std::string, std::uint64_t> packed_bytes(const io::Checkpoint& pruned,
                                                  const std::vector<sparsity::PlannedTensor>& plan,
                                                  const PruningCell& cell, const sparsity::PruneOptions& options) {
  std::map<std::string, std::uint64_t> bytes;
  for (const kernels::PackedType type : kPackedTypes) {
    std::uint64_t total = is_baseline(cell) ? smallest_index(pruned, plan, options, value_bits(type)) : 0;
    for (const sparsity::PlannedTensor& tensor : plan) {
      const Pattern pattern = is_baseline(cell) ? Pattern{1, 1} : cell.pattern;
      const kernels::PackedFormat format{.n = pattern.n, .m = pattern.m, .type = type, .int4_group = 64};
      const kernels::PackedLayout layout(format, tensor.shape.rows, tensor.shape.columns);
      if (is_baseline(cell)) {
        const double kept = 1.0 - cell.pattern.sparsity();
        total += layout.scale_bytes() +
                 static_cast<std::uint64_t>(std::llround(kept * static_cast<double>(layout.value_bytes())));
      } else {
        total += layout.size_bytes();
      }
    }
    bytes[std::string(kernels::name_of(type))] = total;
  }
  return bytes;
}

double measure_perplexity(const PruningSweep& sweep, engine::Engine& engine) {
  TokenLoss total;
  Progress progress("perplexity", sweep.examples.size());
  const text::Tokenizer& tokenizer = engine.require_tokenizer();
  for (const TextExample& example : sweep.examples) {
    throw_if_interrupted();
    const auto input = tokenizer.encode(sweep.generation.prefix + example.input);
    std::vector<std::vector<std::int32_t>> targets;
    for (const std::string& reference : example.references) targets.push_back(tokenizer.encode(reference));
    const TokenLoss loss = token_loss(engine.config(), engine.dense_weights(), engine.device(), input, targets);
    total.negative_log_likelihood += loss.negative_log_likelihood;
    total.tokens += loss.tokens;
    progress.advance();
  }
  return total.perplexity();
}

std::string checksum_of_examples(const std::vector<TextExample>& examples) {
  Checksum checksum;
  for (const TextExample& example : examples) {
    checksum.add_text(example.input);
    checksum.add_number(example.references.size());
    for (const std::string& reference : example.references) checksum.add_text(reference);
  }
  return checksum_text(checksum.value());
}

std::string checksum_of_calibration(const std::vector<sparsity::CalibrationExample>& examples) {
  Checksum checksum;
  for (const sparsity::CalibrationExample& example : examples) {
    for (const std::vector<std::int32_t>* tokens : {&example.input, &example.target}) {
      checksum.add_number(tokens->size());
      checksum.add(std::as_bytes(std::span(*tokens)));
    }
  }
  return checksum_text(checksum.value());
}

/// Throws what pruning any of the cells would throw of its pattern, before hours go into those that come first.
void check_cells(const PruningSweep& sweep) {
  const io::Checkpoint checkpoint = io::Checkpoint::open(sweep.model);
  const model::SwitchConfig config = model::load_config(sweep.model);
  for (const PruningCell& cell : sweep.cells) {
    if (cell.method) static_cast<void>(sparsity::plan_pruning(checkpoint, config, options_of(sweep, cell)));
  }
}

/// What else a cell depends on, beside the settings of the whole sweep.
Json cell_settings(const PruningSweep& sweep, const PruningCell& cell) {
  Json settings = {{"name", cell.name()}};
  if (sweep.pruning.pad && cell.method && !is_baseline(cell)) settings["pad"] = true;
  if (cell.method == Method::kColumnBlock) settings["block"] = sweep.pruning.block.to_string();
  if (cell.method && sparsity::needs_calibration(*cell.method)) {
    settings["calibration"] = {{"source", sweep.pruning.calibration_source},
                               {"examples", sweep.pruning.calibration.size()},
                               {"checksum", checksum_of_calibration(sweep.pruning.calibration)},
                               {"minimum_tokens", sweep.pruning.minimum_tokens}};
    if (cell.method == Method::kSparseGpt) settings["calibration"]["damping"] = sweep.pruning.damping;
  }
  return settings;
}

/// What a finished cell keeps. Scores are not kept: the predictions are, and ROUGE is computed again from them.
Json measured_of(const PruningResult& result) {
  return {
      {"perplexity", result.perplexity},   {"relative_error", result.relative_error}, {"zeros", result.zeros},
      {"index_bytes", result.index_bytes}, {"packed_bytes", result.packed_bytes},     {"fallbacks", result.fallbacks}};
}

void take_measured(const JsonView& view, PruningResult& result) {
  result.perplexity = view.at("perplexity").as_number();
  result.relative_error = view.at("relative_error").as_number();
  result.zeros = view.at("zeros").as_number();
  result.fallbacks = view.at("fallbacks").as_unsigned();
  const JsonView index = view.at("index_bytes");
  for (const std::string& key : index.keys()) result.index_bytes[key] = index.at(key).as_unsigned();
  const JsonView packed = view.at("packed_bytes");
  for (const std::string& key : packed.keys()) result.packed_bytes[key] = packed.at(key).as_unsigned();
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  io::AtomicFile file(path);
  file.file().append(text);
  file.commit();
}

void run_cell(const PruningSweep& sweep, PruningResult& result,
              const std::function<void(const std::string& message)>& on_warning) {
  const PruningCell& cell = result.cell;
  const std::filesystem::path pruned = sweep.directory / (cell.file_name() + ".model");
  const sparsity::PruneOptions options = options_of(sweep, cell);
  {
    // Plans and sizes do not need the pruning to have run; dense has no plan of its own, so 1:2 stands in for its list.
    const io::Checkpoint checkpoint = io::Checkpoint::open(sweep.model);
    sparsity::PruneOptions plan_options = options;
    if (!cell.method) plan_options.patterns = sparsity::LayerPatterns(Pattern{1, 2});
    const auto plan = sparsity::plan_pruning(checkpoint, model::load_config(sweep.model), plan_options);
    if (cell.method) {
      const sparsity::PruneReport report = sparsity::prune_checkpoint(sweep.model, pruned, options);
      result.relative_error = report.relative_error();
      result.zeros =
          static_cast<double>(report.zeros) / static_cast<double>(std::max<std::uint64_t>(report.weights, 1));
      result.index_bytes = report.index_storage;
      result.fallbacks = report.fallbacks.size();
    } else {
      result.index_bytes = {{"none", 0}};
    }
    result.packed_bytes = packed_bytes(io::Checkpoint::open(cell.method ? pruned : sweep.model), plan, cell, options);
  }
  engine::Engine engine = engine::Engine::open(cell.method ? pruned : sweep.model, sweep.engine);
  const TextPredictions predictions =
      generate_predictions(engine, sweep.examples, sweep.generation, predictions_path(sweep, cell), on_warning);
  result.scores = score(sweep.examples, predictions, sweep.stem, sweep.many);
  result.perplexity = measure_perplexity(sweep, engine);
  write_text(cell_path(sweep, cell),
             Json{{"settings", cell_settings(sweep, cell)},
                  {"measured", measured_of(result)},
                  {"predictions", checksum_text(io::file_checksum(predictions_path(sweep, cell)))}}
                     .dump(2) +
                 "\n");
  if (cell.method) io::FileSystem::real().remove(pruned);
}

/// What two runs must agree on for their cells to belong to one table.
Json settings_of(const PruningSweep& sweep) {
  const model::GenerationOptions& generation = sweep.generation.generation;
  return {{"model", io::Checkpoint::open(sweep.model).content_checksum()},
          {"examples", sweep.examples_source},
          {"examples_checksum", checksum_of_examples(sweep.examples)},
          {"number_of_examples", sweep.examples.size()},
          {"prefix", sweep.generation.prefix},
          {"beams", generation.num_beams},
          {"length_limit", generation.length_limit()},
          {"length_floor", generation.length_floor()},
          {"length_penalty", generation.length_penalty},
          {"no_repeat_ngram", generation.no_repeat_ngram_size},
          {"repetition_penalty", generation.repetition_penalty},
          {"options", engine::options_fingerprint(sweep.generation)}};
}

/// Throws UsageError when what was measured before had another setting.
void require_equal_settings(const std::filesystem::path& path, const Json& kept, const Json& asked) {
  std::string others;
  for (const auto& [key, value] : asked.items()) {
    if (kept.is_object() && kept.contains(key) && kept.at(key) == value) continue;
    others += fmt::format("{}\"{}\": {}, now {}", others.empty() ? "" : "; ", key,
                          kept.is_object() ? kept.value(key, Json()).dump() : "nothing", value.dump());
  }
  if (others.empty()) return;
  throw UsageError(
      fmt::format("{}: was measured with another {}; name another directory, or remove it", path.string(), others));
}

/// A file has one writer at a time, so this one, empty, holds the directory for as long as it is open. Throws
/// UsageError where somebody else's file has its name.
std::unique_ptr<io::WritableFile> hold(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "lock";
  if (io::FileSystem::real().exists(path) && io::FileSystem::real().open(path)->size() > 0) {
    throw UsageError(fmt::format("{}: is not empty, so no sweep's; name another directory", path.string()));
  }
  return io::FileSystem::real().create(path);
}

void check_settings(const PruningSweep& sweep) {
  const std::filesystem::path path = sweep.directory / "settings.json";
  const Json settings = settings_of(sweep);
  if (io::FileSystem::real().exists(path)) {
    require_equal_settings(path, parse_json(io::read_file(path), path), settings);
  } else {
    write_text(path, settings.dump(2) + "\n");
  }
}

/// Whether the cell was finished before; its figures are then in `result`. Throws ModelError when its texts have
/// changed since. A new cell is begun: its settings are written first, so that a run that goes on from its
/// half-finished predictions knows that they are its own.
bool begin_cell(const PruningSweep& sweep, PruningResult& result) {
  const std::filesystem::path path = cell_path(sweep, result.cell);
  const Json settings = cell_settings(sweep, result.cell);
  if (!io::FileSystem::real().exists(path)) {
    write_text(path, Json{{"settings", settings}}.dump(2) + "\n");
    return false;
  }
  const Json json = parse_json(io::read_file(path), path);
  const JsonView view(json, path);
  require_equal_settings(path, view.at("settings").value(), settings);
  const std::optional<JsonView> measured = view.find("measured");
  if (!measured) return false;
  take_measured(*measured, result);
  const std::filesystem::path predictions = predictions_path(sweep, result.cell);
  if (view.at("predictions").as_string() != checksum_text(io::file_checksum(predictions))) {
    throw ModelError(fmt::format("{}: not the texts that {} was measured from; remove both to measure it again",
                                 predictions.string(), path.filename().string()));
  }
  return true;
}

const PruningResult* find_result(const std::vector<PruningResult>& results, std::optional<Method> method,
                                 double sparsity, std::optional<std::uint8_t> m) {
  for (const PruningResult& result : results) {
    if (result.cell.method != method) continue;
    if (!method) return &result;
    if (std::fabs(result.cell.pattern.sparsity() - sparsity) > 1e-9) continue;
    if (!m || result.cell.pattern.m == *m) return &result;
  }
  return nullptr;
}

std::vector<double> f_of(const PruningResult& result, RougeMeasure measure) {
  std::vector<double> values;
  for (const RougeScores& scores : result.scores) values.push_back(scores[measure].f);
  return values;
}

struct Comparison {
  const PruningResult* pattern = nullptr;
  const PruningResult* baseline = nullptr;
  double paper = 0.0;
};

/// Each pattern method's cells against each baseline of the same sparsity.
std::vector<Comparison> comparisons(const std::vector<PruningResult>& results) {
  std::vector<Comparison> pairs;
  for (const PruningResult& result : results) {
    if (!result.cell.method || is_baseline(result.cell)) continue;
    for (const auto& [method, paper] : {std::pair(Method::kUnstructured, kPaperAgainstUnstructured),
                                        std::pair(Method::kColumnBlock, kPaperAgainstColumnBlock)}) {
      const PruningResult* baseline = find_result(results, method, result.cell.pattern.sparsity(), std::nullopt);
      if (baseline != nullptr) pairs.push_back({&result, baseline, paper});
    }
  }
  return pairs;
}

double relative_percent(double value, double baseline) {
  return baseline == 0.0 ? 0.0 : 100.0 * (value - baseline) / baseline;
}

}  // namespace

std::string PruningCell::name() const {
  if (!method) return "dense";
  if (is_baseline(*this)) return fmt::format("{} {:.4g} %", sparsity::name_of(*method), 100.0 * pattern.sparsity());
  return fmt::format("{} {}", sparsity::name_of(*method), pattern.to_string());
}

std::string PruningCell::file_name() const {
  if (!method) return "dense";
  if (is_baseline(*this)) {
    return fmt::format("{}-{:.4g}", sparsity::name_of(*method), 100.0 * pattern.sparsity());
  }
  return fmt::format("{}-{}of{}", sparsity::name_of(*method), pattern.n, pattern.m);
}

std::vector<Pattern> figure_7_patterns() {
  std::vector<Pattern> patterns;
  for (const unsigned m : {4U, 8U, 16U}) {
    for (const unsigned kept_eighths : {6U, 4U, 2U, 1U}) {
      if (m * kept_eighths % 8 != 0) continue;
      patterns.push_back({static_cast<std::uint8_t>(m * kept_eighths / 8), static_cast<std::uint8_t>(m)});
    }
  }
  return patterns;
}

std::vector<PruningCell> pruning_cells(const std::vector<Method>& methods, const std::vector<Pattern>& patterns) {
  std::vector<PruningCell> cells = {PruningCell{}};
  for (const Method method : methods) {
    std::set<std::string> names;
    for (const Pattern& pattern : patterns) {
      if (pattern.dense()) {
        throw UsageError(fmt::format("pattern {}: leaves nothing to prune; the table has the dense model as it is",
                                     pattern.to_string()));
      }
      const PruningCell cell{method, pattern};
      if (names.insert(cell.name()).second) cells.push_back(cell);
    }
  }
  return cells;
}

void check_sweep_directories(const std::filesystem::path& model, const std::filesystem::path& directory) {
  if (experts::Bundle::is_bundle(model)) {
    throw UsageError(fmt::format("{}: is a bundle, whose experts are packed; name the checkpoint that it was made from",
                                 model.string()));
  }
  io::require_other_directory(model, directory);
}

std::vector<PruningResult> run_pruning_sweep(const PruningSweep& sweep,
                                             const std::function<void(const std::string& message)>& on_note) {
  check_sweep_directories(sweep.model, sweep.directory);
  check_cells(sweep);
  io::FileSystem::real().create_directories(sweep.directory);
  const std::unique_ptr<io::WritableFile> held = hold(sweep.directory);
  check_settings(sweep);
  std::vector<PruningResult> results;
  std::set<std::string> warnings;  // the same prompts come in every cell: each is worth one warning
  const auto warn_once = [&](const std::string& message) {
    if (on_note && warnings.insert(message).second) on_note(message);
  };
  for (std::size_t i = 0; i < sweep.cells.size(); ++i) {
    throw_if_interrupted();
    PruningResult result;
    result.cell = sweep.cells[i];
    const bool finished = begin_cell(sweep, result);
    if (on_note) {
      on_note(fmt::format("cell {} of {}: {}{}", i + 1, sweep.cells.size(), result.cell.name(),
                          finished ? " (measured before)" : ""));
    }
    if (finished) {
      result.scores =
          score(sweep.examples, read_predictions(predictions_path(sweep, result.cell)), sweep.stem, sweep.many);
    } else {
      run_cell(sweep, result, warn_once);
    }
    result.rouge = summarize(result.scores, sweep.bootstrap);
    results.push_back(std::move(result));
  }
  return results;
}

Json to_json(const PruningResult& result, const Bootstrap& bootstrap) {
  Json json = measured_of(result);
  json["name"] = result.cell.name();
  json["method"] = result.cell.method ? std::string(sparsity::name_of(*result.cell.method)) : "dense";
  if (result.cell.method) {
    if (!is_baseline(result.cell)) json["pattern"] = result.cell.pattern.to_string();
    json["sparsity"] = result.cell.pattern.sparsity();
  }
  json["smallest_index"] = sparsity::smallest(result.index_bytes).first;
  json["rouge"] = rouge_to_json(result.rouge, bootstrap);
  return json;
}

Json comparisons_to_json(const std::vector<PruningResult>& results, const Bootstrap& bootstrap) {
  Json list = Json::array();
  for (const Comparison& pair : comparisons(results)) {
    Json entry = {{"pattern", pair.pattern->cell.name()},
                  {"baseline", pair.baseline->cell.name()},
                  {"paper_percent", pair.paper}};
    for (const RougeMeasure measure : kRougeMeasures) {
      const Interval difference =
          bootstrap_difference(f_of(*pair.pattern, measure), f_of(*pair.baseline, measure), bootstrap);
      entry[std::string(name_of(measure))] = {
          {"percent", relative_percent(pair.pattern->rouge[measure].f.mean, pair.baseline->rouge[measure].f.mean)},
          {"difference", interval_to_json(difference, bootstrap)}};
    }
    list.push_back(std::move(entry));
  }
  return list;
}

std::string to_text(const std::vector<PruningResult>& results, const Bootstrap& bootstrap) {
  std::string text = fmt::format("{:<22}{:>8}{:>8}{:>8}{:>18}{:>12}{:>9}{:>12}{:>12}  {}\n", "", "R-1", "R-2", "R-L",
                                 "R-2 against dense", "perplexity", "error", "index", "int8 packed", "smallest index");
  const PruningResult* dense = find_result(results, std::nullopt, 0.0, std::nullopt);
  for (const PruningResult& result : results) {
    std::string against;
    if (dense != nullptr && &result != dense) {
      const Interval difference =
          bootstrap_difference(f_of(result, RougeMeasure::kRouge2), f_of(*dense, RougeMeasure::kRouge2), bootstrap);
      against = fmt::format("{:+.2f}", 100.0 * difference.mean);
      if (bootstrap.samples > 0) {
        against += fmt::format(" ({:+.2f} {:+.2f})", 100.0 * difference.low, 100.0 * difference.high);
      }
    }
    const auto [encoding, index] = sparsity::smallest(result.index_bytes);
    text += fmt::format(
        "{:<22}{:>8.2f}{:>8.2f}{:>8.2f}{:>20}{:>10.2f}{:>8.1f}%{:>12}{:>12}  {}\n", result.cell.name(),
        100.0 * result.rouge[RougeMeasure::kRouge1].f.mean, 100.0 * result.rouge[RougeMeasure::kRouge2].f.mean,
        100.0 * result.rouge[RougeMeasure::kRougeL].f.mean, against, result.perplexity, 100.0 * result.relative_error,
        format_byte_size(index), format_byte_size(result.packed_bytes.at("int8")), encoding);
  }
  if (dense != nullptr && !dense->scores.empty() && bootstrap.samples > 0) {
    const Interval& f = dense->rouge[RougeMeasure::kRouge2].f;
    text += fmt::format("dense R-2: {:.0f} % of resampled means lie in {:.2f} - {:.2f}\n", 100.0 * bootstrap.confidence,
                        100.0 * f.low, 100.0 * f.high);
  }
  for (const Comparison& pair : comparisons(results)) {
    text += fmt::format("{} against {}:", pair.pattern->cell.name(), pair.baseline->cell.name());
    for (const RougeMeasure measure : {RougeMeasure::kRouge1, RougeMeasure::kRouge2, RougeMeasure::kRougeL}) {
      text += fmt::format(" {} {:+.2f} %,", name_of(measure),
                          relative_percent(pair.pattern->rouge[measure].f.mean, pair.baseline->rouge[measure].f.mean));
    }
    text += fmt::format(" the paper {:+.4g} %\n", pair.paper);
  }
  return text;
}

}  // namespace flame::eval
