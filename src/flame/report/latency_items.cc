#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <utility>

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
void add_given_rows(const Json& given, const std::string& file, const Subject& subject, Item& item, Table& table,
                    Table& how) {
  const std::string device = fmt::format("{}, transformers {}", given.at("device").get<std::string>(),
                                         given.value("transformers", std::string("of unknown version")));
  std::map<std::string, std::map<std::string, double>> by_type;
  for (const Json& result : given.at("results")) {
    by_type[result.at("dtype").get<std::string>()][result.at("scope").get<std::string>()] = median_of(result);
  }
  for (const auto& [type, seconds] : by_type) {
    const auto text = [&by_scope = seconds](const char* scope) {  // named anew: clang 14 captures no bindings
      const auto found = by_scope.find(scope);
      return found == by_scope.end() ? std::string("–") : fmt::format("{:.3f}", 1e3 * found->second);
    };
    table.rows.push_back({device, "all resident", "dense " + type, "all", "–", "–", text("decoder"), text("moe"), "–"});
  }
  const auto prompt = given.at("prompt_tokens").get<std::uint64_t>();
  const auto tokens = given.at("new_tokens").get<std::uint64_t>();
  const auto repeats = given.at("repeats").get<std::uint64_t>();
  how.rows.push_back({device, std::to_string(prompt), std::to_string(tokens), std::to_string(repeats),
                      "its own routers, random ids", "median of the repeats"});
  item.commands.push_back(fmt::format("python3 {} {}{} --prompt {} --tokens {} --repeats {} -o {}",
                                      given.at("program").get<std::string>(), subject.model.string(),
                                      given.at("device").get<std::string>().starts_with("CPU") ? "" : " --device cuda",
                                      prompt, tokens, repeats, file));
}

/// What the simulated accelerator's decoder takes, its dense layers' time between the MoE layers included.
struct AcceleratorRows {
  std::map<std::string, double> between;  ///< MoE layers, times neither, with the dense layers' time in between
  std::map<std::string, double> back_to_back;
};

AcceleratorRows accelerator_rows(const Json& simulated, const std::string& device, Table& table) {
  AcceleratorRows rows;
  const double milliseconds_a_cycle = 1e-3 / simulated.at("clock_mhz").get<double>();
  double neither = 0.0;
  double neither_back_to_back = 0.0;
  for (const Json& whole : simulated.at("results")) {
    if (whole.at("scope") != "decoder") continue;
    const auto configuration = whole.at("configuration").get<std::string>();
    const auto pattern = whole.at("pattern").get<std::string>();
    const double cycles = whole.at("moe_cycles_per_token").get<double>();
    const double alone =
        result_with(simulated, {{"scope", "moe"}, {"configuration", configuration}, {"pattern", pattern}})
            .at("cycles_per_token")
            .get<double>();
    if (configuration == "neither") {
      neither = cycles;
      neither_back_to_back = alone;
    }
    const std::string key = configuration + " " + pattern;
    rows.between[key] = neither / cycles;
    rows.back_to_back[key] = neither_back_to_back / alone;
    table.rows.push_back({device, configuration, pattern + " int8", kibibytes(whole),
                          std::to_string(whole.at("slots").get<std::uint64_t>()), hit_text(whole),
                          fmt::format("{:.4f}", 1e3 * median_of(whole)),
                          fmt::format("{:.4f}", milliseconds_a_cycle * cycles), times_text(rows.between[key])});
  }
  return rows;
}

/// What prediction alone can save of these cycles, and what it does: from the counters.
std::string prediction_alone(const Json& simulated, const std::string& where) {
  const auto row = [&](const char* configuration) -> const Json& {
    return result_with(simulated, {{"scope", "decoder"}, {"configuration", configuration}, {"pattern", "dense"}});
  };
  const Json& neither = row("neither");
  const Json& cepr = row("CEPR");
  const auto cycles = [](const Json& result) { return result.at("moe_cycles_per_token").get<double>(); };
  const auto waiting = [](const Json& result) {
    return result.at("cycles").at("waiting for weights").get<double>() +
           result.at("cycles").at("expert buffer").get<double>();
  };
  const auto share = [](const Json& result, const char* kind) {
    const double all =
        result.at("hits").get<double>() + result.at("late").get<double>() + result.at("misses").get<double>();
    return percent(result.at(kind).get<double>() / std::max(1.0, all));
  };
  const double at_most = cycles(neither) / std::max(1.0, cycles(neither) - waiting(neither));
  return fmt::format(
      "CEPR alone {}: with neither idea {} of the MoE layers' cycles wait for weights or for the expert buffer, so "
      "that no prediction could give more than {}. CEPR gives {}: hits go from {} to {}, misses from {} to {}, and {} "
      "of the cycles still wait.",
      where, percent(waiting(neither) / cycles(neither)), times_text(at_most),
      times_text(cycles(neither) / cycles(cepr)), share(neither, "hits"), share(cepr, "hits"), share(neither, "misses"),
      share(cepr, "misses"), percent(waiting(cepr) / cycles(cepr)));
}

}  // namespace

Item speed_table(const Subject& subject, Measurements& measurements) {
  Item item;
  Table table{.header = {"device", "configuration", "experts", "expert memory, KiB", "slots", "hit ratio", "ms a token",
                         "of it MoE layers, ms", "MoE layers, times neither"},
              .rows = {}};
  Table how{.header = {"device", "prompt", "tokens decoded", "repeats", "routing", "time"}, .rows = {}};
  std::string missing;
  std::optional<Json> transformers;
  for (const auto& [name, maker] :
       {std::pair{"transformers", "tools/report/transformers_speed.py makes it"},
        std::pair{"gpu", "tools/report/transformers_speed.py --device cuda makes it where there is a GPU"}}) {
    try {
      const Json given = measurements.given(name, maker);
      add_given_rows(given, (measurements.directory() / fmt::format("{}.json", name)).string(), subject, item, table,
                     how);
      item.data_files.push_back(fmt::format("{}.json", name));
      if (std::string_view(name) == "transformers") transformers = given;
    } catch (const NotMeasured& absent) {
      missing += fmt::format("{}{}.json is not among the data ({})", missing.empty() ? "" : "; ", name, maker);
    }
  }

  const Measurement cpu = bench_at_budget(subject, measurements);
  const Json bench = measurements.json(cpu);
  note_source(item, measurements, cpu);
  const double cpu_neither = median_of(result_with(bench, {{"configuration", "neither"}, {"scope", "moe"}}));
  const std::string cpu_name = fmt::format("CPU, {} threads, FLAME", bench.at("threads").get<std::uint64_t>());
  const auto add_cpu_row = [&](const Json& measured, const char* configuration, const std::string& name) {
    const Json& whole = result_with(measured, {{"configuration", configuration}, {"scope", "decoder"}});
    const Json& moe = result_with(measured, {{"configuration", configuration}, {"scope", "moe"}});
    table.rows.push_back(
        {cpu_name, name,
         fmt::format("{} {}", whole.at("pattern").get<std::string>(), whole.at("dtype").get<std::string>()),
         kibibytes(whole), std::to_string(whole.at("slots").get<std::uint64_t>()), hit_text(whole),
         fmt::format("{:.3f}", 1e3 * median_of(whole)), fmt::format("{:.3f}", 1e3 * median_of(moe)),
         times_text(cpu_neither / median_of(moe))});
  };
  std::string against_transformers;
  for (const char* type : {"bf16", "f32"}) {
    const Measurement measurement = bench_of_dense(subject, measurements, type);
    const Json dense = measurements.json(measurement);
    note_source(item, measurements, measurement);
    add_cpu_row(dense, "resident", "all resident");
    if (!transformers || transformers->at("prompt_tokens") != dense.at("input_tokens") ||
        transformers->at("new_tokens") != dense.at("output_tokens")) {
      continue;
    }
    for (const Json& result : transformers->at("results")) {
      if (result.at("scope") != "decoder" || result.at("dtype") != type) continue;
      const double ours = median_of(result_with(dense, {{"configuration", "resident"}, {"scope", "decoder"}}));
      against_transformers += fmt::format("{}{} in {}", against_transformers.empty() ? "" : ", ",
                                          times_text(median_of(result) / ours), type);
    }
  }
  for (const char* configuration : {"neither", "CEPR", "N:M", "both"}) add_cpu_row(bench, configuration, configuration);
  add_cpu_row(bench, "resident", "all resident");
  how.rows.push_back({cpu_name, std::to_string(bench.at("input_tokens").get<std::uint64_t>()),
                      std::to_string(bench.at("output_tokens").get<std::uint64_t>()),
                      std::to_string(bench.at("repeats").get<std::uint64_t>()),
                      "as in the second half of the test trace, random ids", "median of the repeats"});

  const Measurement own = accelerator_bench(subject, measurements);
  const Json simulated = measurements.json(own);
  note_source(item, measurements, own);
  const std::string accelerator_name = "accelerator, simulated";
  const AcceleratorRows rows = accelerator_rows(simulated, accelerator_name, table);
  const auto decoded = [](const Json& result) {
    return std::to_string(result.at("results").at(0).at("tokens").get<std::uint64_t>());
  };
  const auto clock = [](const Json& result) {
    return fmt::format("cycles at {:.0f} MHz, an assumption; dense layers modelled",
                       result.at("clock_mhz").get<double>());
  };
  how.rows.push_back({accelerator_name, "none: decoder only", decoded(simulated), "1",
                      "as in the second half of the test trace", clock(simulated)});
  const Measurement of_base = accelerator_bench_of_base(subject, measurements);
  const Json simulated_base = measurements.json(of_base);
  note_source(item, measurements, of_base);
  const std::string base = of_base.arguments[1];
  Table base_table{.header = table.header, .rows = {}};
  const AcceleratorRows base_rows = accelerator_rows(simulated_base, "accelerator, " + base, base_table);
  how.rows.push_back({"accelerator, " + base, "none: decoder only", decoded(simulated_base), "1",
                      "as in the second half of the test trace", clock(simulated_base)});
  const Measurement of_whole = accelerator_bench_of_whole_experts(subject, measurements);
  const Json simulated_whole = measurements.json(of_whole);
  note_source(item, measurements, of_whole);
  const AcceleratorRows whole_rows = accelerator_rows(simulated_whole, "the same, whole experts", base_table);

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
    chart.series[0].points.push_back(point(x, rows.between.at(key)));
    chart.series[1].points.push_back(point(x, base_rows.between.at(key)));
    const Json& seconds =
        result_with(bench, {{"configuration", configuration}, {"scope", "moe"}}).at("seconds_per_token");
    chart.series[2].points.push_back({x, cpu_neither / seconds.at("median").get<double>(),
                                      cpu_neither / seconds.at("max").get<double>(),
                                      cpu_neither / seconds.at("min").get<double>()});
  }
  item.figures.push_back(draw(chart, "table1"));

  const std::string papers_pruning =
      fmt::format("{} to {}", times_text(paper::kPruningAlone[0]), times_text(paper::kPruningAlone[1]));
  const std::string papers_prediction =
      fmt::format("{} to {}", times_text(paper::kPredictionAlone[0]), times_text(paper::kPredictionAlone[1]));
  for (const auto& [name, key, papers] : {std::tuple{"N:M alone, 2:4", "N:M 2:4", papers_pruning},
                                          std::tuple{"N:M alone, 1:4", "N:M 1:4", papers_pruning},
                                          std::tuple{"CEPR alone", "CEPR dense", papers_prediction},
                                          std::tuple{"both, 2:4", "both 2:4", times_text(paper::kBothOverNeither)},
                                          std::tuple{"both, 1:4", "both 1:4", times_text(paper::kBothOverNeither)}}) {
    item.comparisons.push_back(
        {fmt::format("{}, over neither: this model", name), times_text(rows.between.at(key)), papers});
    item.comparisons.push_back(
        {fmt::format("{}, over neither: {}'s size", name, base), times_text(base_rows.between.at(key)), papers});
    item.comparisons.push_back({fmt::format("{}, over neither: {}'s size, whole experts", name, base),
                                times_text(whole_rows.between.at(key)), papers});
  }
  const double cpu_both = cpu_neither / median_of(result_with(bench, {{"configuration", "both"}, {"scope", "moe"}}));
  item.sentences = {
      fmt::format(
          "The rows neither, CEPR, N:M and both have the same memory for experts: {} of the packed 2:4 experts on the "
          "CPU with storage of {}, a quarter of the decoder's 2:4 experts on the accelerator's chip. Both "
          "together make the MoE layers {} as fast as neither on the CPU, and on the accelerator {} with 2:4 "
          "experts, {} with 1:4.",
          subject.budget, subject.storage_bandwidth, times_text(cpu_both), times_text(rows.between.at("both 2:4")),
          times_text(rows.between.at("both 1:4"))),
      prediction_alone(simulated, "on the accelerator"),
      prediction_alone(simulated_base, fmt::format("at {}'s size", base)),
      fmt::format("The accelerator computes a missed expert as it arrives, which hides most of the load. Where it "
                  "waits for the whole expert, as a plain engine does, CEPR alone gives {} and both {} at 2:4, {} at "
                  "1:4 ({}'s size).",
                  times_text(whole_rows.between.at("CEPR dense")), times_text(whole_rows.between.at("both 2:4")),
                  times_text(whole_rows.between.at("both 1:4")), base)};
  if (!against_transformers.empty()) {
    item.sentences.push_back(fmt::format(
        "With all experts in memory, dense, behind the same number of prompt tokens, FLAME decodes on this CPU with "
        "this multiple of transformers' speed: {}.",
        against_transformers));
  }
  if (!missing.empty()) item.sentences.push_back("Rows of other programs: " + missing + ".");
  item.tables = {table, base_table, how};
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
    const Measurement measurement = bench_measurement(subject, measurements, "memory-" + plain,
                                                      {"--only", "N:M", "both", "--pattern", "2:4", "--budget", "12.5%",
                                                       "25%", "50%", "75%", "100%", "--storage-bandwidth", bandwidth});
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
