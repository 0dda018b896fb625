#include "flame/sparsity/prune.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/progress.h"
#include "flame/base/thread_pool.h"
#include "flame/io/file.h"
#include "flame/model/config.h"
#include "flame/model/tensor_names.h"
#include "flame/model/weights.h"
#include "flame/sparsity/checkpoint_copy.h"
#include "flame/sparsity/expert_pruning.h"
#include "flame/sparsity/group_select.h"
#include "flame/sparsity/prune_plan.h"

namespace flame::sparsity {
namespace {

constexpr std::string_view kRecordName = "flame_pruning.json";
constexpr std::array<std::pair<Method, std::string_view>, 5> kMethods = {{{Method::kMagnitude, "magnitude"},
                                                                          {Method::kWanda, "wanda"},
                                                                          {Method::kSparseGpt, "sparsegpt"},
                                                                          {Method::kUnstructured, "unstructured"},
                                                                          {Method::kColumnBlock, "column-block"}}};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// Rows that one thread copies and prunes at a time: about half a megabyte, which its cache holds.
std::size_t rows_in_cache(std::size_t row_bytes) {
  return std::max<std::size_t>(1, (std::size_t{1} << 19) / row_bytes);
}

/// Copies and prunes in one go, a few rows at a time.
void prune_by_magnitude(const PlannedTensor& tensor, std::span<const std::byte> original, std::span<std::byte> copy) {
  const std::size_t row_bytes = tensor.shape.columns * size_of(tensor.shape.type);
  ThreadPool::parallel_for(tensor.shape.rows, rows_in_cache(row_bytes), [&](std::size_t begin, std::size_t end) {
    const auto rows = copy.subspan(begin * row_bytes, (end - begin) * row_bytes);
    std::memcpy(rows.data(), original.data() + begin * row_bytes, rows.size());
    keep_largest(tensor.pattern, tensor.shape.type, rows, tensor.shape.columns);
  });
}

void prune_by_baseline(const PlannedTensor& tensor, const PruneOptions& options, std::span<const std::byte> original,
                       std::span<std::byte> copy) {
  Matrix<float> weights = widen(tensor.shape, original);
  if (options.method == Method::kUnstructured) {
    prune_unstructured(tensor.sparsity, weights);
  } else {
    prune_column_blocks(tensor.sparsity, options.block, weights);
  }
  narrow(std::span(weights.data(), tensor.shape.rows * tensor.shape.columns), tensor.shape.type, copy);
}

/// The share of a tensor's weights that a baseline removes: whole columns of blocks cannot give every share.
double removed_share(const PlannedTensor& tensor, const PruneOptions& options) {
  if (options.method != Method::kColumnBlock) return tensor.sparsity;
  const StoredShape& shape = tensor.shape;
  std::size_t kept = 0;
  std::size_t before = 0;
  for (std::size_t top = 0; top < shape.rows; top += options.block.rows, before += shape.columns) {
    kept += std::min(options.block.rows, shape.rows - top) * kept_columns(tensor.sparsity, before, shape.columns);
  }
  return 1.0 - static_cast<double>(kept) / static_cast<double>(shape.rows * shape.columns);
}

/// Throws ModelError when an update has moved a weight past what its type holds.
void require_storable(const PlannedTensor& tensor, MatrixView<const float> pruned) {
  const float largest = largest_storable(tensor.shape.type);
  for (std::size_t r = 0; r < pruned.rows(); ++r) {
    for (const float weight : pruned.row(r)) {
      if (std::fabs(weight) <= largest) continue;
      throw ModelError(fmt::format(
          "tensor {}: the update of the weights that stay moved one to {:g}, and {} holds {:g} at most; choose more "
          "--damping, or --method wanda, which moves none",
          tensor.name, weight, name_of(tensor.shape.type), largest));
    }
  }
}

/// Counts what became of one tensor.
PrunedTensor compare(const PlannedTensor& tensor, const PruneOptions& options, std::span<const std::byte> original,
                     std::span<const std::byte> pruned) {
  PrunedTensor result;
  result.name = tensor.name;
  result.how = is_pattern_method(options.method)
                   ? tensor.pattern.to_string()
                   : fmt::format("{:.4g} % removed", 100.0 * removed_share(tensor, options));
  result.weights = std::uint64_t{tensor.shape.rows} * tensor.shape.columns;
  if (!options.measure_error) return result;
  struct RowSums {
    double norm = 0.0;
    double error = 0.0;
    std::uint64_t zeros = 0;
  };
  std::vector<RowSums> sums(tensor.shape.rows);
  const std::size_t row_bytes = tensor.shape.columns * size_of(tensor.shape.type);
  ThreadPool::parallel_for(tensor.shape.rows, rows_in_cache(row_bytes), [&](std::size_t begin, std::size_t end) {
    std::vector<float> before(tensor.shape.columns);
    std::vector<float> after(tensor.shape.columns);
    for (std::size_t r = begin; r < end; ++r) {
      kernels::widen({tensor.shape.type, original.data() + r * row_bytes, 1, tensor.shape.columns}, before);
      kernels::widen({tensor.shape.type, pruned.data() + r * row_bytes, 1, tensor.shape.columns}, after);
      for (std::size_t c = 0; c < before.size(); ++c) {
        const double weight = before[c];
        const double change = weight - static_cast<double>(after[c]);
        sums[r].norm += weight * weight;
        sums[r].error += change * change;
        sums[r].zeros += after[c] == 0.0F ? 1 : 0;
      }
    }
  });
  for (const RowSums& row : sums) {
    result.squared_norm += row.norm;
    result.squared_error += row.error;
    result.zeros += row.zeros;
  }
  return result;
}

/// Throws UsageError when kReplace would delete what no run of prune_checkpoint wrote.
void require_replaceable(const std::filesystem::path& output, io::Existing existing, io::FileSystem& files) {
  if (existing != io::Existing::kReplace || !io::is_occupied(output, files)) return;
  const std::filesystem::path path = output / kRecordName;
  if (!files.is_regular(path)) {
    throw UsageError(
        fmt::format("{}: has no {}: --replace deletes what `flame prune` wrote only; name another directory",
                    output.string(), kRecordName));
  }
  std::set<std::string, std::less<>> ours{std::string(kRecordName)};
  try {
    const Json record = parse_json(io::read_file(path, files), path);
    if (record.contains("recovery")) {
      throw UsageError(fmt::format(
          "{}: was fine-tuned after pruning, and --replace would delete that; remove it or name another directory",
          output.string()));
    }
    const auto written = record.find("files");
    if (written != record.end() && written->is_array()) {
      for (const Json& name : *written) {
        if (name.is_string()) ours.insert(name.get<std::string>());
      }
    }
  } catch (const FormatError&) {  // it names nothing
  }
  io::require_only_files(output, ours, kRecordName, files);
}

/// One run of prune_checkpoint.
class Job {
 public:
  Job(const std::filesystem::path& model, const std::filesystem::path& output, const PruneOptions& options,
      io::FileSystem& files)
      : options_(options),
        files_(files),
        model_(model),
        output_(output),
        checkpoint_(std::make_shared<io::Checkpoint>(io::Checkpoint::open(model, files))),
        config_(model::parse_config(io::read_file(model / "config.json", files), model / "config.json")),
        plan_(plan_pruning(*checkpoint_, config_, options)),
        copy_(model, *checkpoint_, output, options.existing, files) {
    if (files.exists(model / kRecordName)) {
      previous_ = std::make_unique<Json>(parse_json(io::read_file(model / kRecordName, files), model / kRecordName));
    }
  }

  PruneReport run() {
    const double start = now();
    if (needs_calibration(options_.method)) {
      copy_.write({}, kRecordName);
      prune_by_calibration();
    } else {
      copy_.write(edits(), kRecordName);
    }
    std::sort(report_.tensors.begin(), report_.tensors.end(),
              [](const PrunedTensor& a, const PrunedTensor& b) { return a.name < b.name; });
    report_.left_out = copy_.left_out();
    Json record = to_json(report_, options_);
    for (const char* time : {"seconds", "selection_seconds"}) record.erase(time);
    record["format"] = "flame pruning record, version 1";
    const std::filesystem::path source = std::filesystem::absolute(model_).lexically_normal();
    record["source"] = (source.has_filename() ? source : source.parent_path()).filename().string();
    record["files"] = copy_.written();
    if (previous_) record["previous"] = *previous_;
    copy_.add_file(std::string(kRecordName), record.dump(2) + "\n");
    require_replaceable(output_, options_.existing, files_);  // pruning took its time
    copy_.commit();
    report_.seconds = now() - start;
    return std::move(report_);
  }

 private:
  CheckpointCopy::Edits edits() {
    CheckpointCopy::Edits edits;
    for (const PlannedTensor& tensor : plan_) {
      edits[tensor.name] = [this, &tensor](std::string_view, const io::TensorView& original,
                                           std::span<std::byte> copy) {
        model::require_finite(*checkpoint_, tensor.name);
        const double start = now();
        if (options_.method == Method::kMagnitude) {
          prune_by_magnitude(tensor, original.bytes, copy);
        } else {
          prune_by_baseline(tensor, options_, original.bytes, copy);
        }
        report_.selection_seconds += now() - start;
        add_to_report(tensor, original.bytes, copy);
      };
    }
    return edits;
  }

  void prune_by_calibration() {
    std::map<std::string, PlannedTensor> plan;
    for (const PlannedTensor& tensor : plan_) plan.emplace(tensor.name, tensor);
    // The copy is a whole model from the start; its experts are overwritten layer by layer, and it is run as it is.
    const auto staged = std::make_shared<io::Checkpoint>(io::Checkpoint::open(copy_.path(), files_));
    Calibration calibration(config_, staged, options_.calibration);
    const std::uint32_t encoder_layers = config_.moe_layers(model::Stack::kEncoder);
    const std::uint32_t layers = encoder_layers + config_.moe_layers(model::Stack::kDecoder);
    Progress progress("pruning layers", layers);
    for (std::uint32_t i = 0; i < layers; ++i, progress.advance()) {
      const model::MoeLayer layer = i < encoder_layers ? model::MoeLayer{model::Stack::kEncoder, i}
                                                       : model::MoeLayer{model::Stack::kDecoder, i - encoder_layers};
      const std::optional<Pattern> pattern = options_.patterns.of(layer);
      if (!pattern || pattern->dense()) continue;
      const LayerActivations activations = calibration.capture(layer);
      const double start = now();
      prune_layer(
          *staged, config_, layer, activations, calibration.activation(), plan, options_,
          [&](const PlannedTensor& tensor, MatrixView<const float> pruned) { store(tensor, pruned); },
          report_.fallbacks);
      report_.selection_seconds += now() - start;
    }
  }

  void store(const PlannedTensor& tensor, MatrixView<const float> pruned) {
    require_storable(tensor, pruned);
    buffer_.resize(tensor.shape.rows * tensor.shape.columns * size_of(tensor.shape.type));
    narrow(std::span(pruned.data(), pruned.rows() * pruned.columns()), tensor.shape.type, buffer_);
    copy_.overwrite(tensor.name, buffer_);
    add_to_report(tensor, checkpoint_->tensor(tensor.name).bytes, buffer_);
    checkpoint_->release(tensor.name);
  }

  void add_to_report(const PlannedTensor& tensor, std::span<const std::byte> original,
                     std::span<const std::byte> pruned) {
    PrunedTensor result = compare(tensor, options_, original, pruned);
    report_.weights += result.weights;
    if (is_pattern_method(options_.method) && tensor.shape.columns % tensor.pattern.m != 0) ++report_.padded_tensors;
    report_.zeros += result.zeros;
    report_.bytes += original.size();
    add(index_storage_of(tensor, options_, pruned, 8 * size_of(tensor.shape.type)), report_.index_storage);
    report_.tensors.push_back(std::move(result));
  }

  const PruneOptions& options_;
  io::FileSystem& files_;
  std::filesystem::path model_;
  std::filesystem::path output_;
  std::shared_ptr<const io::Checkpoint> checkpoint_;
  model::SwitchConfig config_;
  std::vector<PlannedTensor> plan_;
  CheckpointCopy copy_;
  std::unique_ptr<Json> previous_;
  PruneReport report_;
  std::vector<std::byte> buffer_;
};

}  // namespace

std::string_view name_of(Method method) { return kMethods[static_cast<std::size_t>(method)].second; }

std::vector<std::string_view> method_names() {
  std::vector<std::string_view> names;
  for (const auto& [method, name] : kMethods) names.push_back(name);
  return names;
}

std::vector<std::string_view> pattern_method_names() {
  std::vector<std::string_view> names;
  for (const auto& [method, name] : kMethods) {
    if (is_pattern_method(method)) names.push_back(name);
  }
  return names;
}

Method parse_method(std::string_view name) {
  for (const auto& [method, own_name] : kMethods) {
    if (name == own_name) return method;
  }
  throw UsageError(fmt::format("method \"{}\": expected one of {}", name, fmt::join(method_names(), ", ")));
}

bool needs_calibration(Method method) { return method == Method::kWanda || method == Method::kSparseGpt; }

bool is_pattern_method(Method method) { return method != Method::kUnstructured && method != Method::kColumnBlock; }

double PruneReport::relative_error() const {
  double norm = 0.0;
  double error = 0.0;
  for (const PrunedTensor& tensor : tensors) {
    norm += tensor.squared_norm;
    error += tensor.squared_error;
  }
  return norm > 0.0 ? std::sqrt(error / norm) : 0.0;
}

std::optional<std::string> recorded_pattern(const std::filesystem::path& model, io::FileSystem& files) {
  const std::filesystem::path path = model / kRecordName;
  if (!files.exists(path)) return std::nullopt;
  const Json record = parse_json(io::read_file(path, files), path);
  if (!record.is_object()) return std::nullopt;
  const auto text_of = [&](const char* key) {
    const auto value = record.find(key);
    return value != record.end() && value->is_string() ? value->get<std::string>() : std::string();
  };
  const std::string pattern = text_of("pattern");
  const std::string method = text_of("method");
  const std::vector<std::string_view> methods = pattern_method_names();
  const bool some_excluded = record.contains("exclude") && !record["exclude"].empty();
  const bool some_pruned = record.contains("tensors") && !record["tensors"].empty();
  if (pattern.empty() || std::ranges::find(methods, method) == methods.end() || some_excluded || !some_pruned) {
    return std::nullopt;
  }
  return pattern;
}

PruneReport prune_checkpoint(const std::filesystem::path& model, const std::filesystem::path& output,
                             const PruneOptions& options, io::FileSystem& files) {
  if (!files.is_directory(model)) {
    throw FileError(model, "expected a model directory with config.json and weights");
  }
  io::require_other_directory(model, output);
  require_replaceable(output, options.existing, files);
  return Job(model, output, options, files).run();
}

Json to_json(const PruneReport& report, const PruneOptions& options) {
  Json json;
  json["method"] = name_of(options.method);
  if (options.patterns != LayerPatterns()) json["pattern"] = options.patterns.to_string();
  if (options.sparsity) json["sparsity"] = *options.sparsity;
  if (options.method == Method::kColumnBlock) json["block"] = options.block.to_string();
  json["pad"] = options.pad;
  json["include"] = options.include;
  json["exclude"] = options.exclude;
  json["weights"] = report.weights;
  json["bytes"] = report.bytes;
  if (options.measure_error) {
    json["zeros"] = report.zeros;
    json["relative_error"] = report.relative_error();
  }
  if (!report.index_storage.empty()) {
    json["index_bytes"] = report.index_storage;
    json["smallest_index"] = smallest(report.index_storage).first;
  }
  if (needs_calibration(options.method)) {
    Json& calibration = json["calibration"];
    calibration["source"] = options.calibration_source;
    calibration["examples"] = options.calibration.size();
    calibration["minimum_tokens"] = options.minimum_tokens;
    if (options.method == Method::kSparseGpt) calibration["damping"] = options.damping;
    calibration["layer_statistics_used_for"] = Json::array();
    for (const Fallback& fallback : report.fallbacks) {
      calibration["layer_statistics_used_for"].push_back({{"stack", name_of(fallback.layer.stack)},
                                                          {"moe_layer", fallback.layer.index},
                                                          {"expert", fallback.expert},
                                                          {"tokens", fallback.tokens}});
    }
  }
  json["tensors"] = Json::array();
  for (const PrunedTensor& tensor : report.tensors) {
    Json entry = {{"name", tensor.name}, {"how", tensor.how}, {"weights", tensor.weights}};
    if (options.measure_error) {
      entry["zeros"] = tensor.zeros;
      entry["relative_error"] = tensor.squared_norm > 0.0 ? std::sqrt(tensor.squared_error / tensor.squared_norm) : 0.0;
    }
    json["tensors"].push_back(std::move(entry));
  }
  json["left_out"] = report.left_out;
  json["selection_seconds"] = report.selection_seconds;
  json["seconds"] = report.seconds;
  return json;
}

}  // namespace flame::sparsity
