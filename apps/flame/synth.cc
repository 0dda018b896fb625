#include "flame/model/synth.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "flame/base/byte_size.h"
#include "flame/base/data_type.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/base/progress.h"
#include "flame/base/thread_pool.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/io/file.h"
#include "flame/model/inspect.h"
#include "flame/text/sentencepiece_model.h"

namespace flame::cli {
namespace {

struct SynthCommand {
  std::string config;
  std::string output;
  std::string type = "bf16";
  std::uint64_t seed = 0;
  std::string shard_size = "5GB";
  std::string tokenizer;
  std::size_t threads = 0;
  bool json = false;
};

void synth(const SynthCommand& command) {
  ThreadPool::set_threads(command.threads);
  const model::SwitchConfig config = model::load_config_or_preset(command.config);
  model::SynthOptions options;
  options.type = command.type == "f32" ? DataType::kF32 : command.type == "f16" ? DataType::kF16 : DataType::kBF16;
  options.seed = command.seed;
  options.shard_bytes = parse_byte_size(command.shard_size, "--shard-size");
  if (options.shard_bytes == 0) throw UsageError("--shard-size: expected a size above 0, found " + command.shard_size);
  if (!command.tokenizer.empty()) {
    // A checkpoint that no command could read is not worth gigabytes.
    static_cast<void>(text::read_sentencepiece_model(io::read_file(command.tokenizer), command.tokenizer));
    options.tokenizer = command.tokenizer;
  }

  std::optional<Progress> progress;
  std::uint64_t written = 0;
  model::synthesise(config, command.output, options, [&](std::uint64_t done, std::uint64_t total) {
    if (!progress) progress.emplace("writing " + command.output, total, ProgressUnit::kBytes);
    progress->set(done);
    written = total;
  });
  if (progress) progress->finish();
  if (command.json) {
    print(to_text(Json{{"output", command.output},
                       {"bytes", written},
                       {"dtype", command.type},
                       {"seed", command.seed},
                       {"parameters", model::count_parameters(config).total()}}) +
          "\n");
    return;
  }
  note(fmt::format("{}: {} of random weights ({}, seed {})", command.output, format_byte_size(written), command.type,
                   command.seed));
}

}  // namespace

void add_synth_command(CLI::App& app) {
  const auto options = std::make_shared<SynthCommand>();
  CLI::App* command = app.add_subcommand("synth", "A checkpoint of any size with random weights, for measuring");
  command->footer("Example:\n  flame synth switch-base-8 -o /tmp/switch-base-8 --dtype bf16 --seed 1");
  command->add_option("CONFIG", options->config, "config.json, or a preset: " + model::preset_names())->required();
  command->add_option("-o,--output", options->output, "Directory to make; must not exist")->required();
  command->add_option("--dtype", options->type, "Type of all weights")
      ->check(CLI::IsMember({"bf16", "f16", "f32"}))
      ->capture_default_str();
  command->add_option("--seed", options->seed, "The same seed gives the same bytes")->capture_default_str();
  command->add_option("--shard-size", options->shard_size, "Larger checkpoints are cut into shards of this size")
      ->capture_default_str();
  command->add_option("--tokenizer", options->tokenizer, "A spiece.model to copy along");
  command->add_option("--threads", options->threads, "Threads (default: every processor)")->check(CLI::Range(1, 1024));
  command->add_flag("--json", options->json, "What was written, as a JSON object");
  command->callback([options] { synth(*options); });
}

}  // namespace flame::cli
