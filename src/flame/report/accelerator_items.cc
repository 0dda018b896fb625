#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "flame/report/chart.h"
#include "flame/report/items.h"

namespace flame::report {

Item accelerator_cycles(const Subject& subject, Measurements& measurements) {
  Item item;
  const Measurement measurement = accelerator_bench(subject, measurements);
  const Json simulated = measurements.json(measurement);
  note_source(item, measurements, measurement);

  BarChart chart{.x_label = "what is switched on",
                 .y_label = "cycles a token, MoE layers",
                 .stacked = true,
                 .categories = {},
                 .series = {}};
  Table table{.header = {"configuration", "experts", "cycles a token"}, .rows = {}};
  // The order in which a command goes through the kernel; the JSON is sorted by name.
  std::vector<std::string> kinds;
  for (const char* kind : {"array busy", "waiting for weights", "token and router", "expert buffer",
                           "fetching commands", "scales, turn, drain", "writing results"}) {
    kinds.emplace_back(kind);
  }
  for (const Json& result : simulated.at("results")) {
    for (const auto& [kind, cycles] : result.at("cycles").items()) {
      const bool known = std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
      if (!known && result.at("scope") == "moe" && cycles.get<double>() > 0.0) kinds.push_back(kind);
    }
  }
  for (const std::string& kind : kinds) {
    chart.series.push_back({.label = kind});
    table.header.push_back(kind);
  }
  std::string most_kind;
  double most_share = 0.0;
  double wait_neither = 0.0;
  double wait_both = 0.0;
  for (const Json& result : simulated.at("results")) {
    if (result.at("scope") != "moe") continue;
    const auto configuration = result.at("configuration").get<std::string>();
    const auto pattern = result.at("pattern").get<std::string>();
    const double all = result.at("cycles_per_token").get<double>();
    std::vector<std::string> row = {configuration, pattern + " int8", fmt::format("{:.0f}", all)};
    const auto x = static_cast<double>(chart.categories.size());
    chart.categories.push_back(pattern == "dense" ? configuration : fmt::format("{} {}", configuration, pattern));
    for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
      const double cycles = result.at("cycles").value(kinds[kind], 0.0);
      chart.series[kind].points.push_back(point(x, cycles));
      row.push_back(fmt::format("{:.0f}", cycles));
      if (kinds[kind] == "waiting for weights") {
        if (configuration == "neither") wait_neither = cycles / all;
        if (configuration == "both" && pattern == "2:4") wait_both = cycles / all;
      }
      if (configuration == "both" && pattern == "2:4" && cycles / all > most_share) {
        most_share = cycles / all;
        most_kind = kinds[kind];
      }
    }
    table.rows.push_back(row);
  }
  item.figures.push_back(draw(chart, "cycles"));
  item.sentences = {
      "Every cycle of the simulated kernel is counted under what it was spent on, here for the decoder's MoE layers "
      "with "
      "slots for a quarter of the decoder's 2:4 experts.",
      fmt::format("With both ideas at 2:4 most of them, {}, go to \"{}\"; the share that waits for weights is {} with "
                  "neither idea and {} with both.",
                  percent(most_share), most_kind, percent(wait_neither), percent(wait_both))};
  item.tables = {table};
  return item;
}

}  // namespace flame::report
