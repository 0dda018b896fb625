#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flame/accel/kernel_limits.h"
#include "flame/base/byte_size.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/base/progress.h"
#include "flame/base/thread_pool.h"
#include "flame/bench_accelerator.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/device_options.h"
#include "flame/eval/latency.h"
#include "flame/eval/packed_bundles.h"
#include "flame/eval/route_trace.h"
#include "flame/experts/buffer_checks.h"
#include "flame/experts/bundle.h"
#include "flame/experts/predictor_choice.h"
#include "flame/io/atomic_output.h"
#include "flame/io/file.h"
#include "flame/model/config.h"
#include "flame/model/synth.h"
#include "flame/options.h"
#include "flame/routing/profile.h"

namespace flame::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string model;
  std::vector<std::string> patterns{"2:4"};
  std::string type = "int8";
  std::string dense_type = "int8";
  std::vector<std::string> budgets{"25%"};
  std::vector<std::string> configurations;
  std::string predictor = "cepr";
  std::optional<std::uint32_t> context;
  std::string profile;
  std::string route_trace;
  std::string work;
  std::string bandwidth;
  double latency_us = 0.0;
  std::string storage = "auto";
  eval::LatencyOptions run;
  std::size_t threads = 0;
  std::string device = "cpu";
  std::string lanes = "256";
  bool transactions = false;
  std::size_t prefetches = 2;
  std::size_t warm_up = 10;
  bool moe_only = false;
  bool keep_popular = false;
  bool no_overlap = false;
  bool resident = false;
  std::vector<std::size_t> slots;
  bool json = false;
};

constexpr const char* kOnDemand = "ladder 1: on demand";
constexpr const char* kReading = "resident, reading";
/// What --only may name, in the order of the table.
constexpr std::array<const char*, 11> kConfigurations = {"neither",
                                                         "CEPR",
                                                         "N:M",
                                                         "both",
                                                         kReading,
                                                         "resident",
                                                         "mapped",
                                                         kOnDemand,
                                                         "ladder 2: packed",
                                                         "ladder 3: loaded ahead",
                                                         "ladder 4: kept"};
/// Those that run dense experts, which a bundle that is given does not have beside its own.
constexpr std::array<const char*, 3> kDenseConfigurations = {"neither", "CEPR", kOnDemand};
/// Those that load ahead with --predictor.
constexpr std::array<const char*, 4> kPredicting = {"CEPR", "both", "ladder 3: loaded ahead", "ladder 4: kept"};

constexpr double kLongestLatency = 1e9;  // microseconds, as flame eval buffer takes

io::Throttle throttle_of(const std::string& bandwidth, double latency_us) {
  io::Throttle throttle;
  if (!bandwidth.empty()) throttle.bytes_per_second = parse_bandwidth(bandwidth, "--storage-bandwidth");
  throttle.latency_seconds = latency_us * 1e-6;
  return throttle;
}

/// The routing to force, and the profile that goes with it: the first half of the trace's examples is profiled, the
/// second half is run.
struct Routing {
  std::shared_ptr<const routing::Trace> run;
  fs::path profile;
};

/// Throws UsageError when something is at `path` that no run of this command has made.
void require_own_profile(const fs::path& path) {
  if (!io::FileSystem::real().exists(path)) return;
  bool ours = false;
  try {
    ours = routing::Profile::read(path).model().model.find(eval::kRoutedAs) != std::string::npos;
  } catch (const FormatError&) {  // it is no profile
  }
  if (!ours) {
    throw UsageError(
        fmt::format("{}: was not made by flame bench, which would replace it: name another --work", path.string()));
  }
}

/// Throws UsageError for a working directory that is a model of its own: bundles and a profile are put there.
void require_working_directory(const std::string& work) {
  io::require_directory_target(work);
  if (!experts::Bundle::is_bundle(work) && !io::FileSystem::real().exists(fs::path(work) / "config.json")) return;
  throw UsageError(fmt::format("--work {}: is a model itself; name a directory that keeps the bundles", work));
}

/// `predictor`: of the configurations that will run.
Routing prepare_routing(const Options& options, const std::string& predictor, const fs::path& work) {
  if (options.route_trace.empty()) return {nullptr, options.profile};
  const model::SwitchConfig config = model::load_config_or_preset(options.model);
  // Hidden states are many times the rest: read only for those that look at them.
  const bool states = eval::looks_at_states(predictor);
  const routing::Trace trace = routing::read_trace(options.route_trace, {.hidden = states, .approach = states});
  if (trace.info.experts < config.num_experts) {
    const std::string what = fmt::format(
        "--route-trace: the trace chooses among {} experts a layer, {} has {}: the others "
        "are never asked for",
        trace.info.experts, options.model, config.num_experts);
    if (options.device == "fpga-sim") {
      throw UsageError(what +
                       ", so that cycles and hits would be a smaller model's; give a trace of a model with as many");
    }
    warn(what + ", and hit ratios are those of a smaller model");
  }
  eval::RouteRequest request;
  request.model.model = options.model;
  request.model.experts = config.num_experts;
  request.model.encoder_layers = config.moe_layers(model::Stack::kEncoder);
  request.model.decoder_layers = config.moe_layers(model::Stack::kDecoder);
  request.model.d_model = config.d_model;
  request.model.vocabulary = config.vocab_size;
  request.predictor = predictor;
  std::optional<routing::Profile> given;
  if (!options.profile.empty()) request.profile = &given.emplace(routing::Profile::read(options.profile));
  const eval::RoutedRun routed = eval::route_as(trace, request);
  for (const std::string& warning : routed.warnings) warn(warning);
  Routing routing{routed.run, options.profile};
  if (routed.profile) {
    routing.profile = work / "profile.json";
    require_own_profile(routing.profile);
    routed.profile->write(routing.profile);
  }
  return routing;
}

kernels::PackedType packed_type(const std::string& option, const std::string& name) {
  kernels::PackedType type = kernels::PackedType::kInt8;
  if (!kernels::parse_packed_type(name, type)) {
    throw UsageError(fmt::format("{} {}: use f32, bf16, int8 or int4", option, name));
  }
  return type;
}

experts::BufferOptions buffer_for(const Options& options, std::uint64_t budget, bool predicted) {
  experts::BufferOptions buffer;
  buffer.budget_bytes = budget;
  buffer.predictor = predicted ? options.predictor : "lru";
  buffer.context = options.context;
  buffer.storage = io::parse_storage_backend(options.storage);
  buffer.throttle = throttle_of(options.bandwidth, options.latency_us);
  return buffer;
}

bool wanted(const Options& options, const std::string& configuration) {
  return options.configurations.empty() || std::find(options.configurations.begin(), options.configurations.end(),
                                                     configuration) != options.configurations.end();
}

/// What runs only when it is asked for.
bool named(const Options& options, const std::string& configuration) {
  return !options.configurations.empty() && wanted(options, configuration);
}

/// Some of the configurations that predict will run, and with a predictor.
bool predicts(const Options& options) {
  return options.predictor != "lru" &&
         std::any_of(kPredicting.begin(), kPredicting.end(), [&](const char* name) { return wanted(options, name); });
}

bool runs_dense(const Options& options) {
  return std::any_of(kDenseConfigurations.begin(), kDenseConfigurations.end(),
                     [&](const char* name) { return wanted(options, name); });
}

std::vector<eval::LatencyCase> cases_of(const Options& options, const fs::path& profile) {
  std::vector<eval::LatencyCase> cases;
  const auto add = [&](const std::string& configuration, const fs::path& bundle, experts::BufferOptions buffer) {
    if (wanted(options, configuration)) cases.push_back({configuration, bundle, std::move(buffer)});
  };
  const bool given = experts::Bundle::is_bundle(options.model);
  std::optional<eval::PackedBundles> bundles;
  fs::path dense;
  if (!given) {
    bundles.emplace(options.model, options.work, profile);
    if (runs_dense(options)) dense = bundles->get("dense", packed_type("--dense-dtype", options.dense_type));
  }
  const bool in_budget = wanted(options, "N:M") || wanted(options, "both") || wanted(options, "ladder 4: kept");
  const bool dense_in_budget = !dense.empty() && (wanted(options, "neither") || wanted(options, "CEPR"));
  const std::uint64_t one_dense = dense_in_budget ? experts::Bundle::open(dense).slot_bytes() : 0;
  for (const std::string& pattern : options.patterns) {
    const fs::path packed =
        given ? fs::path(options.model) : bundles->get(pattern, packed_type("--dtype", options.type));
    const experts::Bundle bundle = experts::Bundle::open(packed);
    for (const std::string& text : options.budgets) {
      const std::uint64_t budget = parse_byte_budget(text, bundle.packed_bytes(), "--budget");
      if (const std::uint64_t one = std::max(in_budget ? bundle.slot_bytes() : 0, one_dense); budget < one) {
        throw UsageError(fmt::format("--budget {}: is {}, and one expert takes {}: give at least that", text,
                                     format_byte_size(budget), format_byte_size(one)));
      }
      if (!given) {
        add("neither", dense, buffer_for(options, budget, false));
        add("CEPR", dense, buffer_for(options, budget, true));
      }
      add("N:M", packed, buffer_for(options, budget, false));
      add("both", packed, buffer_for(options, budget, true));
      // Only when asked for: its experts take memory beside those of "resident".
      if (named(options, kReading)) {
        cases.push_back({kReading, packed, buffer_for(options, bundle.packed_bytes(), false), true});
      }
    }
    add("resident", packed, buffer_for(options, bundle.packed_bytes(), false));
    // Only when asked for: what the kernel keeps of a map depends on the memory that the whole process may have.
    if (named(options, "mapped")) {
      experts::BufferOptions mapped;
      mapped.mapped = true;
      add("mapped", packed, mapped);
    }
    // EdgeMoE's ladder: on demand, packed, loaded ahead, kept.
    if (!dense.empty()) add(kOnDemand, dense, buffer_for(options, experts::Bundle::open(dense).slot_bytes(), false));
    add("ladder 2: packed", packed, buffer_for(options, bundle.slot_bytes(), false));
    add("ladder 3: loaded ahead", packed, buffer_for(options, 2 * bundle.slot_bytes(), true));
    add("ladder 4: kept", packed,
        buffer_for(options, parse_byte_budget(options.budgets.front(), bundle.packed_bytes(), "--budget"), true));
  }
  return cases;
}

/// Throws UsageError for options that change nothing on the CPU with what --only leaves to run.
void check_named(const CLI::App& command, const Options& options) {
  const auto runs = [&](std::initializer_list<const char*> names) {
    return std::any_of(names.begin(), names.end(), [&](const char* name) { return wanted(options, name); });
  };
  if (!runs({"neither", "CEPR", "N:M", "both", "ladder 4: kept"})) {
    refuse_flags(command, {"--budget"}, "on the configurations that --only names");
  }
  if (named(options, kReading) && !wanted(options, "both")) {
    throw UsageError(fmt::format("--only \"{}\": reads as much as both loads; name both too", kReading));
  }
  if (!runs_dense(options)) refuse_flags(command, {"--dense-dtype"}, "on the configurations that --only names");
  if (predicts(options)) return;
  if (options.predictor == "lru") return refuse_flags(command, {"--context"}, "with --predictor lru");
  refuse_flags(command, {"--predictor", "--context"}, "on the configurations that --only names");
}

/// Throws UsageError for options that change nothing on the predictor, which may be the profile's choice.
void check_predictor(const Options& options, const std::vector<eval::LatencyCase>& cases) {
  const auto predicting = [](const eval::LatencyCase& one) {
    return !one.buffer.mapped && one.buffer.predictor != "lru";
  };
  const auto first = std::find_if(cases.begin(), cases.end(), predicting);
  if (first == cases.end()) return;
  const auto given = [&](std::string_view flag) { return flag == "--context" && options.context.has_value(); };
  for (const std::string& message :
       experts::options_without_effect(experts::Bundle::open(first->bundle), first->buffer, given)) {
    throw UsageError(message);
  }
}

void print_table(const std::vector<eval::LatencyResult>& results) {
  print(fmt::format(
      "{:<24} {:<8} {:<5} {:>10} {:>6} {:>10} {:>19} {:>8} {:>8} {:>8} {:>7} {:>7} {:>7} {:>9} {:>8} {:>8}\n",
      "configuration", "pattern", "dtype", "memory", "slots", "ms/token", "(min … max)", "MoE ms", "needed", "least",
      "hit", "kept", "Belady", "wait ms", "first s", "enc. s"));
  for (const eval::LatencyResult& result : results) {
    const experts::LookupCounts& lookups = result.report.pipeline.decoder;
    const bool mapped = result.setting.buffer.mapped;  // without slots: nothing is looked up, loaded or waited for
    const auto share = [&](double part) { return mapped ? std::string("-") : fmt::format("{:.1f}%", 100.0 * part); };
    const auto milliseconds = [&](double seconds, int digits) {
      return mapped ? std::string("-") : fmt::format("{:.{}f}", 1e3 * seconds, digits);
    };
    print(fmt::format(
        "{:<24} {:<8} {:<5} {:>10} {:>6} {:>10.2f} {:>19} {:>8.2f} {:>8} {:>8} {:>7} {:>7} {:>7} {:>9} {:>8.3f} "
        "{:>8.3f}\n",
        result.setting.configuration, result.pattern, result.type, format_byte_size(result.slots * result.slot_bytes),
        result.slots, 1e3 * result.decoder.median,
        fmt::format("({:.2f} … {:.2f})", 1e3 * result.decoder.least, 1e3 * result.decoder.most),
        1e3 * result.moe.median, milliseconds(result.bounds.needed_seconds, 2),
        milliseconds(result.bounds.least_seconds, 2), share(lookups.hit_ratio()), share(lookups.kept_ratio()),
        share(result.ceilings.decoder_kept_ratio), milliseconds(result.report.pipeline.wait_seconds, 1),
        result.first_token.median, result.encoder.median));
  }
  for (const eval::LatencyResult& result : results) {
    if (!result.reading) continue;
    print(fmt::format("{} ({}), beside both in {}: {:.2f} MB a token read of {:.2f} MB that both loaded{}\n",
                      result.setting.configuration, result.pattern, format_byte_size(result.reading->beside_bytes),
                      1e-6 * result.reading->read_bytes, 1e-6 * result.reading->asked_bytes,
                      result.reading->read_bytes < 0.98 * result.reading->asked_bytes
                          ? ": the storage delivers no more in that time, so that it binds, not this row"
                          : ""));
  }
  print(
      "needed, least: ms a token that bytes missed / bandwidth allow, all loading overlapped: with the loads that the "
      "run needed, and with those of the best replacement; hit: lookups of the decoder that found the expert whole; "
      "kept: those of them that nothing was loaded for, on demand or ahead; Belady: the most that any replacement "
      "keeps\n");
}

/// Throws UsageError for options that change nothing on a bundle, which is packed already.
void check_given_bundle(const CLI::App& command, const Options& options) {
  refuse_flags(command, {"--pattern", "--dtype", "--dense-dtype", "--profile"},
               "on a bundle, which is packed already and has its own profile");
  if (!options.route_trace.empty()) {
    throw UsageError(
        "--route-trace on a bundle: its profile does not go with the trace; give the checkpoint and --work DIRECTORY");
  }
  refuse_flags(command, {"--work"}, "on a bundle: nothing has to be packed");
  for (const std::string& name : options.configurations) {
    if (std::find(kDenseConfigurations.begin(), kDenseConfigurations.end(), name) == kDenseConfigurations.end())
      continue;
    throw UsageError(
        fmt::format("--only {}: a bundle has no dense experts to compare with; give the checkpoint", name));
  }
}

void bench(const CLI::App& command, const Options& options) {
  ThreadPool::set_threads(options.threads);
  const bool given = experts::Bundle::is_bundle(options.model);
  if (given) check_given_bundle(command, options);
  check_named(command, options);
  if (!given && options.work.empty()) {
    throw UsageError("benchmarks of a checkpoint pack it first: say where with --work DIRECTORY, or give a bundle");
  }
  if (!options.work.empty()) {
    require_working_directory(options.work);
    io::FileSystem::real().create_directories(options.work);
  }
  if (named(options, "mapped")) {
    refuse_flags(command, {"--storage", "--storage-bandwidth", "--storage-latency-us"},
                 "on mapped, whose bytes the kernel brings: leave it out of --only, or these out");
  }
  const Routing routing = prepare_routing(options, predicts(options) ? options.predictor : "none", options.work);
  eval::LatencyOptions run = options.run;
  run.routing = routing.run;
  const std::vector<eval::LatencyCase> cases = cases_of(options, routing.profile);
  check_predictor(options, cases);
  Progress progress("measuring", cases.size() * (run.repeats + 1));
  const std::vector<eval::LatencyResult> results =
      eval::measure_latency(cases, run, [&](std::size_t done) { progress.set(done); });
  progress.finish();
  if (options.json) {
    Json list = Json::array();
    for (const eval::LatencyResult& result : results) {
      for (Json& object : eval::to_json(result)) list.push_back(std::move(object));
    }
    print(to_text(Json{{"model", options.model},
                       {"input_tokens", run.input_tokens},
                       {"output_tokens", run.output_tokens},
                       {"batch", run.batch},
                       {"repeats", run.repeats},
                       {"threads", ThreadPool::threads()},
                       {"storage_bandwidth", options.bandwidth},
                       {"results", list},
                       {"ceilings", results.empty() ? Json::object() : list.back()["ceilings"]}}) +
          "\n");
  } else {
    print_table(results);
  }
}

/// --budget on the accelerator, the same slot memory for every row.
std::uint64_t slot_budget(const Options& options) {
  if (options.budgets.size() > 1) throw UsageError("--budget: --device fpga-sim takes one; --slots sweeps several");
  const std::string& text = options.budgets.front();
  if (text.ends_with('%')) {
    throw UsageError(fmt::format("--budget {}: with --device fpga-sim give bytes of slot memory, not a share", text));
  }
  const std::uint64_t bytes = parse_byte_size(text, "--budget");
  if (bytes == 0)
    throw UsageError(fmt::format("--budget {}: no expert fits; without --budget all slot memory is used", text));
  return bytes;
}

/// The same four configurations on the simulated accelerator; routing comes from a trace, weights are random.
void bench_on_accelerator(const CLI::App& command, const Options& options) {
  refuse_flags(command,
               {"--dtype", "--dense-dtype", "--only", "--predictor", "--storage", "--storage-bandwidth",
                "--storage-latency-us", "--input-tokens", "--batch", "--repeats", "--threads"},
               "with --device fpga-sim");
  if (options.resident) {
    refuse_flags(command,
                 {"--budget", "--context", "--profile", "--route-trace", "--work", "--tokens", "--transactions",
                  "--prefetches", "--warm-up", "--moe-only", "--keep-popular", "--no-overlap", "--slots"},
                 "with --resident");
    BenchAcceleratorOptions resident;
    resident.model = options.model;
    resident.patterns = options.patterns;
    resident.lanes = options.lanes;
    resident.json = options.json;
    bench_resident_experts(resident);
    return;
  }
  const std::uint64_t budget = command.count("--budget") > 0 ? slot_budget(options) : 0;
  if (options.route_trace.empty()) throw UsageError("--device fpga-sim routes as a trace does: give --route-trace");
  if (options.work.empty()) throw UsageError("--device fpga-sim needs --work DIRECTORY for the trace's profile");
  const model::SwitchConfig config = model::load_config_or_preset(options.model);
  accel::limits_of(configuration_of(options.lanes))
      .check_model(config.moe_layers(model::Stack::kDecoder), config.num_experts);
  require_working_directory(options.work);
  io::FileSystem::real().create_directories(options.work);
  const Routing routing = prepare_routing(options, options.predictor, options.work);
  const routing::Profile profile = routing::Profile::read(routing.profile);
  bench_accelerator({.model = options.model,
                     .patterns = options.patterns,
                     .lanes = options.lanes,
                     .budget_bytes = budget,
                     .context = experts::context_of(options.context, profile),
                     .prefetches = options.prefetches,
                     .keep_popular = options.keep_popular,
                     .overlap = !options.no_overlap,
                     .slots = options.slots,
                     .tokens = options.run.output_tokens,
                     .warm_up = options.warm_up,
                     .moe_only = options.moe_only,
                     .transactions = options.transactions,
                     .json = options.json},
                    *routing.run, profile);
}

void add_storage_command(CLI::App& bench_command) {
  constexpr std::uint64_t kLargestPiece = std::uint64_t{1} << 30;
  struct StorageOptions {
    std::string path;
    std::vector<std::string> pieces{"64KiB", "1MiB", "3MiB"};
    std::string bandwidth;
    double latency_us = 0.0;
    std::size_t repeats = 3;
    bool json = false;
  };
  const auto options = std::make_shared<StorageOptions>();
  CLI::App* command = bench_command.add_subcommand("storage", "How fast a file, or a bundle's experts, can be read");
  command->footer("Example:\n  flame bench storage bundle");
  command->add_option("PATH", options->path, "A bundle, or a file of at least some hundred MB")->required();
  command->add_option("--piece", options->pieces, "Bytes of one read")->capture_default_str();
  command->add_option("--storage-bandwidth", options->bandwidth, "Measure as if the storage were this slow");
  command->add_option("--storage-latency-us", options->latency_us, "Added to every read")
      ->check(between(0.0, kLongestLatency));
  command->add_option("--repeats", options->repeats, "The best of so many")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--json", options->json, "One JSON object on standard output");
  command->callback([options, &bench_command] {
    for (const CLI::Option* option : bench_command.get_options()) {
      if (option->count() > 0) {
        throw UsageError(fmt::format("{} has no effect on `flame bench storage`", option->get_name()));
      }
    }
    const fs::path path = experts::Bundle::is_bundle(options->path)
                              ? experts::Bundle::open(options->path).experts_file()
                              : fs::path(options->path);
    std::vector<std::uint64_t> pieces;
    for (const std::string& piece : options->pieces) {
      pieces.push_back(parse_byte_size(piece, "--piece"));
      if (pieces.back() == 0 || pieces.back() > kLargestPiece) {
        throw UsageError(fmt::format("--piece {}: expected more than 0 bytes, and at most {}", piece,
                                     format_byte_size(kLargestPiece)));
      }
    }
    const std::vector<eval::StorageSpeed> speeds =
        eval::measure_storage(path, pieces, throttle_of(options->bandwidth, options->latency_us), options->repeats);
    Json list = Json::array();
    for (const eval::StorageSpeed& speed : speeds) {
      list.push_back(
          {{"how", speed.how}, {"piece_bytes", speed.piece_bytes}, {"bytes_per_second", speed.bytes_per_second}});
      if (!options->json) {
        print(fmt::format("{:>10}  {:>8.2f} GB/s  {}\n", format_byte_size(speed.piece_bytes),
                          speed.bytes_per_second * 1e-9, speed.how));
      }
    }
    if (options->json) print(to_text(Json{{"path", path.string()}, {"results", list}}) + "\n");
  });
}

}  // namespace

void add_bench_command(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("bench", "Latency with neither idea, N:M, CEPR and both, against memory");
  command->footer(
      "Examples:\n"
      "  flame bench models/switch-dialogsum-8 --work /tmp/bench --profile profile.json --budget 25% 50%\n"
      "  flame synth switch-base-8 -o /tmp/sb8 && flame bench /tmp/sb8 --work /tmp/bench --route-trace test.trace \\\n"
      "      --storage-bandwidth 1GB/s\n"
      "Forced routing: layer l of the model takes the decisions of the trace's layer floor(l * Lt / L), expert e "
      "becomes\n"
      "e mod E; predictors are shown the trace's hidden states (flame trace --hidden), widened with zeros; the first "
      "half\n"
      "of the trace's examples makes the profile, the second half is run.");
  command->add_option("MODEL", options->model, "A checkpoint, or a bundle (then N:M, both and the ladder only)");
  command->add_option("--pattern", options->patterns, "N:M of the packed experts, one or several")
      ->capture_default_str();
  command->add_option("--dtype", options->type, "Of the packed experts")->capture_default_str();
  command->add_option("--dense-dtype", options->dense_type, "Of the experts that are not pruned")
      ->capture_default_str();
  command
      ->add_option(
          "--budget", options->budgets,
          "Expert memory: sizes, or shares of all packed experts; fpga-sim: bytes of slot memory (default there: all)")
      ->capture_default_str();
  command
      ->add_option(
          "--only", options->configurations,
          fmt::format("Of: {}. Two run only when named: \"mapped\", experts computed in a memory map, kept or "
                      "dropped by the kernel; and \"resident, reading\", all of them in memory while the "
                      "storage reads, for nobody, as much as both has loaded, as far as it can in the time: no "
                      "buffer that loads as much can be faster",
                      fmt::join(kConfigurations, ", ")))
      ->check(CLI::IsMember(std::vector<std::string>(kConfigurations.begin(), kConfigurations.end())));
  command
      ->add_option("--predictor", options->predictor,
                   "Of CEPR and both, as of flame generate; with --route-trace those of hidden states need a trace "
                   "made with --hidden")
      ->capture_default_str();
  command->add_option("--context", options->context, "m (default: 3, or what the profile counted where that is less)")
      ->check(CLI::Range(1, 16));
  command->add_option("--profile", options->profile, "A profile of the model");
  command->add_option("--route-trace", options->route_trace, "Route as this trace, whatever the routers say");
  command->add_option("--work", options->work, "Directory for the bundles; kept, and used again");
  command->add_option("--storage-bandwidth", options->bandwidth, "As if the storage were this slow, for example 1GB/s");
  command->add_option("--storage-latency-us", options->latency_us, "Added to every read")
      ->check(between(0.0, kLongestLatency));
  command->add_option("--storage", options->storage, fmt::format("{}", fmt::join(io::storage_backend_names(), ", ")))
      ->capture_default_str();
  command->add_option("--input-tokens", options->run.input_tokens, "Of the encoder")
      ->check(above_zero())
      ->capture_default_str();
  command->add_option("--tokens", options->run.output_tokens, "Decoded in one run")
      ->check(above_zero())
      ->capture_default_str();
  command->add_option("--batch", options->run.batch, "Inputs decoded together")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_option("--repeats", options->run.repeats, "Runs of each configuration, taken in turns")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "Threads (default: every processor)")->check(CLI::Range(1, 1024));
  command->add_flag("--json", options->json, "One JSON object on standard output");
  command
      ->add_option("--device", options->device,
                   "cpu, or fpga-sim: the accelerator's RTL (MODEL may be a bare config.json or switch-base-8, …)")
      ->check(CLI::IsMember({"cpu", "fpga-sim"}))
      ->capture_default_str();
  command
      ->add_option("--lanes", options->lanes,
                   "fpga-sim: 64 (one DDR4 channel) or 256 (four), or 16 (one channel of 128 bits, for small models)")
      ->check(CLI::IsMember({"16", "64", "256"}))
      ->capture_default_str();
  command->add_flag("--transactions", options->transactions,
                    "fpga-sim: the transaction-level model instead of the RTL");
  command->add_option("--prefetches", options->prefetches, "fpga-sim: ranked experts that are loaded ahead")
      ->check(CLI::Range(1, 4))
      ->capture_default_str();
  command->add_flag("--no-overlap", options->no_overlap,
                    "fpga-sim: a missed expert computes when all of it has arrived, not as it comes: for comparison");
  command->add_option("--warm-up", options->warm_up, "fpga-sim: tokens of the trace that fill the slots uncounted")
      ->capture_default_str();
  command->add_flag("--moe-only", options->moe_only,
                    "fpga-sim: MoE layers back to back only, not with the dense layers' modelled time between them");
  command->add_flag("--keep-popular", options->keep_popular,
                    "fpga-sim: with prediction, the profile's less popular experts give way first, then the least "
                    "recently used");
  command
      ->add_option("--slots", options->slots,
                   "fpga-sim: also sweep these numbers of slots, dense and each --pattern (Figure 9(b))")
      ->check(CLI::Range(1, 64));
  command->add_flag("--resident", options->resident,
                    "fpga-sim: one expert that is in a slot already, dense and each --pattern: the array alone");
  add_storage_command(*command);
  command->callback([options, command] {
    if (!command->get_subcommands().empty()) return;
    if (options->model.empty()) throw UsageError("bench needs a MODEL (or: flame bench storage PATH)");
    if (options->device == "fpga-sim") return bench_on_accelerator(*command, *options);
    refuse_flags(*command,
                 {"--lanes", "--transactions", "--prefetches", "--warm-up", "--moe-only", "--keep-popular",
                  "--no-overlap", "--slots", "--resident"},
                 "with --device cpu");
    bench(*command, *options);
  });
}

}  // namespace flame::cli
