#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "flame/report/chart.h"
#include "flame/report/items.h"

namespace flame::report {

namespace {

/// Cycles of each kind, a bar a configuration, and the same as a table.
struct Cycles {
  BarChart chart{.x_label = "what is switched on",
                 .y_label = "cycles a token, MoE layers",
                 .stacked = true,
                 .categories = {},
                 .series = {}};
  Table table;
  std::string most_kind;  ///< of "both" at 2:4
  double most_share = 0.0;
  double wait_neither = 0.0;  ///< share that waits for weights
  double wait_both = 0.0;     ///< the same of "both" at 2:4
};

Cycles cycles_of(const Json& simulated, const std::string& name) {
  Cycles cycles;
  cycles.table.header = {name, "experts", "cycles a token"};
  // The order in which a command goes through the kernel; the JSON is sorted by name.
  std::vector<std::string> kinds = {"array busy",        "waiting for weights", "token and router", "expert buffer",
                                    "fetching commands", "scales, turn, drain", "writing results"};
  for (const Json& result : simulated.at("results")) {
    for (const auto& [kind, count] : result.at("cycles").items()) {
      const bool known = std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
      if (!known && result.at("scope") == "moe" && count.get<double>() > 0.0) kinds.push_back(kind);
    }
  }
  for (const std::string& kind : kinds) {
    cycles.chart.series.push_back({.label = kind});
    cycles.table.header.push_back(kind);
  }
  for (const Json& result : simulated.at("results")) {
    if (result.at("scope") != "moe") continue;
    const auto configuration = result.at("configuration").get<std::string>();
    const auto pattern = result.at("pattern").get<std::string>();
    const double all = result.at("cycles_per_token").get<double>();
    const bool both = configuration == "both" && pattern == "2:4";
    std::vector<std::string> row = {configuration, pattern + " int8", fmt::format("{:.0f}", all)};
    const auto x = static_cast<double>(cycles.chart.categories.size());
    cycles.chart.categories.push_back(pattern == "dense" ? configuration
                                                         : fmt::format("{} {}", configuration, pattern));
    for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
      const double count = result.at("cycles").value(kinds[kind], 0.0);
      cycles.chart.series[kind].points.push_back(point(x, count));
      row.push_back(fmt::format("{:.0f}", count));
      if (kinds[kind] == "waiting for weights" && configuration == "neither") cycles.wait_neither = count / all;
      if (kinds[kind] == "waiting for weights" && both) cycles.wait_both = count / all;
      if (both && count / all > cycles.most_share) {
        cycles.most_share = count / all;
        cycles.most_kind = kinds[kind];
      }
    }
    cycles.table.rows.push_back(row);
  }
  return cycles;
}

}  // namespace

Item accelerator_cycles(const Subject& subject, Measurements& measurements) {
  Item item;
  item.sentences = {
      "Every cycle of the simulated kernel is counted under what it was spent on, here for the decoder's MoE layers: "
      "of this "
      "model with slots for a quarter of the decoder's 2:4 experts, and of one of switch-base's size that is routed as "
      "this "
      "one, with all of the chip's slot memory."};
  const Measurement own = accelerator_bench(subject, measurements);
  const Measurement base = accelerator_bench_of_base(subject, measurements);
  for (const auto& [measurement, id, name] : {std::tuple{own, "cycles", subject.model.filename().string()},
                                              std::tuple{base, "cycles-base", base.arguments[1]}}) {
    const Json simulated = measurements.json(measurement);
    note_source(item, measurements, measurement);
    const Cycles cycles = cycles_of(simulated, name);
    item.figures.push_back(draw(cycles.chart, id, name));
    item.tables.push_back(cycles.table);
    item.sentences.push_back(fmt::format(
        "{}: with both ideas at 2:4 the largest share of them, {}, goes to \"{}\"; the share that waits for weights is "
        "{} with "
        "neither idea and {} with both.",
        name, percent(cycles.most_share), cycles.most_kind, percent(cycles.wait_neither), percent(cycles.wait_both)));
  }
  return item;
}

}  // namespace flame::report
