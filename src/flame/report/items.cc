#include "flame/report/items.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "flame/accel/kernel_limits.h"
#include "flame/base/byte_size.h"
#include "flame/base/error.h"

namespace flame::report {
namespace {

Measurement trace_measurement(const Subject& subject, const std::string& name, std::size_t skip, std::size_t limit) {
  Measurement measurement{.name = name,
                          .arguments = {"trace", subject.model.string(), "--input", subject.data.string(), "--field",
                                        subject.field, "--skip", std::to_string(skip), "--limit",
                                        std::to_string(skip + limit), "--beams", "1", "--hidden", "-o", "{output}"}};
  if (!subject.task.empty()) measurement.arguments.insert(measurement.arguments.end(), {"--task", subject.task});
  return measurement;
}

std::string file_name_of(std::string text) {
  std::replace(text.begin(), text.end(), ':', '_');
  return text;
}

}  // namespace

const std::vector<ItemMaker>& item_makers() {
  static const std::vector<ItemMaker> makers = {
      {"fig4a", "Figure 4(a): the experts' share of the parameters", {"inspect*"}, expert_share},
      {"fig4b", "Figure 4(b): three ways to prune half of the experts' weights", {"pruning-half"}, pruning_strategies},
      {"fig5a",
       "Figure 5(a): how often each expert activation path is taken",
       {"inspect", "profile.trace", "routing.profile", "paths"},
       path_frequencies},
      {"fig5b",
       "Figure 5(b): paths by the number of tokens that take them",
       {"inspect", "profile.trace", "routing.profile", "paths"},
       path_histogram},
      {"fig6a",
       "Figure 6(a): one layer's expert given another's",
       {"inspect", "profile.trace", "routing.profile", "paths"},
       conditional_map},
      {"fig6b",
       "Figure 6(b): the ten hottest paths",
       {"inspect", "profile.trace", "routing.profile", "paths"},
       hottest_paths},
      {"fig7", "Figure 7: accuracy against sparsity", {"pruning-sweep*"}, pruning_sweep},
      {"fig8a",
       "Figure 8(a): accuracy of prediction by MoE layer",
       {"profile.trace", "routing.profile", "test.trace", "prediction"},
       accuracy_by_layer},
      {"fig8b",
       "Figure 8(b): hit ratio against slots and m",
       {"profile.trace", "routing.profile", "test.trace", "buffer-paper"},
       hit_ratio},
      {"fig9a",
       "Figure 9(a): index storage against m",
       {"profile.trace", "routing.profile", "test.trace", "prediction"},
       index_storage},
      {"fig9b",
       "Figure 9(b): latency of a token against slots and sparsity",
       {"inspect", "profile.trace", "routing.profile", "test.trace", "bench", "buffer-dense", "buffer-2_4",
        "buffer-1_4", "accelerator-sweep"},
       latency_by_slots},
      {"table1",
       "Table 1: latency of a token by device and idea",
       {"inspect", "profile.trace", "routing.profile", "test.trace", "bench", "bench-dense-*", "accelerator-sweep",
        "accelerator", "accelerator-switch-base", "accelerator-whole-experts"},
       speed_table},
      {"bytes",
       "Past the paper: accuracy of every predictor against its bytes",
       {"profile.trace", "routing.profile", "test.trace", "prediction"},
       accuracy_against_bytes},
      {"memory",
       "Past the paper: latency against memory, at several storage speeds",
       {"profile.trace", "routing.profile", "test.trace", "memory-*"},
       latency_by_memory},
      {"dtypes",
       "Past the paper: accuracy against the bytes of an expert",
       {"inspect", "profile.trace", "routing.profile", "bundle-*", "dtype-*"},
       accuracy_by_dtype},
      {"ladder",
       "Past the paper: on demand, packed, loaded ahead, kept",
       {"profile.trace", "routing.profile", "test.trace", "bench"},
       ladder},
      {"timeline",
       "Past the paper: where the time of a few tokens goes",
       {"profile.trace", "routing.profile", "bundle-2_4-int8", "timeline.trace.json"},
       token_timeline},
      {"cycles",
       "Past the paper: where the accelerator's cycles go",
       {"inspect", "profile.trace", "routing.profile", "test.trace", "accelerator-sweep", "accelerator",
        "accelerator-switch-base"},
       accelerator_cycles}};
  return makers;
}

std::filesystem::path test_trace(const Subject& subject, Measurements& measurements) {
  return measurements.file(trace_measurement(subject, "test.trace", 0, subject.test_examples));
}

std::filesystem::path profile_trace(const Subject& subject, Measurements& measurements) {
  return measurements.file(
      trace_measurement(subject, "profile.trace", subject.test_examples, subject.profile_examples));
}

std::filesystem::path profile(const Subject& subject, Measurements& measurements) {
  const std::filesystem::path trace = profile_trace(subject, measurements);
  return measurements.file(
      {.name = "routing.profile",
       .arguments = {"profile", trace.string(), "--fit", "--model", subject.model.string(), "-o", "{output}"}});
}

Measurement inspection(const Subject& subject) {
  return {.name = "inspect", .arguments = {"inspect", subject.model.string(), "--json"}};
}

std::filesystem::path packed_directory(const Subject& subject, const Measurements& measurements) {
  return measurements.directory() / fmt::format("packed-{}", subject.profile_examples);
}

Measurement bench_measurement(const Subject& subject, Measurements& measurements, const std::string& name,
                              const std::vector<std::string>& what) {
  Measurement measurement{
      .name = name,
      .arguments = {"bench", subject.model.string(), "--work", packed_directory(subject, measurements).string(),
                    "--profile", profile(subject, measurements).string(), "--route-trace",
                    test_trace(subject, measurements).string()}};
  std::vector<std::string>& arguments = measurement.arguments;
  arguments.insert(arguments.end(), what.begin(), what.end());
  arguments.insert(arguments.end(), {"--input-tokens", std::to_string(kPromptTokens), "--tokens",
                                     std::to_string(kNewTokens), "--repeats", subject.quick ? "3" : "9", "--json"});
  return measurement;
}

Measurement bench_at_budget(const Subject& subject, Measurements& measurements) {
  return bench_measurement(
      subject, measurements, "bench",
      {"--pattern", "2:4", "--budget", subject.budget, "--storage-bandwidth", subject.storage_bandwidth});
}

Measurement bench_of_dense(const Subject& subject, Measurements& measurements, const std::string& dtype) {
  return bench_measurement(subject, measurements, "bench-dense-" + dtype,
                           {"--only", "resident", "--pattern", "dense", "--dtype", dtype});
}

Measurement buffer_replay(const Subject& subject, Measurements& measurements, const std::string& pattern) {
  const Json model = measurements.json(inspection(subject));
  const Json bench = measurements.json(bench_at_budget(subject, measurements));
  // The replay's clock: what one expert and the dense layers between two MoE layers take on this machine.
  const auto seconds = [&](const char* scope) {
    return result_with(bench, {{"configuration", "resident"}, {"scope", scope}})
        .at("seconds_per_token")
        .at("median")
        .get<double>();
  };
  const double layers = std::max(1.0, model.at("decoder_moe_layers").get<double>());
  const double compute = seconds("moe") / layers;
  const double gap = std::max(0.0, seconds("decoder") - seconds("moe")) / layers;
  return {.name = "buffer-" + file_name_of(pattern),
          .arguments = {"eval",
                        "buffer",
                        test_trace(subject, measurements).string(),
                        "--profile",
                        profile(subject, measurements).string(),
                        "--mode",
                        "runtime",
                        "--predictor",
                        "cepr",
                        "mix",
                        "online",
                        "token",
                        "mix-hidden",
                        "pre-attention",
                        "none",
                        "lru",
                        "oracle",
                        "belady",
                        "--context",
                        "3",
                        "--expert-bytes",
                        std::to_string(expert_bytes(model, pattern, "int8")),
                        "--bandwidth",
                        subject.storage_bandwidth,
                        "--compute-us",
                        fmt::format("{:.1f}", 1e6 * compute),
                        "--gap-us",
                        fmt::format("{:.1f}", 1e6 * gap),
                        "--json"}};
}

namespace {

/// Of this model, with its profile; or of a preset, for which the command makes one of half of the trace.
Measurement accelerator_measurement(const Subject& subject, Measurements& measurements, const std::string& name,
                                    const std::string& preset = {}) {
  const bool own = preset.empty();
  Measurement measurement{.name = name,
                          .arguments = {"bench", own ? subject.model.string() : preset, "--device", "fpga-sim",
                                        "--transactions", "--route-trace", test_trace(subject, measurements).string(),
                                        "--work", (measurements.directory() / "accelerator-work").string()}};
  std::vector<std::string>& arguments = measurement.arguments;
  if (own) arguments.insert(arguments.end(), {"--profile", profile(subject, measurements).string()});
  arguments.insert(arguments.end(),
                   {"--pattern", "2:4", "1:4", "--context", "3", "--tokens", subject.quick ? "400" : "2000", "--json"});
  return measurement;
}

/// The paper's models are of this size. It has as many experts as this model, so that its routing is this model's; the
/// kernel takes at most so many.
std::string base_preset(const Json& model) {
  const std::size_t most = accel::limits_of(accel::RtlConfiguration::kLanes256).max_experts;
  return fmt::format("switch-base-{}", std::min(most, model.at("num_experts").get<std::size_t>()));
}

}  // namespace

Measurement accelerator_bench(const Subject& subject, Measurements& measurements) {
  const Json model = measurements.json(inspection(subject));
  const double experts = model.at("decoder_moe_layers").get<double>() * model.at("num_experts").get<double>();
  // What a slot takes on the chip is the device's own affair: its rows are padded.
  const Json sweep = measurements.json(accelerator_sweep(subject, measurements));
  double slot_bytes = 0.0;
  for (const Json& row : sweep.at("sweep")) {
    if (row.at("pattern") == "2:4") slot_bytes = row.at("slot_bytes").get<double>();
  }
  Measurement measurement = accelerator_measurement(subject, measurements, "accelerator");
  const auto most = static_cast<double>(accel::limits_of(accel::RtlConfiguration::kLanes256).slot_bytes());
  const double budget = std::min(most, std::ceil(0.25 * experts) * slot_bytes);
  measurement.arguments.insert(measurement.arguments.end(), {"--budget", fmt::format("{:.0f}", budget)});
  return measurement;
}

Measurement accelerator_bench_of_base(const Subject& subject, Measurements& measurements) {
  return accelerator_measurement(subject, measurements, "accelerator-switch-base",
                                 base_preset(measurements.json(inspection(subject))));
}

Measurement accelerator_bench_of_whole_experts(const Subject& subject, Measurements& measurements) {
  Measurement measurement = accelerator_measurement(subject, measurements, "accelerator-whole-experts",
                                                    base_preset(measurements.json(inspection(subject))));
  measurement.arguments.emplace_back("--no-overlap");
  return measurement;
}

Measurement accelerator_sweep(const Subject& subject, Measurements& measurements) {
  const Json model = measurements.json(inspection(subject));
  const double experts = model.at("decoder_moe_layers").get<double>() * model.at("num_experts").get<double>();
  Measurement measurement = accelerator_measurement(subject, measurements, "accelerator-sweep");
  measurement.arguments.emplace_back("--slots");
  double before = 0.0;
  for (int eighth = 1; eighth <= 8; ++eighth) {
    constexpr double kMostSlots = 64.0;  // that the command takes
    const double slots = std::min(kMostSlots, std::ceil(eighth * experts / 8.0));
    if (slots > before) measurement.arguments.push_back(fmt::format("{:.0f}", slots));
    before = slots;
  }
  return measurement;
}

std::uint64_t expert_bytes(const Json& inspection, const std::string& pattern, const std::string& dtype) {
  const std::string written = pattern == "dense" ? "1:1" : pattern;
  for (const Json& format : inspection.at("formats")) {
    if (format.at("pattern") == written && format.at("dtype") == dtype) {
      return format.at("expert_bytes").get<std::uint64_t>();
    }
  }
  throw NotMeasured(fmt::format("`flame inspect` names no expert of {} {}", pattern, dtype));
}

std::uint64_t slot_bytes(std::uint64_t expert_bytes) { return (expert_bytes + 4095) / 4096 * 4096; }

void check_budget(const Subject& subject) {
  (void)parse_byte_budget(subject.budget, 0, "--expert-memory");
  (void)parse_bandwidth(subject.storage_bandwidth, "--storage-bandwidth");
}

std::uint64_t budget_bytes(const Subject& subject, const Json& inspection) {
  const std::uint64_t all =
      inspection.at("experts").get<std::uint64_t>() * slot_bytes(expert_bytes(inspection, "2:4", "int8"));
  return parse_byte_budget(subject.budget, all, "--expert-memory");
}

void check_slots(const Subject& subject, const Json& inspection) {
  const std::uint64_t dense = slot_bytes(expert_bytes(inspection, "dense", "int8"));
  const std::uint64_t budget = budget_bytes(subject, inspection);
  if (budget < dense) {
    throw UsageError(
        fmt::format("--expert-memory {}: is {}, and one dense int8 expert takes {} ({} bytes): give at "
                    "least that",
                    subject.budget, format_byte_size(budget), format_byte_size(dense), dense));
  }
}

std::uint64_t slots_in_budget(const Subject& subject, const Json& inspection, std::uint64_t expert_bytes) {
  return std::min(budget_bytes(subject, inspection) / slot_bytes(expert_bytes),
                  inspection.at("experts").get<std::uint64_t>());
}

const Json& result_with(const Json& measured, const std::vector<std::pair<std::string, Json>>& keys) {
  for (const Json& result : measured.at("results")) {
    const bool all = std::all_of(keys.begin(), keys.end(), [&](const auto& key) {
      return result.contains(key.first) && result[key.first] == key.second;
    });
    if (all) return result;
  }
  std::string wanted;
  for (const auto& [key, value] : keys) wanted += fmt::format("{}{} {}", wanted.empty() ? "" : ", ", key, value.dump());
  throw NotMeasured("no result has " + wanted);
}

void note_source(Item& item, const Measurements& measurements, const Measurement& measurement) {
  const std::vector<std::string>& arguments = measurement.arguments;
  const bool makes_file = std::find(arguments.begin(), arguments.end(), "{output}") != arguments.end();
  for (const std::string& command : measurements.recipe(measurement)) {
    if (std::find(item.commands.begin(), item.commands.end(), command) == item.commands.end()) {
      item.commands.push_back(command);
    }
  }
  if (!makes_file) item.data_files.push_back(measurement.name + ".json");
}

std::string percent(double share) { return fmt::format("{:.2f} %", 100.0 * share); }

std::string duration_text(double seconds) {
  const auto digits = [](double value) { return value >= 100.0 ? 0 : value >= 10.0 ? 1 : 2; };
  for (const auto& [unit, name] : {std::pair{1.0, "s"}, std::pair{1e-3, "ms"}}) {
    if (std::abs(seconds) >= unit) return fmt::format("{:.{}f} {}", seconds / unit, digits(seconds / unit), name);
  }
  return fmt::format("{:.{}f} µs", 1e6 * seconds, digits(1e6 * seconds));
}

std::string times_text(double ratio) { return fmt::format("{:.2f}x", ratio); }

}  // namespace flame::report
