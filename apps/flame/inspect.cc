#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "flame/base/byte_size.h"
#include "flame/base/json.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/engine/inspection.h"

namespace flame::cli {

void add_inspect_command(CLI::App& app) {
  struct Options {
    std::string model;
    std::string expert_memory;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("inspect", "Dimensions, parameters, the experts' share, slots of a budget");
  command->footer(
      "Example:\n  flame inspect models/switch-dialogsum-8 --expert-memory 4MiB\n  flame inspect switch-base-8");
  command->add_option("MODEL", options->model, "Checkpoint directory, config.json or preset (switch-base-8, …)")
      ->required();
  command->add_option("--expert-memory", options->expert_memory, "Count the experts that fit, for example 16MiB");
  command->add_flag("--json", options->json, "One JSON object on standard output");
  command->callback([options] {
    std::optional<std::uint64_t> budget;
    if (!options->expert_memory.empty()) budget = parse_byte_size(options->expert_memory, "--expert-memory");
    const engine::Inspection inspection = engine::inspect(options->model, budget);
    print(options->json ? flame::to_text(engine::to_json(inspection)) + "\n" : engine::to_text(inspection));
  });
}

}  // namespace flame::cli
