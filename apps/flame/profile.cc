#include "flame/routing/profile.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/base/progress.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/eval/path_report.h"
#include "flame/io/atomic_output.h"
#include "flame/io/file.h"
#include "flame/options.h"
#include "flame/routing/distributed.h"
#include "flame/routing/profiling.h"

namespace flame::cli {
namespace {

struct ProfileOptions {
  std::vector<std::filesystem::path> inputs;
  std::string output;
  bool merge = false;
  bool show = false;
  bool fit = false;
  std::optional<std::uint32_t> fit_context;
  std::optional<std::filesystem::path> model;
  routing::CountingRequest counting;
  std::vector<std::uint32_t> heat_map;
  bool json = false;
};

/// A profile is replaced by a profile, and nothing else is: not a trace that took hours, nor a model's weights.
void check_target(const ProfileOptions& options) {
  io::require_file_target(options.output);
  std::vector<std::filesystem::path> sources = options.inputs;
  if (options.model) sources.push_back(*options.model);
  check_output_files({options.output}, sources);
  if (!io::FileSystem::real().exists(options.output)) return;
  try {
    static_cast<void>(routing::Profile::read(options.output));
  } catch (const FormatError&) {
    throw UsageError(
        fmt::format("{}: is there already and is no profile; remove it or name another file", options.output));
  }
}

void check(const ProfileOptions& options) {
  if (options.output.empty() && !options.show) throw UsageError("nothing to do: give -o PROFILE, or --show");
  if (!options.heat_map.empty() && !options.show) throw UsageError("--heat-map has no effect without --show");
  if (options.model && !options.fit) throw UsageError("--model has no effect without --fit");
  if (options.fit_context && !options.fit) throw UsageError("--fit-context has no effect without --fit");
  if (!options.output.empty()) check_target(options);
  const auto profiles = std::count_if(options.inputs.begin(), options.inputs.end(), routing::is_profile_file);
  const bool all = profiles == static_cast<std::ptrdiff_t>(options.inputs.size());
  if (profiles > 0 && !all) throw UsageError("traces and profiles cannot be mixed: count the traces first");
  if (options.merge && !all) throw UsageError("--merge takes profiles; traces are counted without it");
  if (all && !options.merge && options.inputs.size() > 1) throw UsageError("several profiles: say --merge");
  if (all && (options.fit || options.counting.order || options.counting.depth || options.counting.token_order)) {
    throw UsageError("--fit, --order, --depth and --token-order have no effect on profiles, only on traces");
  }
}

void profile(const ProfileOptions& options) {
  std::optional<routing::Profile> result;
  if (routing::is_profile_file(options.inputs.front())) {
    result = routing::merge_profiles(options.inputs);
  } else {
    const routing::Distribution processes;
    Progress progress("profiling", options.inputs.size());
    result = routing::profile_traces(options.inputs, options.counting, processes,
                                     [&](std::size_t done) { progress.set(done); });
    if (!result) return;  // another process of a parallel run has the whole
    progress.finish();
    if (options.fit) routing::fit_traces(options.inputs, options.fit_context, options.model, *result);
  }
  Json json = Json::object();
  if (!options.output.empty()) {
    result->write(options.output);
    note(fmt::format("{}: {} examples, {} decoder steps", options.output, result->examples(), result->steps()));
  }
  std::optional<eval::LayerPair> pair;
  if (!options.heat_map.empty()) pair = {options.heat_map[0], options.heat_map[1]};
  if (options.json) {
    if (options.show) json = eval::path_report_json(*result, pair);
    if (!options.output.empty()) json["output"] = options.output;
    json["examples"] = result->examples();
    json["steps"] = result->steps();
    print(to_text(json) + "\n");
  } else if (options.show) {
    print(eval::path_report_text(*result, pair));
  }
}

}  // namespace

void add_profile_command(CLI::App& app) {
  const auto options = std::make_shared<ProfileOptions>();
  CLI::App* command = app.add_subcommand("profile", "Counts traces into the tables that predictors are made from");
  command->footer(
      "Examples:\n"
      "  flame profile train.trace -o train.profile --fit\n"
      "  flame profile --merge part1.profile part2.profile -o whole.profile\n"
      "  flame profile --show train.profile --heat-map 1,2\n"
      "Built with OpenMPI, `mpirun flame profile T1 T2 ... -o P` shares the traces out and writes the same profile.");
  command->add_option("FILES", options->inputs, "Traces, or profiles with --merge or --show")->required();
  command->add_option("-o,--output", options->output, "The profile to write");
  command->add_flag("--merge", options->merge, "FILES are profiles of parts: add them up");
  command->add_flag("--show", options->show, "Print how skewed the expert activation paths are");
  command
      ->add_option("--heat-map", options->heat_map,
                   "With --show: P(expert of the second layer | expert of the first), for a pair A,B")
      ->delimiter(',')
      ->expected(2);
  command->add_option("--order", options->counting.order, "Longest context m counted (default 6)")
      ->check(CLI::Range(1, 32));
  command->add_option("--depth", options->counting.depth, "Furthest layer ahead counted (default 3)")
      ->check(CLI::Range(1, 3));
  command->add_option("--token-order", options->counting.token_order, "Experts joined to the fed token (default 1)")
      ->check(CLI::Range(0, 1));
  command->add_flag("--fit", options->fit,
                    "Also fit what is learned: mixtures, and maps of hidden states of traces made with --hidden");
  command
      ->add_option("--fit-context", options->fit_context,
                   "With --fit: the order m of the mixtures' parts (default: 4, or what is counted where that is less)")
      ->check(CLI::Range(1, 32));
  command->add_option("--model", options->model, "With --fit: the checkpoint whose routers next-router applies");
  command->add_flag("--json", options->json, "What was counted, with --show how skewed it is, as a JSON object");
  command->callback([options] {
    check(*options);
    profile(*options);
  });
}

}  // namespace flame::cli
