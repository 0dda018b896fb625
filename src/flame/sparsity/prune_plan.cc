#include "flame/sparsity/prune_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "flame/base/error.h"
#include "flame/model/weights.h"
#include "flame/sparsity/name_filter.h"

namespace flame::sparsity {
namespace {

using model::MoeLayer;
using model::Stack;

/// The MoE layer of every expert tensor.
std::map<std::string, MoeLayer> expert_tensors(const io::Checkpoint& checkpoint, const model::SwitchConfig& config) {
  std::map<std::string, MoeLayer> tensors;
  const bool gated = model::find_gating(checkpoint) == model::Gating::kGated;
  const std::vector<std::string> matrices =
      gated ? std::vector<std::string>{"wi_0", "wi_1", "wo"} : std::vector<std::string>{"wi", "wo"};
  for (const Stack stack : {Stack::kEncoder, Stack::kDecoder}) {
    for (std::uint32_t index = 0; index < config.moe_layers(stack); ++index) {
      const MoeLayer layer{stack, index};
      for (std::size_t expert = 0; expert < config.num_experts; ++expert) {
        for (const std::string& matrix : matrices) {
          std::string name = model::expert_tensor_name(config, layer, expert, matrix);
          static_cast<void>(checkpoint.tensor(name));  // names what is missing
          tensors.emplace(std::move(name), layer);
        }
      }
    }
  }
  return tensors;
}

/// An included tensor beside the experts is pruned like the layers of its stack; the shared embedding like all layers.
std::optional<Pattern> pattern_outside(const LayerPatterns& patterns, std::string_view name) {
  if (name.starts_with("encoder.")) return patterns.outside_layers(Stack::kEncoder);
  if (name.starts_with("decoder.")) return patterns.outside_layers(Stack::kDecoder);
  return patterns.outside_layers(std::nullopt);
}

/// The name patterns of an option, each of which must name something and change something.
class NameList {
 public:
  NameList(std::string_view option, const std::vector<std::string>& patterns)
      : option_(option), patterns_(patterns), named_(patterns.size(), false), effective_(patterns.size(), false) {}

  [[nodiscard]] bool matches(std::string_view name) { return mark(name, named_); }
  /// What the patterns say of this tensor changes what is pruned.
  void note_effect(std::string_view name) { mark(name, effective_); }

  void check(std::string_view why_without_effect) const {
    for (std::size_t i = 0; i < patterns_.size(); ++i) {
      if (!named_[i]) throw UsageError(fmt::format("{} {}: no tensor has such a name", option_, patterns_[i]));
      if (!effective_[i]) {
        throw UsageError(fmt::format("{} {}: has no effect: {}", option_, patterns_[i], why_without_effect));
      }
    }
  }

 private:
  bool mark(std::string_view name, std::vector<bool>& marks) {
    bool any = false;
    for (std::size_t i = 0; i < patterns_.size(); ++i) {
      if (!sparsity::matches(patterns_[i], name)) continue;
      marks[i] = true;
      any = true;
    }
    return any;
  }

  std::string_view option_;
  const std::vector<std::string>& patterns_;
  std::vector<bool> named_;
  std::vector<bool> effective_;
};

void check_options(const PruneOptions& options, const model::SwitchConfig& config) {
  options.patterns.check(config.moe_layers(Stack::kEncoder), config.moe_layers(Stack::kDecoder));
  const bool patterns_given = options.patterns != LayerPatterns();
  if (is_pattern_method(options.method)) {
    if (options.sparsity) {
      throw UsageError(fmt::format("method {} prunes to N:M: give a pattern, not a sparsity", name_of(options.method)));
    }
    if (!patterns_given) throw UsageError("no pattern given: which N of every M weights are to stay, for example 2:4");
  } else if (options.sparsity.has_value() == patterns_given) {
    throw UsageError(fmt::format("method {} takes a sparsity (for example 0.5), or a pattern whose sparsity it takes{}",
                                 name_of(options.method), patterns_given ? ", not both" : ""));
  }
  if (options.sparsity && !(*options.sparsity >= 0.0 && *options.sparsity < 1.0)) {
    throw UsageError(fmt::format("sparsity {}: expected the share to remove, from 0 to below 1", *options.sparsity));
  }
  if (needs_calibration(options.method)) {
    if (options.calibration.empty()) {
      throw UsageError(fmt::format("method {} needs calibration examples", name_of(options.method)));
    }
    if (!options.include.empty()) {
      throw UsageError(fmt::format("method {} knows the inputs of experts only: nothing else can be included",
                                   name_of(options.method)));
    }
    if (!(options.damping > 0.0 && options.damping <= 1.0)) {
      throw UsageError(fmt::format("damping {}: expected more than 0 and at most 1", options.damping));
    }
  }
}

void check_shape(const PlannedTensor& tensor, const PruneOptions& options) {
  if (options.pad || tensor.shape.columns % tensor.pattern.m == 0) return;
  throw ModelError(fmt::format(
      "tensor {}: its rows have {} weights, which {} does not divide into groups of {}; choose another M, or "
      "fill rows up with zeros (--pad)",
      tensor.name, tensor.shape.columns, tensor.pattern.to_string(), tensor.pattern.m));
}

}  // namespace

std::vector<PlannedTensor> plan_pruning(const io::Checkpoint& checkpoint, const model::SwitchConfig& config,
                                        const PruneOptions& options) {
  check_options(options, config);
  const std::map<std::string, MoeLayer> experts = expert_tensors(checkpoint, config);
  std::vector<PlannedTensor> plan;
  NameList include("--include", options.include);
  NameList exclude("--exclude", options.exclude);
  for (const std::string& name : checkpoint.names()) {
    const bool included = include.matches(name);
    const bool excluded = exclude.matches(name);
    const auto expert = experts.find(name);
    if (expert == experts.end() && !included) continue;
    const std::optional<Pattern> pattern =
        expert == experts.end() ? pattern_outside(options.patterns, name) : options.patterns.of(expert->second);
    const double sparsity = options.sparsity.value_or(pattern ? pattern->sparsity() : 0.0);
    if (is_pattern_method(options.method) ? !pattern || pattern->dense() : sparsity == 0.0) continue;
    if (expert == experts.end()) include.note_effect(name);
    if (excluded) {
      exclude.note_effect(name);
      continue;
    }
    PlannedTensor tensor;
    tensor.name = name;
    tensor.shape = stored_shape(name, checkpoint.tensor(name));
    if (is_pattern_method(options.method)) {
      tensor.pattern = *pattern;
      check_shape(tensor, options);
    }
    tensor.sparsity = sparsity;
    plan.push_back(std::move(tensor));
  }
  include.check("experts are pruned without it, and others only as the pattern of their stack, or of all layers, says");
  exclude.check("what it names is not pruned anyway");
  return plan;
}

IndexStorage index_storage_of(const PlannedTensor& tensor, const PruneOptions& options,
                              std::span<const std::byte> pruned, std::size_t value_bits) {
  const StoredShape& shape = tensor.shape;
  if (is_pattern_method(options.method)) return pattern_index_storage(tensor.pattern, shape.rows, shape.columns);
  if (options.method == Method::kColumnBlock) {
    return column_block_index_storage(tensor.sparsity, options.block, shape.rows, shape.columns);
  }
  const Matrix<float> weights = widen(shape, pruned);
  Matrix<std::uint8_t> kept(shape.rows, shape.columns);
  std::transform(weights.data(), weights.data() + shape.rows * shape.columns, kept.data(),
                 [](float weight) { return static_cast<std::uint8_t>(weight != 0.0F); });
  return unstructured_index_storage(kept, value_bits);
}

}  // namespace flame::sparsity
