#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "flame/report/chart.h"
#include "flame/report/items.h"
#include "flame/report/paper.h"

namespace flame::report {
namespace {

/// Predictors that have an order m.
bool has_order(const std::string& predictor) {
  return predictor == "cepr" || predictor == "incremental" || predictor == "backoff" || predictor == "online";
}

std::string label_of(const Json& result) {
  const auto predictor = result.at("predictor").get<std::string>();
  return has_order(predictor) ? fmt::format("{}({})", predictor, result.at("m").get<int>()) : predictor;
}

/// Series of hit ratio against slots, by label, in the order of the results.
std::vector<Series> hit_series(const Json& results) {
  std::vector<Series> series;
  for (const Json& result : results) {
    const std::string label = label_of(result);
    auto found = std::find_if(series.begin(), series.end(), [&](const Series& one) { return one.label == label; });
    if (found == series.end()) found = series.insert(series.end(), Series{.label = label});
    found->points.push_back(point(result.at("slots").get<double>(), 100.0 * result.at("hit_ratio").get<double>()));
  }
  return series;
}

std::optional<double> value_at(const std::vector<Series>& series, const std::string& label, double x) {
  for (const Series& one : series) {
    if (one.label != label) continue;
    for (const Point& value : one.points) {
      if (value.x == x) return value.y;
    }
  }
  return std::nullopt;
}

LineChart hit_chart() {
  return {.x_label = "slots of each MoE layer",
          .y_label = "hit ratio, %",
          .y_minimum = 0.0,
          .y_maximum = 100.0,
          .series = {}};
}

}  // namespace

Item hit_ratio(const Subject& subject, Measurements& measurements) {
  Item item;
  const Measurement measurement{.name = "buffer-paper",
                                .arguments = {"eval",
                                              "buffer",
                                              test_trace(subject, measurements).string(),
                                              "--profile",
                                              profile(subject, measurements).string(),
                                              "--skip-overlapping",
                                              "--mode",
                                              "paper",
                                              "--predictor",
                                              "cepr",
                                              "incremental",
                                              "backoff",
                                              "online",
                                              "edgemoe",
                                              "previous-token",
                                              "token",
                                              "token-path",
                                              "mix",
                                              "next-router",
                                              "lookahead",
                                              "pre-attention",
                                              "mix-hidden",
                                              "popularity",
                                              "random",
                                              "lru",
                                              "lifo",
                                              "belady",
                                              "--json"}};
  const Json measured = measurements.json(measurement);
  note_source(item, measurements, measurement);
  const std::vector<Series> series = hit_series(measured.at("results"));

  LineChart orders = hit_chart();
  LineChart others = hit_chart();
  Table table{.header = {"predictor"}, .rows = {}};
  std::size_t most = 0;
  for (const Series& one : series) {
    most = std::max(most, one.points.size());
    if (one.label.starts_with("cepr(")) orders.series.push_back(one);
    // As many as can be told apart; of the predictors with an order m = 3, where the paper's tables are still small.
    constexpr std::array<std::string_view, 11> kDrawn = {"cepr(3)",    "incremental(3)", "token",          "mix",
                                                         "mix-hidden", "popularity",     "previous-token", "random",
                                                         "lru",        "lifo",           "belady"};
    if (std::find(kDrawn.begin(), kDrawn.end(), one.label) == kDrawn.end()) continue;
    Series drawn = one;
    drawn.dashed = !one.label.starts_with("cepr");
    others.series.push_back(drawn);
  }
  for (const Series& one : series) {
    if (one.label == "belady") {
      Series bound = one;
      bound.dashed = true;
      orders.series.push_back(bound);
    }
    std::vector<std::string> row = {one.label};
    for (const Point& value : one.points) row.push_back(fmt::format("{:.2f} %", value.y));
    table.rows.push_back(row);
  }
  for (std::size_t slots = 1; slots <= most; ++slots) table.header.push_back(fmt::format("C = {}", slots));
  item.figures.push_back(
      draw(orders, "fig8b", "CEPR by m, and the best replacement there can be on the same slots (Belady's)"));
  item.figures.push_back(
      draw(others, "fig8b-others",
           "Other ways to fill the slots, those with an order at m = 3; the table below has every one measured"));

  double best = 0.0;
  std::string best_label;
  for (const Series& one : series) {
    if (one.label == "belady" || one.points.size() < 2) continue;
    if (one.points[1].y > best) {
      best = one.points[1].y;
      best_label = one.label;
    }
  }
  const std::optional<double> belady = value_at(series, "belady", 2);
  const std::optional<double> cepr = value_at(series, "cepr(3)", 2);
  const std::optional<double> lru = value_at(series, "lru", 2);
  item.sentences = {
      "Before each MoE layer of the decoder the slots hold exactly the experts that the predictor ranks first, so the "
      "hit ratio with C slots is the accuracy at C. LRU, LIFO and Belady's replacement never load ahead: they keep "
      "what "
      "has been used, Belady's with knowledge of the future."};
  if (belady && cepr && lru) {
    item.sentences.push_back(
        fmt::format("With two slots a layer, {} is the best of those measured here that can be had, {:.2f} %; CEPR "
                    "with m = 3 reaches "
                    "{:.2f} %, LRU {:.2f} %, Belady's replacement {:.2f} %: a prediction that loads ahead {} the best "
                    "that keeping alone can do.",
                    best_label, best, *cepr, *lru, *belady, *cepr > *belady ? "passes" : "does not reach"));
  }
  double best_cepr = 0.0;
  for (const Series& one : orders.series) {
    if (one.label.starts_with("cepr(") && one.points.size() > 1) best_cepr = std::max(best_cepr, one.points[1].y);
  }
  item.comparisons = {
      {"CEPR with two slots, best m", fmt::format("{:.2f} %", best_cepr), percent(paper::kTopTwoHighest)}};
  item.tables = {table};
  return item;
}

Item latency_by_slots(const Subject& subject, Measurements& measurements) {
  Item item;
  LineChart cpu{.x_label = "slots in all", .y_label = "milliseconds a token", .y_minimum = 0.0, .series = {}};
  Table cpu_table{
      .header = {"experts", "slots", "memory, KiB", "CEPR(3), ms", "LRU, ms", "oracle, ms", "hit ratio of CEPR(3)"},
      .rows = {}};
  const Json model = measurements.json(inspection(subject));
  double dense_at_first = 0.0;
  double sparse_at_first = 0.0;
  std::size_t first_slots = 0;
  for (const char* pattern : {"dense", "2:4", "1:4"}) {
    const Measurement measurement = buffer_replay(subject, measurements, pattern);
    const Json replay = measurements.json(measurement);
    note_source(item, measurements, measurement);
    Series with{.label = fmt::format("{}, CEPR(3)", pattern)};
    Series without{.label = fmt::format("{}, LRU", pattern), .points = {}, .dashed = true};
    for (const Json& result : replay.at("results")) {
      const double slots = result.at("slots").get<double>();
      const double milliseconds = 1e3 * result.at("latency_seconds").get<double>();
      if (result.at("predictor") == "lru") without.points.push_back(point(slots, milliseconds));
      if (result.at("predictor") != "cepr") continue;
      with.points.push_back(point(slots, milliseconds));
      const auto other = [&](const char* predictor) {
        return fmt::format("{:.3f}",
                           1e3 * result_with(replay, {{"predictor", predictor}, {"slots", result.at("slots")}})
                                     .at("latency_seconds")
                                     .get<double>());
      };
      cpu_table.rows.push_back(
          {std::string(pattern) + " int8", fmt::format("{:.0f}", slots),
           fmt::format("{:.0f}", slots * static_cast<double>(expert_bytes(model, pattern, "int8")) / 1024.0),
           fmt::format("{:.3f}", milliseconds), other("lru"), other("oracle"),
           percent(result.at("hit_ratio").get<double>())});
    }
    if (!with.points.empty()) {
      if (std::string_view(pattern) == "dense") dense_at_first = with.points.front().y;
      if (std::string_view(pattern) == "2:4") sparse_at_first = with.points.front().y;
      first_slots = static_cast<std::size_t>(with.points.front().x);
    }
    cpu.series.push_back(with);
    cpu.series.push_back(without);
  }
  item.figures.push_back(
      draw(cpu, "fig9b", fmt::format("CPU, replayed: storage of {}, int8 experts", subject.storage_bandwidth)));

  LineChart fpga{
      .x_label = "slots on chip", .y_label = "thousand cycles a token, MoE layers", .y_minimum = 0.0, .series = {}};
  Table fpga_table{.header = {"experts", "configuration", "slots", "on-chip memory, KiB", "cycles a token",
                              "µs a token", "hit ratio"},
                   .rows = {}};
  std::map<std::string, Series> series;
  const Measurement measurement = accelerator_sweep(subject, measurements);
  const Json measured = measurements.json(measurement);
  note_source(item, measurements, measurement);
  for (const Json& result : measured.at("sweep")) {
    if (result.at("scope") != "moe") continue;
    const auto configuration = result.at("configuration").get<std::string>();
    const auto pattern = result.at("pattern").get<std::string>();
    const bool predicted = configuration == "both" || configuration == "CEPR";
    const std::string label = fmt::format("{}, {}", pattern, predicted ? "CEPR(3)" : "LRU");
    const double cycles = result.at("cycles_per_token").get<double>();
    series[label].label = label;
    series[label].dashed = !predicted;
    series[label].points.push_back(point(result.at("slots").get<double>(), cycles / 1e3));
    fpga_table.rows.push_back(
        {pattern + " int8", configuration, std::to_string(result.at("slots").get<std::uint64_t>()),
         fmt::format("{:.0f}", result.at("budget_bytes").get<double>() / 1024.0), fmt::format("{:.0f}", cycles),
         fmt::format("{:.3f}", 1e6 * result.at("seconds_per_token").at("median").get<double>()),
         percent(result.at("hit_ratio").get<double>())});
  }
  for (const Series& one : cpu.series) {
    const auto found = series.find(one.label);
    if (found == series.end()) continue;
    std::sort(found->second.points.begin(), found->second.points.end(),
              [](const Point& a, const Point& b) { return a.x < b.x; });
    fpga.series.push_back(found->second);
  }
  item.figures.push_back(draw(fpga, "fig9b-fpga",
                              "Accelerator: cycles of the decoder's MoE layers, simulated transaction by transaction"));

  item.sentences = {
      "Each line is one sparsity, from few slots to all experts: more slots mean fewer loads, and a sparser expert "
      "makes "
      "each load shorter. The same bytes also hold more sparse experts, which moves a point to the right as well "
      "(PA-BUF); "
      "the tables give the bytes. The oracle of the table knows the next experts, but loads them no further ahead than "
      "the "
      "predictors do and keeps what it has as they do: it is no bound."};
  if (dense_at_first > 0.0 && sparse_at_first > 0.0) {
    item.sentences.push_back(fmt::format(
        "With {} the replayed CPU takes {:.2f} ms a token for dense and {:.2f} ms for 2:4 experts, {} apart.",
        first_slots == 1 ? std::string("one slot") : fmt::format("{} slots", first_slots), dense_at_first,
        sparse_at_first, times_text(dense_at_first / sparse_at_first)));
  }
  item.without_comparison = paper::kNoNumber;
  item.tables = {cpu_table, fpga_table};
  return item;
}

}  // namespace flame::report
