#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "flame/base/byte_size.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/base/thread_pool.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/experts/bundle.h"
#include "flame/experts/pack_bundle.h"
#include "flame/options.h"
#include "flame/sparsity/prune.h"

namespace flame::cli {
namespace {

struct Options {
  std::string model;
  std::string output;
  std::string pattern = "dense";
  bool pattern_given = false;
  std::string type = "bf16";
  int int4_group = 64;
  std::string profile;
  bool replace = false;
  std::size_t threads = 0;
  bool json = false;
};

void pack(const Options& options) {
  ThreadPool::set_threads(options.threads);
  if (experts::Bundle::is_bundle(options.model)) {
    throw UsageError(fmt::format("{}: is a bundle already; pack takes a checkpoint", options.model));
  }
  experts::PackOptions pack;
  if (options.pattern != "dense") pack.patterns = sparsity::LayerPatterns::parse(options.pattern);
  if (!kernels::parse_packed_type(options.type, pack.type)) {
    throw UsageError(fmt::format("--dtype {}: use f32, bf16, int8 or int4", options.type));
  }
  pack.int4_group = static_cast<std::uint8_t>(options.int4_group);
  if (!options.profile.empty()) pack.profile = options.profile;
  pack.existing = options.replace ? io::Existing::kReplace : io::Existing::kRefuse;
  if (!options.pattern_given) {
    if (const std::optional<std::string> pruned = sparsity::recorded_pattern(options.model)) {
      warn(
          fmt::format("{}: was pruned to {}, and its zeros are stored like other weights; --pattern {} leaves them out",
                      options.model, *pruned, *pruned));
    }
  }
  const experts::PackReport report = experts::pack_bundle(options.model, options.output, pack);
  warn_of_abandoned(options.output);
  if (report.padded_matrices > 0) {
    warn(fmt::format("{} matrices of experts have rows that the M of {} does not divide; they are filled up with zeros",
                     report.padded_matrices, options.pattern));
  }
  if (report.rounded) {
    warn(fmt::format("the checkpoint's experts are {}, and bf16 rounds them; --dtype f32 keeps them as they are",
                     name_of(*report.rounded)));
  }
  if (options.json) {
    print(to_text(Json{{"output", options.output},
                       {"pattern", options.pattern},
                       {"dtype", options.type},
                       {"experts", report.experts},
                       {"expert_bytes", report.expert_bytes},
                       {"packed_bytes", report.packed_bytes},
                       {"checkpoint_bytes", report.checkpoint_bytes},
                       {"dense_bytes", report.dense_bytes},
                       {"pruned_experts", report.pruned_experts},
                       {"padded_matrices", report.padded_matrices},
                       {"bundle_bytes", report.bundle_bytes}}) +
          "\n");
    return;
  }
  print(fmt::format("{}: {}, {} in all ({} in the checkpoint); everything else {}\n", options.output,
                    experts::describe_experts(report.experts, report.expert_bytes, report.packed_bytes),
                    format_byte_size(report.packed_bytes), format_byte_size(report.checkpoint_bytes),
                    format_byte_size(report.dense_bytes)));
  if (report.pruned_experts > 0) {
    print(fmt::format("{} experts were pruned to {} by magnitude on the way (flame prune has better methods)\n",
                      report.pruned_experts, options.pattern));
  }
}

}  // namespace

void add_pack_command(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("pack", "A checkpoint to a bundle, whose experts are read one by one");
  command->footer(
      "Example:\n"
      "  flame pack models/switch-dialogsum-8 -o bundle --pattern 2:4 --dtype int8 --profile profile.json\n"
      "The format: docs/bundle.md.");
  command->add_option("MODEL", options->model, "Directory of a Hugging Face checkpoint, pruned or not")->required();
  command->add_option("-o,--output", options->output, "Directory to write")->required();
  command
      ->add_option("--pattern", options->pattern,
                   "N:M, or a list such as encoder=4:8,decoder=1:4; \"dense\" packs every weight")
      ->capture_default_str();
  command->add_option("--dtype", options->type, "Of the packed values: f32, bf16, int8 or int4")->capture_default_str();
  command->add_option("--int4-group", options->int4_group, "int4: inputs that share a scale, 32 or 64")
      ->check(CLI::IsMember({32, 64}))
      ->capture_default_str();
  command->add_option("--profile", options->profile, "A profile of this checkpoint, for the predictors");
  command->add_flag("--replace", options->replace, "Replace the output directory when it is there");
  command->add_option("--threads", options->threads, "Threads that compute (default: every processor)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--json", options->json, "One JSON object on standard output");
  command->callback([options, command] {
    options->pattern_given = command->count("--pattern") > 0;
    if (options->type != "int4") refuse_flags(*command, {"--int4-group"}, "without --dtype int4");
    pack(*options);
  });
}

}  // namespace flame::cli
