#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "flame/base/byte_size.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/base/thread_pool.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/eval/buffer.h"
#include "flame/experts/predictor_choice.h"
#include "flame/experts/stored_loader.h"
#include "flame/options.h"
#include "flame/routing/predictor.h"

namespace flame::cli {
namespace {

struct Options {
  std::string trace;
  std::string profile;
  std::vector<std::string> predictors{"cepr", "incremental", "popularity", "lru", "none", "oracle", "belady"};
  std::vector<std::uint32_t> contexts;  // empty: 1 to 6, as far as the profile counted
  std::vector<std::size_t> slots;
  std::vector<std::string> modes{"paper", "runtime"};
  std::string replacement = "next-use";
  bool speculate_always = false;
  std::vector<std::string> expert_bytes;  // empty: a load takes as long as the gap
  std::string bandwidth = "1GB/s";
  double latency_us = 100.0;
  double compute_us = 300.0;
  double gap_us = 2000.0;
  std::size_t foreseen = 0;
  bool skip_overlapping = false;
  std::size_t threads = 0;
  bool json = false;
};

/// What "auto" stands for with this profile; any other name stands for itself.
std::string chosen(const std::string& predictor, const routing::Profile& profile) {
  if (predictor != "auto") return predictor;
  return experts::choose_predictor(predictor, experts::Replacement::kNextUse, &profile).predictor;
}

/// The m to replay a predictor with; 0 where it has none. "auto" has one, as when generating: what was asked for, or 3.
std::vector<std::uint32_t> orders_of(const std::string& predictor, const Options& options,
                                     const std::vector<std::uint32_t>& all, const routing::Profile& profile) {
  if (!routing::has_order(chosen(predictor, profile))) return {0};
  if (predictor == "auto" && options.contexts.empty()) return {experts::context_of(std::nullopt, profile)};
  return all;
}

/// Throws UsageError for options that change nothing of what is replayed.
void check_effect(const Options& options, const routing::Profile& profile) {
  const auto& predictors = options.predictors;
  const bool ordered = std::any_of(predictors.begin(), predictors.end(),
                                   [&](const std::string& name) { return routing::has_order(chosen(name, profile)); });
  if (!options.contexts.empty() && !ordered) {
    throw UsageError("--context has no effect without cepr, incremental, backoff or online");
  }
  const bool runtime = std::find(options.modes.begin(), options.modes.end(), "runtime") != options.modes.end();
  const bool forecasts = std::any_of(predictors.begin(), predictors.end(), [&](const std::string& name) {
    const std::string predictor = chosen(name, profile);
    return predictor != "random" && routing::is_causal(predictor) &&
           !experts::choose_predictor(predictor, experts::Replacement::kNextUse, &profile).predictor.empty();
  });
  if (options.foreseen > 0 && !(runtime && forecasts)) {
    throw UsageError("--foreseen has no effect but in runtime mode, with a predictor that makes forecasts");
  }
  const experts::Replacement asked = experts::parse_replacement(options.replacement);
  const bool replaces = std::any_of(predictors.begin(), predictors.end(), [&](const std::string& name) {
    return name != "belady" && experts::choose_predictor(name, asked, &profile).replacement == asked;
  });
  if (asked != eval::BufferCase().replacement && !replaces) {
    throw UsageError(fmt::format("--replacement {} has no effect: {} stand{} for a replacement itself",
                                 options.replacement, fmt::join(predictors, ", "), predictors.size() == 1 ? "s" : ""));
  }
}

std::vector<eval::BufferCase> cases_of(const Options& options, const routing::Trace& trace,
                                       const routing::Profile& profile) {
  std::vector<std::uint32_t> all_contexts = options.contexts;
  if (all_contexts.empty()) {
    for (std::uint32_t m = 1; m <= std::min(6U, profile.options().max_order); ++m) all_contexts.push_back(m);
  }
  const std::size_t all = (std::size_t{trace.info.encoder_layers} + trace.info.decoder_layers) * trace.info.experts;
  const bool paper = std::find(options.modes.begin(), options.modes.end(), "paper") != options.modes.end();
  const std::size_t most = paper ? trace.info.experts : all;
  for (const std::size_t slots : options.slots) {
    if (slots <= most) continue;
    throw UsageError(fmt::format("--slots {}: {}", slots,
                                 paper ? fmt::format("in paper mode they are of each layer, which has {} experts", most)
                                       : fmt::format("the model has {} experts", most)));
  }
  std::vector<std::size_t> runtime_slots = options.slots;
  std::vector<std::size_t> paper_slots = options.slots;
  if (options.slots.empty()) {
    for (std::size_t slots = 1; slots <= trace.info.experts; ++slots) paper_slots.push_back(slots);
    for (std::size_t eighth = 1; eighth <= 8; ++eighth) {
      const std::size_t slots = std::max<std::size_t>(1, all * eighth / 8);
      if (runtime_slots.empty() || runtime_slots.back() != slots) runtime_slots.push_back(slots);
    }
  }
  const double bandwidth = parse_bandwidth(options.bandwidth, "--bandwidth");
  std::vector<double> sizes;  // 0: not given; the replay then tells hit ratios at a load time of the gap
  for (const std::string& bytes : options.expert_bytes) {
    sizes.push_back(static_cast<double>(parse_byte_size(bytes, "--expert-bytes")));
    if (sizes.back() == 0.0) throw UsageError(fmt::format("--expert-bytes {}: no expert is as small", bytes));
  }
  if (sizes.empty()) sizes.push_back(0.0);
  const auto held_up = static_cast<double>(experts::StoredLoader::chunk_bytes().at(bandwidth));
  std::vector<eval::BufferCase> cases;
  for (const std::string& mode : options.modes) {
    if (mode != "paper" && mode != "runtime") throw UsageError(fmt::format("--mode {}: use paper or runtime", mode));
    for (const double size : sizes) {
      eval::BufferTimes times;
      times.load = size > 0.0 ? size / bandwidth + options.latency_us * 1e-6 : options.gap_us * 1e-6;
      times.chunk = size > 0.0 ? std::min(times.load, held_up / bandwidth) : times.load / 20;
      times.compute = options.compute_us * 1e-6;
      times.gap = options.gap_us * 1e-6;
      for (const std::string& predictor : options.predictors) {
        if (mode == "paper" && predictor == "none") continue;
        const std::vector<std::uint32_t> contexts = orders_of(predictor, options, all_contexts, profile);
        for (const std::uint32_t context : contexts) {
          for (const std::size_t slots : mode == "paper" ? paper_slots : runtime_slots) {
            eval::BufferCase setting;
            setting.predictor = predictor;
            setting.context = context;
            setting.slots = slots;
            setting.mode = mode == "paper" ? eval::BufferMode::kPaper : eval::BufferMode::kRuntime;
            setting.replacement = experts::parse_replacement(options.replacement);
            setting.speculate_always = options.speculate_always;
            setting.foreseen = options.foreseen;
            setting.times = times;
            cases.push_back(setting);
          }
        }
      }
    }
  }
  if (cases.empty()) throw UsageError("--predictor none --mode paper: none names no experts, so nothing is replayed");
  return cases;
}

void evaluate(const Options& options) {
  ThreadPool::set_threads(options.threads);
  const routing::Profile profile = routing::Profile::read(options.profile);
  routing::Trace trace = routing::read_trace(options.trace, eval::states_for(options.predictors, profile));
  profile.require_model(trace.info);
  check_effect(options, profile);
  const std::vector<std::uint64_t> fingerprints = routing::example_fingerprints(trace);
  const std::size_t shared = profile.overlap(fingerprints);
  if (shared > 0 && !options.skip_overlapping) {
    throw UsageError(
        fmt::format("{} examples of {} are in the profile: a predictor is judged on examples it has not seen; replay "
                    "others, or leave "
                    "these out with --skip-overlapping",
                    shared, options.trace));
  }
  if (shared > 0) {
    if (shared == fingerprints.size()) {
      throw UsageError(fmt::format("every example of {} is in the profile: none is left to replay", options.trace));
    }
    std::vector<bool> keep;
    for (const std::uint64_t fingerprint : fingerprints) keep.push_back(!profile.contains(fingerprint));
    trace = routing::select_examples(trace, keep);
    note(fmt::format("{} examples that the profile counted are left out", shared));
  }
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<eval::BufferResult> results =
      eval::replay_buffer(trace, profile, cases_of(options, trace, profile));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::uint64_t steps = 0;
  for (const eval::BufferResult& result : results) steps += result.steps;
  note(fmt::format("{} settings, {} steps in {:.3f} s: {:.3g} million steps a second", results.size(), steps, seconds,
                   1e-6 * static_cast<double>(steps) / seconds));
  if (options.json) {
    Json list = Json::array();
    for (const eval::BufferResult& result : results) list.push_back(eval::to_json(result));
    print(to_text(Json{{"trace", options.trace},
                       {"profile", options.profile},
                       {"overlapping_examples_left_out", shared},
                       {"results", list}}) +
          "\n");
    return;
  }
  print(fmt::format("{:<8} {:<14} {:>2} {:>6} {:>8} {:>8} {:>8} {:>10} {:>12}\n", "mode", "predictor", "m", "slots",
                    "hit", "late", "miss", "load ms", "ms a token"));
  for (const eval::BufferResult& result : results) {
    const double lookups = static_cast<double>(std::max<std::uint64_t>(1, result.decoder.all()));
    print(fmt::format("{:<8} {:<14} {:>2} {:>6} {:>7.2f}% {:>7.2f}% {:>7.2f}% {:>10.3f} {:>12.3f}\n",
                      result.setting.mode == eval::BufferMode::kPaper ? "paper" : "runtime", result.setting.predictor,
                      result.setting.context == 0 ? "–" : std::to_string(result.setting.context), result.setting.slots,
                      100.0 * result.hit_ratio(), 100.0 * static_cast<double>(result.decoder.late) / lookups,
                      100.0 * static_cast<double>(result.decoder.misses) / lookups, 1e3 * result.setting.times.load,
                      1e3 * result.latency_seconds));
  }
}

}  // namespace

void add_eval_buffer_command(CLI::App& eval) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = eval.add_subcommand("buffer", "Replays a trace through the expert buffer in simulated time");
  command->footer(
      "Example:\n"
      "  flame eval buffer test.trace --profile profile.json --predictor cepr lru belady --slots 12 24 48\n"
      "Latency against slots and sparsity (packed bytes of an expert at each pattern):\n"
      "  flame eval buffer test.trace --profile profile.json --mode runtime --expert-bytes 4.7MB 2.95MB 1.5MB "
      "--bandwidth 1GB/s");
  command->add_option("TRACE", options->trace, "A trace of flame trace")->required();
  command->add_option("--profile", options->profile, "A profile of other examples of the same model")->required();
  command
      ->add_option("--predictor", options->predictors,
                   "Predictors of routing; none, lru, lifo (demand loads only); the bounds oracle and belady")
      ->capture_default_str();
  command
      ->add_option("--context", options->contexts,
                   "m: experts that cepr, incremental, … look back on (default: 1 to 6, as far as the profile counted; "
                   "of auto: 3)")
      ->check(CLI::Range(1, 16));
  command->add_option("--slots", options->slots, "Paper mode: of each layer (default 1 … E); runtime: in all (eighths)")
      ->check(above_zero());
  command->add_option("--mode", options->modes, "paper, runtime")->capture_default_str();
  command
      ->add_option("--replacement", options->replacement,
                   fmt::format("{}", fmt::join(experts::replacement_names(), ", ")))
      ->capture_default_str();
  command->add_flag("--speculate-always", options->speculate_always, "Load ahead without asking whether it pays");
  command
      ->add_option(
          "--foreseen", options->foreseen,
          "What surer forecasts would bring, in runtime mode: what will not come is struck out, and what comes is "
          "foreseen where it is among so many first")
      ->check(above_zero());
  command->add_option("--expert-bytes", options->expert_bytes, "Packed bytes of one expert, one or several");
  command->add_option("--bandwidth", options->bandwidth, "Of the storage")->capture_default_str();
  const CLI::Validator microseconds = between(0.0, 1e9);
  command->add_option("--latency-us", options->latency_us, "Of the storage")
      ->check(microseconds)
      ->capture_default_str();
  command->add_option("--compute-us", options->compute_us, "One expert for one token")
      ->check(microseconds)
      ->capture_default_str();
  command->add_option("--gap-us", options->gap_us, "Dense layers between two MoE layers")
      ->check(microseconds)
      ->capture_default_str();
  command->add_flag("--skip-overlapping", options->skip_overlapping,
                    "Leave out examples that the profile counted, instead of refusing the trace");
  command->add_option("--threads", options->threads, "Threads (default: every processor)")->check(CLI::Range(1, 1024));
  command->add_flag("--json", options->json, "One JSON object on standard output");
  command->callback([options, command] {
    if (command->count("--expert-bytes") == 0) {
      refuse_flags(*command, {"--bandwidth", "--latency-us"},
                   "without --expert-bytes: a load then takes as long as --gap-us");
    }
    if (std::find(options->modes.begin(), options->modes.end(), "runtime") == options->modes.end()) {
      refuse_flags(*command, {"--replacement", "--speculate-always"}, "without --mode runtime");
    }
    evaluate(*options);
  });
}

}  // namespace flame::cli
