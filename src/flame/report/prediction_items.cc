#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "flame/report/chart.h"
#include "flame/report/items.h"
#include "flame/report/paper.h"

namespace flame::report {
namespace {

/// Every predictor that the profile has data for, on the test trace.
Json predictions(const Subject& subject, Measurements& measurements, Item& item) {
  const std::filesystem::path trace = test_trace(subject, measurements);
  const Measurement measurement{
      .name = "prediction",
      .arguments = {"eval", "prediction", trace.string(), "--profile", profile(subject, measurements).string(),
                    "--skip-overlapping", "--samples", subject.quick ? "200" : "1000", "--json"}};
  Json result = measurements.json(measurement);
  note_source(item, measurements, measurement);
  return result;
}

/// The result of one predictor, of the table cut to `budget_bytes` (0: of the whole one); m is 0 for predictors without
/// order.
std::optional<Json> find(const Json& predictions, const std::string& predictor, std::size_t m, std::size_t k,
                         std::uint64_t budget_bytes = 0) {
  for (const Json& result : predictions.at("results")) {
    if (result.at("predictor") == predictor && result.at("m") == m && result.at("k") == k &&
        result.value("depth", 1) == 1 && result.value("budget_bytes", std::uint64_t{0}) == budget_bytes) {
      return result;
    }
  }
  return std::nullopt;
}

std::set<std::size_t> orders_of(const Json& predictions, const std::string& predictor) {
  std::set<std::size_t> orders;
  for (const Json& result : predictions.at("results")) {
    if (result.at("predictor") == predictor) orders.insert(result.at("m").get<std::size_t>());
  }
  return orders;
}

Point with_interval(double x, const Json& result) {
  Point value = point(x, 100.0 * result.at("accuracy").get<double>());
  if (result.contains("interval") && result.at("interval").is_array()) {
    value.low = 100.0 * result.at("interval").at(0).get<double>();
    value.high = 100.0 * result.at("interval").at(1).get<double>();
  }
  return value;
}

double accuracy_of(const Json& result) { return result.at("accuracy").get<double>(); }

/// The most that a CEPR table gains at k = 1 over the best incremental one that takes no more bytes.
std::optional<double> gain_at_equal_storage(const Json& predictions) {
  std::optional<double> most;
  for (const std::size_t m : orders_of(predictions, "cepr")) {
    const std::optional<Json> cepr = find(predictions, "cepr", m, 1);
    if (!cepr || m == 0) continue;
    double best = 0.0;
    for (const std::size_t other : orders_of(predictions, "incremental")) {
      const std::optional<Json> incremental = find(predictions, "incremental", other, 1);
      if (incremental && incremental->at("index_bytes") <= cepr->at("index_bytes")) {
        best = std::max(best, accuracy_of(*incremental));
      }
    }
    if (best > 0.0) most = std::max(most.value_or(-1.0), accuracy_of(*cepr) / best - 1.0);
  }
  return most;
}

std::string signed_percent(double share) { return fmt::format("{:+.2f} %", 100.0 * share); }

std::string range_text(double low, double high) { return fmt::format("{} to {}", percent(low), percent(high)); }

}  // namespace

Item accuracy_by_layer(const Subject& subject, Measurements& measurements) {
  Item item;
  const Json all = predictions(subject, measurements, item);
  LineChart chart{.x_label = "MoE layer of the decoder",
                  .y_label = "positions predicted at k = 1, %",
                  .y_minimum = 0.0,
                  .y_maximum = 100.0,
                  .series = {}};
  Table table{.header = {"predictor", "m", "k = 1", "k = 2", "k = 5", "index bytes at k = 2"}, .rows = {}};
  const auto add = [&](const std::string& predictor, std::size_t m, bool drawn) {
    const std::optional<Json> one = find(all, predictor, m, 1);
    if (!one) return;
    Series series{.label = fmt::format("{}({})", predictor, m), .points = {}, .dashed = predictor != "cepr"};
    double layer = 0.0;
    for (const Json& accuracy : one->at("per_layer")) {
      series.points.push_back(point(layer, 100.0 * accuracy.get<double>()));
      layer += 1.0;
    }
    if (drawn) chart.series.push_back(series);
    const auto at = [&](std::size_t k) {
      const std::optional<Json> result = find(all, predictor, m, k);
      return result ? percent(result->at("accuracy").get<double>()) : std::string("–");
    };
    const std::optional<Json> two = find(all, predictor, m, 2);
    table.rows.push_back({predictor, std::to_string(m), at(1), at(2), at(5),
                          two ? std::to_string(two->at("index_bytes").get<std::uint64_t>()) : "–"});
  };
  for (const std::size_t m : orders_of(all, "cepr")) add("cepr", m, true);
  const std::set<std::size_t> incremental = orders_of(all, "incremental");
  // From m = L - 1 on, incremental prediction looks back on the whole token: its curves lie on one another.
  for (const std::size_t m : incremental) add("incremental", m, m == 1 || m == *incremental.rbegin());
  item.figures.push_back(draw(chart, "fig8a"));
  item.tables = {table};

  const std::set<std::size_t> orders = orders_of(all, "cepr");
  if (orders.empty() || incremental.empty()) return item;
  double low = 1.0;
  double high = 0.0;
  double best_two = 0.0;
  double low_five = 1.0;
  double high_five = 0.0;
  for (const std::size_t m : orders) {
    if (m == 0) continue;
    const std::optional<Json> one = find(all, "cepr", m, 1);
    const std::optional<Json> two = find(all, "cepr", m, 2);
    const std::optional<Json> five = find(all, "cepr", m, 5);
    if (one) low = std::min(low, one->at("accuracy").get<double>());
    if (one) high = std::max(high, one->at("accuracy").get<double>());
    if (two) best_two = std::max(best_two, two->at("accuracy").get<double>());
    if (five) low_five = std::min(low_five, five->at("accuracy").get<double>());
    if (five) high_five = std::max(high_five, five->at("accuracy").get<double>());
  }
  const std::size_t last = *std::min_element(orders.rbegin(), orders.rend(), std::greater<>());
  const std::optional<Json> cepr = find(all, "cepr", last, 1);
  const std::optional<Json> other = find(all, "incremental", *incremental.rbegin(), 1);
  const double gain = cepr && other && accuracy_of(*other) > 0.0 ? accuracy_of(*cepr) / accuracy_of(*other) - 1.0 : 0.0;
  item.sentences = {fmt::format(
      "CEPR names the expert that comes in {} of the positions at k = 1, and in up to {} at k = 2. At m = {} it is {} "
      "{} than incremental prediction, which knows nothing when a token begins.",
      range_text(low, high), percent(best_two), last, percent(std::abs(gain)), gain < 0.0 ? "worse" : "better")};
  item.comparisons = {
      {"CEPR, k = 1, over m", range_text(low, high), range_text(paper::kTopOneLowest, paper::kTopOneHighest)},
      {"CEPR, k = 2, best", percent(best_two), percent(paper::kTopTwoHighest)}};
  if (low_five <= high_five) {  // a layer of fewer experts has no five
    item.comparisons.push_back({"CEPR, k = 5, over m", range_text(low_five, high_five),
                                range_text(paper::kTopFiveLowest, paper::kTopFiveHighest)});
  }
  item.comparisons.push_back({fmt::format("CEPR over incremental, k = 1, m = {}", last), signed_percent(gain),
                              fmt::format("{:+.2f} %", paper::kGainOverIncrementalPercent)});
  if (const std::optional<double> equal = gain_at_equal_storage(all)) {
    item.comparisons.push_back({"the same at equal index storage, at its most", signed_percent(*equal),
                                fmt::format("{:+.2f} %", paper::kGainAtEqualStoragePercent)});
  }
  const std::optional<Json> random = find(all, "random", 0, 1);
  if (random && accuracy_of(*random) > 0.0) {
    item.comparisons.push_back(
        {"CEPR over random, k = 1, over m",
         fmt::format("{} to {}", times_text(low / accuracy_of(*random)), times_text(high / accuracy_of(*random))),
         fmt::format("{} to {}", times_text(paper::kTimesRandom[0]), times_text(paper::kTimesRandom[1]))});
  }
  return item;
}

Item index_storage(const Subject& subject, Measurements& measurements) {
  Item item;
  const Json all = predictions(subject, measurements, item);
  LineChart chart{.x_label = "m", .y_label = "bytes of the table, k = 2", .logarithmic_y = true, .series = {}};
  Series dense{.label = "cepr, every context", .points = {}};
  Series seen{.label = "cepr, seen contexts", .points = {}, .dashed = true};
  Table table{.header = {"m", "every context, bytes", "seen contexts with keys, bytes", "accuracy, k = 2"}, .rows = {}};
  for (const std::size_t m : orders_of(all, "cepr")) {
    const std::optional<Json> result = find(all, "cepr", m, 2);
    if (!result || m == 0) continue;
    table.rows.push_back(
        {std::to_string(m), std::to_string(result->at("index_bytes").get<std::uint64_t>()),
         result->contains("seen_bytes") ? std::to_string(result->at("seen_bytes").get<std::uint64_t>()) : "–",
         percent(accuracy_of(*result))});
    dense.points.push_back(point(static_cast<double>(m), result->at("index_bytes").get<double>()));
    if (result->contains("seen_bytes")) {
      seen.points.push_back(point(static_cast<double>(m), result->at("seen_bytes").get<double>()));
    }
    if (m == 2 || m == 3) {
      item.comparisons.push_back({fmt::format("bytes at m = {}, k = 2", m),
                                  std::to_string(result->at("index_bytes").get<std::uint64_t>()),
                                  fmt::format("below {:.0f}", paper::kIndexBytesBelow)});
    }
  }
  chart.series = {dense, seen};
  item.figures.push_back(draw(chart, "fig9a"));
  item.tables = {table};
  std::optional<double> crossing;
  for (std::size_t i = 0; i < std::min(dense.points.size(), seen.points.size()); ++i) {
    if (!crossing && seen.points[i].y < dense.points[i].y) crossing = dense.points[i].x;
  }
  item.sentences = {fmt::format(
      "A table for every context grows by the factor of the number of experts with each step of m. One that holds only "
      "the contexts seen while profiling has to keep their keys, but cannot outgrow the data: here it {}.",
      crossing ? fmt::format("is the smaller one from m = {:.0f} on", *crossing)
               : std::string("is never the smaller one"))};
  return item;
}

Item accuracy_against_bytes(const Subject& subject, Measurements& measurements) {
  Item item;
  const Json all = predictions(subject, measurements, item);
  LineChart chart{.x_label = "bytes on the device, k = 1",
                  .y_label = "positions predicted at k = 1, %",
                  .logarithmic_x = true,
                  .zero_label = "none",
                  .y_minimum = 0.0,
                  .y_maximum = 100.0,
                  .series = {}};
  std::map<std::string, Series> families;
  Table table{.header = {"predictor", "m", "accuracy, k = 1", "accuracy, k = 2", "bytes, k = 1", "operations"},
              .rows = {}};
  std::string best;
  double best_accuracy = 0.0;
  std::string best_within;
  double best_within_accuracy = 0.0;
  bool hidden = false;
  for (const Json& result : all.at("results")) {
    if (result.at("k") != 1 || result.value("depth", 1) != 1) continue;
    const auto predictor = result.at("predictor").get<std::string>();
    const auto m = result.at("m").get<std::size_t>();
    const auto bytes = result.at("index_bytes").get<double>();
    const auto accuracy = accuracy_of(result);
    // Bounds that know the future are no predictors; the table has them.
    if (predictor != "oracle" && predictor != "belady") {
      Series& series = families[predictor];
      series.label = predictor;
      series.points.push_back(with_interval(bytes, result));
    }
    const std::optional<Json> two = find(all, predictor, m, 2, result.value("budget_bytes", std::uint64_t{0}));
    table.rows.push_back({predictor, std::to_string(m), percent(accuracy),
                          two ? percent(two->at("accuracy").get<double>()) : "–", fmt::format("{:.0f}", bytes),
                          fmt::format("{:.0f}", result.value("operations", 0.0))});
    hidden = hidden || predictor == "mix-hidden";
    if (predictor == "oracle" || predictor == "belady") continue;
    const std::string name = m > 0 ? fmt::format("{}({})", predictor, m) : predictor;
    if (accuracy > best_accuracy) {
      best_accuracy = accuracy;
      best = name;
    }
    constexpr double kSmall = 2048.0;
    if (bytes <= kSmall && accuracy > best_within_accuracy) {
      best_within_accuracy = accuracy;
      best_within = name;
    }
  }
  for (auto& [name, series] : families) {
    std::sort(series.points.begin(), series.points.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
    chart.series.push_back(series);
  }
  item.figures.push_back(draw(chart, "bytes"));
  item.sentences = {
      fmt::format("Of the predictors measured here that a program can use while decoding, {} is the best, with {} "
                  "at k = 1. Further left is cheaper, further up is better; bars are 95 % intervals over examples. "
                  "Oracle and Belady, which know the future, are in the table only.",
                  best, percent(best_accuracy))};
  if (!best_within.empty()) {
    item.sentences.push_back(fmt::format("Within 2 KiB it is {}, with {}.{}", best_within,
                                         percent(best_within_accuracy),
                                         hidden ? " Those that read hidden states (next-router, lookahead, "
                                                  "pre-attention, mix-hidden) store weights instead of experts."
                                                : ""));
  }

  item.tables = {table};
  return item;
}

}  // namespace flame::report
