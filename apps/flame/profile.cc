#include "flame/routing/profile.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <fstream>
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
#include "flame/io/checkpoint.h"
#include "flame/model/config.h"
#include "flame/model/weights.h"
#include "flame/routing/distributed.h"
#include "flame/routing/fit.h"
#include "flame/routing/trace.h"

namespace flame::cli {
namespace {

struct ProfileOptions {
  std::vector<std::string> inputs;
  std::string output;
  bool merge = false;
  bool show = false;
  bool fit = false;
  std::uint32_t fit_context = 4;
  std::string model;
  std::optional<std::uint32_t> order, depth, token_order;
  std::vector<std::uint32_t> heat_map;
  bool json = false;
};

/// A profile begins with a brace, a trace (safetensors) with eight bytes of a length far below 2^56.
bool is_profile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw FileError(path, "cannot be opened", errno);
  return file.peek() == '{';
}

void check(const ProfileOptions& options) {
  if (options.output.empty() && !options.show) throw UsageError("nothing to do: give -o PROFILE, or --show");
  if (!options.heat_map.empty() && !options.show) throw UsageError("--heat-map has no effect without --show");
  if (options.json && !options.show) throw UsageError("--json has no effect without --show");
  if (!options.model.empty() && !options.fit) throw UsageError("--model has no effect without --fit");
  const auto profiles = std::count_if(options.inputs.begin(), options.inputs.end(), is_profile);
  const bool all = profiles == static_cast<std::ptrdiff_t>(options.inputs.size());
  if (profiles > 0 && !all) throw UsageError("traces and profiles cannot be mixed: count the traces first");
  if (options.merge && !all) throw UsageError("--merge takes profiles; traces are counted without it");
  if (all && !options.merge && options.inputs.size() > 1) throw UsageError("several profiles: say --merge");
  if (all && (options.fit || options.order || options.depth || options.token_order)) {
    throw UsageError("--fit, --order, --depth and --token-order have no effect on profiles, only on traces");
  }
}

routing::ProfileOptions counting_options(const ProfileOptions& options, std::uint32_t experts) {
  routing::ProfileOptions wanted;
  if (options.order) wanted.max_order = *options.order;
  if (options.depth) wanted.max_depth = *options.depth;
  if (options.token_order) wanted.token_order = *options.token_order;
  // What was asked for is taken at its word; only the defaults bend to what a key has room for.
  if (options.order || options.depth || options.token_order) return wanted;
  return routing::fitting_options(wanted, experts);
}

std::vector<routing::LinearMap> load_routers(const std::string& path, std::uint32_t depth) {
  if (path.empty()) return {};
  const auto checkpoint = std::make_shared<const io::Checkpoint>(io::Checkpoint::open(path));
  return routing::router_maps(model::load_dense_weights(checkpoint, model::load_config(path)), depth);
}

/// Counts the traces whose turn it is in this process.
std::optional<routing::Profile> count_traces(const ProfileOptions& options, const routing::Distribution& processes) {
  std::optional<routing::Profile> profile;
  Progress progress("profiling", options.inputs.size());
  for (std::size_t i = processes.rank(); i < options.inputs.size(); i += processes.size()) {
    const routing::Trace trace = routing::read_trace(options.inputs[i]);
    if (!profile) profile.emplace(trace.info, counting_options(options, trace.info.experts));
    profile->add(trace);
    progress.set(i + 1);
  }
  return profile;
}

routing::Fitted fit(const ProfileOptions& options, const routing::Profile& profile) {
  routing::Trace all;
  for (const std::string& input : options.inputs) {
    routing::Trace trace = routing::read_trace(input, {.hidden = true, .approach = true});
    if (all.decoder.steps() == 0) {
      all = std::move(trace);
    } else {
      all.append(trace);
    }
  }
  const std::uint32_t context = std::min(options.fit_context, profile.options().max_order);
  return routing::fit(all, profile.options(), context, load_routers(options.model, profile.options().max_depth));
}

void profile(const ProfileOptions& options) {
  check(options);
  std::optional<routing::Profile> result;
  if (is_profile(options.inputs.front())) {
    for (const std::string& input : options.inputs) {
      routing::Profile part = routing::Profile::read(input);
      if (result) {
        result->merge(part);
      } else {
        result = std::move(part);
      }
    }
  } else {
    const routing::Distribution processes;
    result = processes.gather(count_traces(options, processes));
    if (processes.rank() > 0) return;
    if (options.fit) result->set_fitted(fit(options, *result));
  }
  if (!options.output.empty()) {
    result->write(options.output);
    note(fmt::format("{}: {} examples, {} decoder steps", options.output, result->examples(), result->steps()));
  }
  if (!options.show) return;
  std::optional<eval::LayerPair> pair;
  if (!options.heat_map.empty()) pair = {options.heat_map[0], options.heat_map[1]};
  print(options.json ? to_text(eval::path_report_json(*result, pair)) + "\n" : eval::path_report_text(*result, pair));
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
  command->add_option("--order", options->order, "Longest context m counted (default 6)")->check(CLI::Range(1, 32));
  command->add_option("--depth", options->depth, "Furthest layer ahead counted (default 3)")->check(CLI::Range(1, 3));
  command->add_option("--token-order", options->token_order, "Experts joined to the fed token (default 1)")
      ->check(CLI::Range(0, 1));
  command->add_flag("--fit", options->fit,
                    "Also fit what is learned: mixtures, and maps of hidden states of traces made with --hidden");
  command->add_option("--fit-context", options->fit_context, "With --fit: the order m of the mixtures' parts")
      ->check(CLI::Range(1, 32))
      ->capture_default_str();
  command->add_option("--model", options->model, "With --fit: the checkpoint whose routers next-router applies");
  command->add_flag("--json", options->json, "With --show: as a JSON object");
  command->callback([options] { profile(*options); });
}

}  // namespace flame::cli
