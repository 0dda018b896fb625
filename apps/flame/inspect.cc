#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "flame/base/byte_size.h"
#include "flame/base/json.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/engine/inspection.h"
#include "flame/experts/bundle.h"

namespace flame::cli {
namespace {

/// What a bundle's own files say of its experts.
void add_bundle(const std::string& path, std::optional<std::uint64_t> budget, Json& json, std::string& text) {
  const experts::Bundle bundle = experts::Bundle::open(path);
  json["bundle"] = {{"packing", bundle.describe()},
                    {"experts", bundle.grid().size()},
                    {"expert_bytes", bundle.slot_bytes()},
                    {"packed_bytes", bundle.packed_bytes()},
                    {"profile", bundle.has_profile()}};
  text +=
      fmt::format("\n  packed here  {} ({}), {} in all; {} profile\n",
                  experts::describe_experts(bundle.grid().size(), bundle.slot_bytes(), bundle.packed_bytes()),
                  bundle.describe(), format_byte_size(bundle.packed_bytes()), bundle.has_profile() ? "with a" : "no");
  if (!budget) return;
  const std::uint64_t slots = std::min<std::uint64_t>(*budget / bundle.slot_bytes(), bundle.grid().size());
  json["bundle"]["slots"] = slots;
  text += fmt::format("               {} slots in {}\n", slots, format_byte_size(*budget));
}

}  // namespace

void add_inspect_command(CLI::App& app) {
  struct Options {
    std::string model;
    std::string expert_memory;
    std::vector<std::string> patterns;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("inspect", "Dimensions, parameters, the experts' share, slots of a budget");
  command->footer(
      "Example:\n  flame inspect models/switch-dialogsum-8 --expert-memory 4MiB\n  flame inspect switch-base-8");
  command->add_option("MODEL", options->model, "Checkpoint directory, config.json or preset (switch-base-8, …)")
      ->required();
  command->add_option("--expert-memory", options->expert_memory, "Count the experts that fit, for example 16MiB");
  std::vector<std::string> usual;
  for (const sparsity::Pattern& pattern : engine::usual_patterns()) usual.push_back(pattern.to_string());
  command->add_option("--pattern", options->patterns, "N:M to give an expert's bytes for, one or several")
      ->default_str(fmt::format("{}", fmt::join(usual, " ")));
  command->add_flag("--json", options->json, "One JSON object on standard output");
  command->callback([options] {
    std::optional<std::uint64_t> budget;
    if (!options->expert_memory.empty()) budget = parse_byte_size(options->expert_memory, "--expert-memory");
    std::vector<sparsity::Pattern> patterns;
    for (const std::string& pattern : options->patterns) patterns.push_back(sparsity::parse_pattern(pattern));
    if (patterns.empty()) patterns = engine::usual_patterns();
    const engine::Inspection inspection = engine::inspect(options->model, budget, patterns);
    Json json = engine::to_json(inspection);
    std::string text = engine::to_text(inspection);
    if (experts::Bundle::is_bundle(options->model)) add_bundle(options->model, budget, json, text);
    print(options->json ? flame::to_text(json) + "\n" : text);
  });
}

}  // namespace flame::cli
