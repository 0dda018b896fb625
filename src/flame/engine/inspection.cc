#include "flame/engine/inspection.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "flame/base/byte_size.h"
#include "flame/base/error.h"
#include "flame/io/checkpoint.h"
#include "flame/io/file.h"
#include "flame/kernels/expert.h"
#include "flame/model/synth.h"
#include "flame/model/weights.h"

namespace flame::engine {
namespace {

using kernels::PackedFormat;
using kernels::PackedType;

constexpr std::uint64_t kPageBytes = 4096;

std::vector<PackedFormat> listed_formats(const std::vector<sparsity::Pattern>& patterns) {
  std::vector<PackedFormat> formats;
  for (const sparsity::Pattern& pattern : patterns) {
    for (const PackedType type : {PackedType::kF32, PackedType::kBF16, PackedType::kInt8, PackedType::kInt4}) {
      formats.push_back(
          {.n = static_cast<std::uint8_t>(pattern.n), .m = static_cast<std::uint8_t>(pattern.m), .type = type});
    }
  }
  return formats;
}

std::vector<ExpertFootprint> footprints(const Inspection& inspection, const std::vector<sparsity::Pattern>& patterns) {
  std::vector<ExpertFootprint> result;
  for (const PackedFormat& format : listed_formats(patterns)) {
    const kernels::PackedExpertLayout layout{.format = format,
                                             .d_model = inspection.config.d_model,
                                             .d_ff = inspection.config.d_ff,
                                             .gated = inspection.gating == model::Gating::kGated};
    ExpertFootprint footprint;
    footprint.format = format;
    footprint.expert_bytes = layout.size_bytes();
    footprint.all_experts_bytes = footprint.expert_bytes * inspection.experts;
    if (inspection.expert_memory) {
      // In a bundle an expert begins on a page, and so does a slot.
      const std::uint64_t slot_bytes = (footprint.expert_bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
      footprint.slots = std::min(*inspection.expert_memory / slot_bytes, inspection.experts);
    }
    result.push_back(footprint);
  }
  return result;
}

/// A budget in which no expert fits in any form is a mistake, as it is in a run.
void check_budget(const Inspection& inspection) {
  const auto least = std::ranges::min_element(inspection.footprints, {}, &ExpertFootprint::expert_bytes);
  if (!inspection.expert_memory || least == inspection.footprints.end() || least->slots != 0) return;
  throw UsageError(fmt::format("--expert-memory {}: one expert as {} takes {}: give at least that",
                               format_byte_size(*inspection.expert_memory), least->format.describe(),
                               format_byte_size(least->expert_bytes)));
}

bool has_weights(const std::filesystem::path& model) {
  io::FileSystem& files = io::FileSystem::real();
  if (!files.is_directory(model)) return false;
  const std::vector<std::string> names = files.list(model);
  return std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return name.starts_with("model.safetensors") || name.starts_with("pytorch_model.bin");
  });
}

std::string stack_line(const model::SwitchConfig& config, model::Stack stack) {
  return fmt::format("{} blocks, {} of them MoE", config.layers(stack), config.moe_layers(stack));
}

}  // namespace

std::vector<sparsity::Pattern> usual_patterns() {
  return {{1, 1}, {4, 8}, {2, 4}, {2, 8}, {1, 4}, {1, 8}, {4, 16}, {2, 16}};
}

Inspection inspect(const std::filesystem::path& model, std::optional<std::uint64_t> expert_memory,
                   const std::vector<sparsity::Pattern>& patterns) {
  Inspection inspection;
  inspection.path = model;
  inspection.expert_memory = expert_memory;
  inspection.config = model::load_config_or_preset(model);
  if (has_weights(model)) {
    const io::Checkpoint checkpoint = io::Checkpoint::open(model);
    inspection.checkpoint_bytes = checkpoint.total_bytes();
    inspection.gating = model::find_gating(checkpoint);
  }
  inspection.parameters = model::count_parameters(inspection.config, inspection.gating);
  inspection.experts = model::expert_count(inspection.config);
  inspection.expert_parameters = model::expert_parameters(inspection.config, inspection.gating);
  inspection.footprints = footprints(inspection, patterns);
  check_budget(inspection);
  return inspection;
}

Json to_json(const Inspection& inspection) {
  const model::SwitchConfig& config = inspection.config;
  const model::ParameterCount& parameters = inspection.parameters;
  Json formats = Json::array();
  for (const ExpertFootprint& footprint : inspection.footprints) {
    Json row = {{"pattern", fmt::format("{}:{}", footprint.format.n, footprint.format.m)},
                {"dtype", kernels::name_of(footprint.format.type)},
                {"expert_bytes", footprint.expert_bytes},
                {"all_experts_bytes", footprint.all_experts_bytes}};
    if (footprint.slots) row["slots"] = *footprint.slots;
    formats.push_back(std::move(row));
  }
  Json result = {{"model", inspection.path.string()},
                 {"architecture", "SwitchTransformersForConditionalGeneration"},
                 {"d_model", config.d_model},
                 {"d_ff", config.d_ff},
                 {"d_kv", config.d_kv},
                 {"num_heads", config.num_heads},
                 {"vocab_size", config.vocab_size},
                 {"num_experts", config.num_experts},
                 {"expert_capacity", config.expert_capacity},
                 {"encoder_blocks", config.num_layers},
                 {"encoder_moe_layers", config.moe_layers(model::Stack::kEncoder)},
                 {"decoder_blocks", config.num_decoder_layers},
                 {"decoder_moe_layers", config.moe_layers(model::Stack::kDecoder)},
                 {"gated", inspection.gating == model::Gating::kGated},
                 {"checkpoint_bytes", inspection.checkpoint_bytes},
                 {"experts", inspection.experts},
                 {"expert_parameters", inspection.expert_parameters},
                 {"expert_share", parameters.expert_share()},
                 {"expert_share_without_embeddings", parameters.expert_share_without_embeddings()},
                 {"formats", std::move(formats)}};
  result["parameters"] = {{"total", parameters.total()},       {"embeddings", parameters.embeddings},
                          {"attention", parameters.attention}, {"dense_feed_forward", parameters.dense_feed_forward},
                          {"experts", parameters.experts},     {"routers", parameters.routers},
                          {"norms", parameters.norms}};
  if (inspection.expert_memory) result["expert_memory_bytes"] = *inspection.expert_memory;
  return result;
}

std::string to_text(const Inspection& inspection) {
  const model::SwitchConfig& config = inspection.config;
  const model::ParameterCount& parameters = inspection.parameters;
  std::string text;
  const auto out = std::back_inserter(text);
  fmt::format_to(out, "{}: SwitchTransformersForConditionalGeneration\n", inspection.path.string());
  fmt::format_to(out, "  encoder      {}\n", stack_line(config, model::Stack::kEncoder));
  fmt::format_to(out, "  decoder      {}\n", stack_line(config, model::Stack::kDecoder));
  fmt::format_to(out, "  dimensions   d_model {}, d_ff {}, {} heads of {}, vocabulary {}\n", config.d_model,
                 config.d_ff, config.num_heads, config.d_kv, config.vocab_size);
  fmt::format_to(out, "  experts      {} a MoE layer, {} in all, {} parameters each{}; capacity {} tokens\n",
                 config.num_experts, inspection.experts, inspection.expert_parameters,
                 inspection.gating == model::Gating::kGated ? " (gated)" : "", config.expert_capacity);
  fmt::format_to(out,
                 "  parameters   {} in all: experts {}, attention {}, dense feed-forward {}, embeddings {}, "
                 "routers {}, norms {}\n",
                 parameters.total(), parameters.experts, parameters.attention, parameters.dense_feed_forward,
                 parameters.embeddings, parameters.routers, parameters.norms);
  fmt::format_to(out, "  expert share {:.2f} % of the parameters, {:.2f} % without embeddings\n",
                 100.0 * parameters.expert_share(), 100.0 * parameters.expert_share_without_embeddings());
  if (inspection.checkpoint_bytes > 0) {
    fmt::format_to(out, "  checkpoint   {}\n", format_byte_size(inspection.checkpoint_bytes));
  }
  fmt::format_to(out, "\n  {:<12} {:>12} {:>12}", "expert as", "one", "all");
  if (inspection.expert_memory) {
    fmt::format_to(out, "   slots in {}", format_byte_size(*inspection.expert_memory));
  }
  fmt::format_to(out, "\n");
  for (const ExpertFootprint& footprint : inspection.footprints) {
    fmt::format_to(out, "  {:<12} {:>12} {:>12}", footprint.format.describe(), format_byte_size(footprint.expert_bytes),
                   format_byte_size(footprint.all_experts_bytes));
    if (footprint.slots) fmt::format_to(out, "   {}", *footprint.slots);
    fmt::format_to(out, "\n");
  }
  return text;
}

}  // namespace flame::engine
