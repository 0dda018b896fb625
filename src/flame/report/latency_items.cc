#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "flame/report/chart.h"
#include "flame/report/items.h"
#include "flame/report/paper.h"

namespace flame::report {
namespace {

double median_of(const Json& result) { return result.at("seconds_per_token").at("median").get<double>(); }

Point milliseconds(double x, const Json& result) {
  const Json& seconds = result.at("seconds_per_token");
  return {x, 1e3 * seconds.at("median").get<double>(), 1e3 * seconds.at("min").get<double>(),
          1e3 * seconds.at("max").get<double>()};
}

std::string kibibytes(const Json& result) {
  return fmt::format("{:.0f}", result.at("budget_bytes").get<double>() / 1024.0);
}

std::string hit_text(const Json& result) { return percent(result.at("hit_ratio").get<double>()); }

/// Rows of a file that the report cannot make itself, in the form of `flame bench`.
void add_given_rows(const Json& given, Table& table) {
  const std::string device = given.at("device").get<std::string>();
  const std::string version = given.contains("transformers") ? " " + given.at("transformers").get<std::string>() : "";
  std::map<std::string, std::map<std::string, double>> by_configuration;
  for (const Json& result : given.at("results")) {
    by_configuration[result.at("configuration").get<std::string>()][result.at("scope").get<std::string>()] =
        median_of(result);
  }
  for (const auto& [configuration, seconds] : by_configuration) {
    const auto text = [&by_scope = seconds](const char* scope) {  // named anew: clang 14 captures no bindings
      const auto found = by_scope.find(scope);
      return found == by_scope.end() ? std::string("–") : fmt::format("{:.3f}", 1e3 * found->second);
    };
    table.rows.push_back({device, fmt::format("{}{}", configuration, version), "dense", "all", "–", "–",
                          text("decoder"), text("moe"), "–"});
  }
}

}  // namespace

Item speed_table(const Subject& subject, Measurements& measurements) {
  Item item;
  Table table{.header = {"device", "configuration", "experts", "expert memory, KiB", "slots", "hit ratio", "ms a token",
                         "of it MoE layers, ms", "MoE layers, times neither"},
              .rows = {}};
  std::string missing;
  for (const auto& [name, how] :
       {std::pair{"transformers", "tools/report/transformers_speed.py makes it"},
        std::pair{"gpu", "tools/report/transformers_speed.py --device cuda makes it where there is a GPU"}}) {
    try {
      add_given_rows(measurements.given(name, how), table);
      item.data_files.push_back(fmt::format("{}.json", name));
    } catch (const NotMeasured& absent) {
      missing += fmt::format("{}{}.json is not among the data ({})", missing.empty() ? "" : "; ", name, how);
    }
  }

  const Measurement cpu = bench_at_budget(subject, measurements);
  const Json bench = measurements.json(cpu);
  note_source(item, measurements, cpu);
  const double cpu_neither = median_of(result_with(bench, {{"configuration", "neither"}, {"scope", "moe"}}));
  for (const char* configuration : {"neither", "CEPR", "N:M", "both", "resident"}) {
    const Json& whole = result_with(bench, {{"configuration", configuration}, {"scope", "decoder"}});
    const Json& moe = result_with(bench, {{"configuration", configuration}, {"scope", "moe"}});
    table.rows.push_back(
        {"CPU, FLAME", configuration,
         fmt::format("{} {}", whole.at("pattern").get<std::string>(), whole.at("dtype").get<std::string>()),
         kibibytes(whole), std::to_string(whole.at("slots").get<std::uint64_t>()), hit_text(whole),
         fmt::format("{:.3f}", 1e3 * median_of(whole)), fmt::format("{:.3f}", 1e3 * median_of(moe)),
         times_text(cpu_neither / median_of(moe))});
  }

  std::map<std::string, double> speedup;
  const auto add_accelerator_rows = [&](const Measurement& measurement, const std::string& device,
                                        std::map<std::string, double>& ratios) {
    const Json simulated = measurements.json(measurement);
    note_source(item, measurements, measurement);
    double neither = 0.0;
    for (const Json& moe : simulated.at("results")) {
      if (moe.at("scope") != "moe") continue;
      const auto configuration = moe.at("configuration").get<std::string>();
      const auto pattern = moe.at("pattern").get<std::string>();
      if (configuration == "neither") neither = median_of(moe);
      const Json& whole =
          result_with(simulated, {{"scope", "decoder"}, {"configuration", configuration}, {"pattern", pattern}});
      const double ratio = neither / median_of(moe);
      ratios[configuration + " " + pattern] = ratio;
      table.rows.push_back({device, configuration, pattern + " int8", kibibytes(moe),
                            std::to_string(moe.at("slots").get<std::uint64_t>()), hit_text(moe),
                            fmt::format("{:.4f}", 1e3 * median_of(whole)), fmt::format("{:.4f}", 1e3 * median_of(moe)),
                            times_text(ratio)});
    }
  };
  add_accelerator_rows(accelerator_bench(subject, measurements), "accelerator, simulated", speedup);
  const Measurement of_base = accelerator_bench_of_base(subject, measurements);
  std::map<std::string, double> base_speedup;
  const std::string base = of_base.arguments[1];
  add_accelerator_rows(of_base, fmt::format("accelerator, simulated, {}'s size", base), base_speedup);

  BarChart chart{.x_label = "what is switched on",
                 .y_label = "speed of the MoE layers, times neither",
                 .categories = {},
                 .series = {{.label = "accelerator", .points = {}},
                            {.label = fmt::format("{}'s size on the accelerator", base), .points = {}},
                            {.label = "CPU", .points = {}}}};
  for (const char* configuration : {"neither", "CEPR", "N:M", "both"}) {
    const bool sparse = std::string_view(configuration) == "N:M" || std::string_view(configuration) == "both";
    const auto x = static_cast<double>(chart.categories.size());
    chart.categories.push_back(sparse ? fmt::format("{}, 2:4", configuration) : configuration);
    const std::string key = fmt::format("{} {}", configuration, sparse ? "2:4" : "dense");
    chart.series[0].points.push_back(point(x, speedup[key]));
    chart.series[1].points.push_back(point(x, base_speedup[key]));
    const Json& moe = result_with(bench, {{"configuration", configuration}, {"scope", "moe"}});
    chart.series[2].points.push_back(point(x, cpu_neither / median_of(moe)));
  }
  item.figures.push_back(draw(chart, "table1"));
  const auto of = [&](const char* key) { return times_text(speedup[key]); };
  const auto both_sizes = [&](const char* key) {
    return fmt::format("{}; at {}'s size {}", times_text(speedup[key]), base, times_text(base_speedup[key]));
  };
  const std::string papers_pruning =
      fmt::format("{} to {}", times_text(paper::kPruningAlone[0]), times_text(paper::kPruningAlone[1]));
  item.comparisons = {
      {"accelerator: N:M alone over neither, 2:4", both_sizes("N:M 2:4"), papers_pruning},
      {"accelerator: N:M alone over neither, 1:4", both_sizes("N:M 1:4"), papers_pruning},
      {"accelerator: CEPR alone over neither", both_sizes("CEPR dense"),
       fmt::format("{} to {}", times_text(paper::kPredictionAlone[0]), times_text(paper::kPredictionAlone[1]))},
      {"accelerator: both over neither, 2:4", both_sizes("both 2:4"), times_text(paper::kBothOverNeither)},
      {"accelerator: both over neither, 1:4", both_sizes("both 1:4"), times_text(paper::kBothOverNeither)}};
  const double cpu_both = cpu_neither / median_of(result_with(bench, {{"configuration", "both"}, {"scope", "moe"}}));
  item.sentences = {
      fmt::format(
          "The same memory for experts in every row of a device but the last of the CPU's, where all experts are "
          "resident: {} of the packed 2:4 experts on the CPU with storage of {}, a quarter of the decoder's 2:4 "
          "experts "
          "on the accelerator's chip.",
          subject.budget, subject.storage_bandwidth),
      fmt::format("Both ideas together make the MoE layers {} as fast as neither on the CPU and {} on the accelerator "
                  "with 2:4 experts, {} with 1:4. The accelerator is simulated; its clock is an assumption.",
                  times_text(cpu_both), of("both 2:4"), of("both 1:4"))};
  if (!missing.empty()) item.sentences.push_back("Rows of other programs: " + missing + ".");
  item.tables = {table};
  return item;
}

Item latency_by_memory(const Subject& subject, Measurements& measurements) {
  Item item;
  LineChart chart{.x_label = "expert memory, % of the packed 2:4 experts",
                  .y_label = "milliseconds a token",
                  .y_minimum = 0.0,
                  .series = {}};
  Table table{.header = {"storage", "expert memory, KiB", "slots", "predicted, ms", "least", "most", "on demand, ms",
                         "predicted over on demand", "hit ratio, predicted"},
              .rows = {}};
  const char* const slowest_storage = "100MB/s";
  double worst = 0.0;
  double quickest = 0.0;
  for (const char* bandwidth : {slowest_storage, "500MB/s", "2GB/s"}) {
    std::string plain = bandwidth;
    std::erase(plain, '/');
    const Measurement measurement{.name = "memory-" + plain,
                                  .arguments = {"bench",
                                                subject.model.string(),
                                                "--work",
                                                packed_directory(subject, measurements).string(),
                                                "--profile",
                                                profile(subject, measurements).string(),
                                                "--route-trace",
                                                test_trace(subject, measurements).string(),
                                                "--only",
                                                "N:M",
                                                "both",
                                                "--pattern",
                                                "2:4",
                                                "--budget",
                                                "12.5%",
                                                "25%",
                                                "50%",
                                                "75%",
                                                "100%",
                                                "--storage-bandwidth",
                                                bandwidth,
                                                "--input-tokens",
                                                "64",
                                                "--tokens",
                                                "32",
                                                "--repeats",
                                                subject.quick ? "3" : "9",
                                                "--json"}};
    const Json measured = measurements.json(measurement);
    note_source(item, measurements, measurement);
    Series predicted{.label = fmt::format("{}, predicted", bandwidth)};
    Series demanded{.label = fmt::format("{}, on demand", bandwidth), .points = {}, .dashed = true};
    double all = 0.0;
    for (const Json& result : measured.at("results")) {
      if (result.at("scope") == "decoder") all = std::max(all, result.at("budget_bytes").get<double>());
    }
    for (const Json& result : measured.at("results")) {
      if (result.at("scope") != "decoder") continue;
      const double share = 100.0 * result.at("budget_bytes").get<double>() / all;
      if (result.at("configuration") == "N:M") {
        demanded.points.push_back(milliseconds(share, result));
        continue;
      }
      const Point ours = milliseconds(share, result);
      predicted.points.push_back(ours);
      const Json& other = result_with(
          measured, {{"configuration", "N:M"}, {"scope", "decoder"}, {"budget_bytes", result.at("budget_bytes")}});
      table.rows.push_back({bandwidth, kibibytes(result), std::to_string(result.at("slots").get<std::uint64_t>()),
                            fmt::format("{:.3f}", ours.y), fmt::format("{:.3f}", ours.low),
                            fmt::format("{:.3f}", ours.high), fmt::format("{:.3f}", 1e3 * median_of(other)),
                            times_text(1e3 * median_of(other) / ours.y), hit_text(result)});
      if (worst == 0.0 && std::string_view(bandwidth) == slowest_storage) worst = ours.y;
      if (quickest == 0.0 || ours.y < quickest) quickest = ours.y;
    }
    chart.series.push_back(predicted);
    chart.series.push_back(demanded);
  }
  item.figures.push_back(draw(chart, "memory"));
  item.sentences = {
      "2:4 int8 experts on storage as slow as named, measured on this machine's CPU: solid with prediction, dashed on "
      "demand with LRU in the same memory. Bars go from the least to the most of the repeats, points are medians.",
      fmt::format(
          "Between the least memory on the slowest storage ({}) and the quickest point lies a factor of {:.1f}: "
          "{:.3f} and {:.3f} ms a token.",
          slowest_storage, worst / quickest, worst, quickest)};
  item.tables = {table};
  return item;
}

Item ladder(const Subject& subject, Measurements& measurements) {
  Item item;
  const Measurement measurement = bench_at_budget(subject, measurements);
  const Json bench = measurements.json(measurement);
  note_source(item, measurements, measurement);
  BarChart chart{.x_label = "what is added, from left to right",
                 .y_label = "milliseconds a token",
                 .categories = {},
                 .series = {{.label = "ladder", .points = {}}}};
  Table table{.header = {"step", "experts", "slots", "memory, KiB", "ms a token", "least", "most", "times the first"},
              .rows = {}};
  struct Step {
    const char* configuration;
    const char* name;
  };
  double first = 0.0;
  double before = 0.0;
  double last = 0.0;
  double largest_gain = 0.0;
  std::string largest;
  for (const Step& step : {Step{"ladder 1: on demand", "on demand"}, Step{"ladder 2: packed", "packed"},
                           Step{"ladder 3: loaded ahead", "loaded ahead"}, Step{"ladder 4: kept", "kept"}}) {
    const Json& result = result_with(bench, {{"configuration", step.configuration}, {"scope", "decoder"}});
    const Point value = milliseconds(static_cast<double>(chart.categories.size()), result);
    chart.categories.emplace_back(step.name);
    chart.series[0].points.push_back(value);
    if (first == 0.0) {
      first = value.y;
    } else if (before / value.y > largest_gain) {
      largest_gain = before / value.y;
      largest = step.name;
    }
    before = last = value.y;
    table.rows.push_back(
        {step.name,
         fmt::format("{} {}", result.at("pattern").get<std::string>(), result.at("dtype").get<std::string>()),
         std::to_string(result.at("slots").get<std::uint64_t>()), kibibytes(result), fmt::format("{:.3f}", value.y),
         fmt::format("{:.3f}", value.low), fmt::format("{:.3f}", value.high), times_text(first / value.y)});
  }
  item.figures.push_back(draw(chart, "ladder"));
  item.sentences = {
      fmt::format("From dense experts loaded when the router asks, one slot, over packed ones and loading ahead of the "
                  "router into a second slot, to a buffer of {}: {} in all, on storage of {}.",
                  subject.budget, times_text(first / last), subject.storage_bandwidth),
      fmt::format("The largest single step is \"{}\", {}. Bars go from the least to the most of the repeats.", largest,
                  times_text(largest_gain))};
  item.tables = {table};
  return item;
}

}  // namespace flame::report
