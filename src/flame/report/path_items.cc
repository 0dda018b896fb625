#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "flame/report/chart.h"
#include "flame/report/items.h"
#include "flame/report/paper.h"

namespace flame::report {
namespace {

/// Path statistics of decoding the profile's examples.
Json path_statistics(const Subject& subject, Measurements& measurements, Item& item) {
  Measurement measurement{.name = "paths",
                          .arguments = {"profile", "--show", profile(subject, measurements).string(), "--json"}};
  // The heat map is of two layers in the middle, where there are so many.
  const auto layers = measurements.json(inspection(subject)).at("decoder_moe_layers").get<std::size_t>();
  if (layers >= 2) {
    const std::size_t from = layers > 2 ? 1 : 0;
    measurement.arguments.insert(measurement.arguments.end(),
                                 {"--heat-map", std::to_string(from), std::to_string(from + 1)});
  }
  Json result = measurements.json(measurement);
  note_source(item, measurements, measurement);
  return result;
}

std::string path_text(const Json& experts) {
  std::string text;
  for (const Json& expert : experts) text += fmt::format("{}{}", text.empty() ? "" : " → ", expert.get<int>());
  return text;
}

}  // namespace

Item path_frequencies(const Subject& subject, Measurements& measurements) {
  Item item;
  const Json paths = path_statistics(subject, measurements, item);
  const auto tokens = paths.at("tokens").get<double>();
  LineChart chart{.x_label = "rank of the path",
                  .y_label = "tokens that take it, %",
                  .logarithmic_x = true,
                  .logarithmic_y = true,
                  .series = {{.label = "paths", .points = {}}}};
  // The curve is drawn on logarithmic axes: ranks a factor of 1.1 apart show all of it.
  const Json& by_rank = paths.at("tokens_by_rank");
  double next = 1.0;
  for (std::size_t rank = 1; rank <= by_rank.size(); ++rank) {
    if (static_cast<double>(rank) < next && rank != by_rank.size()) continue;
    next = std::max(next + 1.0, next * 1.1);
    chart.series[0].points.push_back(
        point(static_cast<double>(rank), 100.0 * by_rank.at(rank - 1).get<double>() / tokens));
  }
  item.figures.push_back(draw(chart, "fig5a"));
  const auto distinct = paths.at("paths_distinct").get<double>();
  const auto possible = paths.at("paths_possible").get<double>();
  item.sentences = {
      fmt::format("Of {:.0f} possible paths through the decoder's MoE layers, {:.0f} occur in {:.0f} decoded tokens "
                  "({:.2f} %). The "
                  "hottest one takes {} of the tokens, the ten hottest {}.",
                  possible, distinct, tokens, 100.0 * distinct / possible,
                  percent(paths.at("top1_share").get<double>()), percent(paths.at("top10_share").get<double>()))};
  item.comparisons = {
      {"distinct paths", fmt::format("{:.0f}", distinct), fmt::format("{:.0f}", paper::kDistinctPaths)},
      {"hottest path", percent(paths.at("top1_share").get<double>()), percent(paper::kTopPathShare)},
      {"ten hottest", percent(paths.at("top10_share").get<double>()), percent(paper::kTopTenPathsShare)}};
  return item;
}

Item path_histogram(const Subject& subject, Measurements& measurements) {
  Item item;
  const Json paths = path_statistics(subject, measurements, item);
  BarChart chart{.x_label = "tokens that take the path",
                 .y_label = "share, %",
                 .categories = {},
                 .series = {{.label = "of the paths", .points = {}}, {.label = "of the tokens", .points = {}}}};
  Table table{.header = {"tokens a path", "paths", "tokens"}, .rows = {}};
  const auto distinct = paths.at("paths_distinct").get<double>();
  const auto tokens = paths.at("tokens").get<double>();
  double first_class = 0.0;
  for (const Json& row : paths.at("histogram")) {
    const auto index = static_cast<double>(chart.categories.size());
    chart.categories.push_back(row.at("tokens_a_path").get<std::string>());
    const double share = row.at("paths").get<double>() / distinct;
    if (index == 0.0) first_class = share;
    chart.series[0].points.push_back(point(index, 100.0 * share));
    chart.series[1].points.push_back(point(index, 100.0 * row.at("tokens").get<double>() / tokens));
    table.rows.push_back({chart.categories.back(), std::to_string(row.at("paths").get<std::uint64_t>()),
                          std::to_string(row.at("tokens").get<std::uint64_t>())});
  }
  item.figures.push_back(draw(chart, "fig5b"));
  item.sentences = {fmt::format(
      "{} of the paths that occur are taken by at most ten tokens, while the {:.0f} paths taken "
      "by more carry {} of the tokens.",
      percent(first_class), distinct * (1.0 - first_class), percent(1.0 - chart.series[1].points.front().y / 100.0))};
  item.comparisons = {{"paths of at most 10 tokens", percent(first_class), percent(paper::kPathsOfAtMostTenTokens)}};
  item.tables = {table};
  return item;
}

Item conditional_map(const Subject& subject, Measurements& measurements) {
  Item item;
  const Json paths = path_statistics(subject, measurements, item);
  if (!paths.contains("heat_map")) throw NotMeasured("a model with a single MoE layer in its decoder has no such map");
  const Json& map = paths.at("heat_map");
  const auto experts = paths.at("experts").get<std::size_t>();
  HeatMap chart{.x_label = fmt::format("expert of MoE layer {}", map.at("to").get<int>()),
                .y_label = fmt::format("expert of MoE layer {}", map.at("from").get<int>()),
                .values = Matrix<double>(experts, experts)};
  double mean_best = 0.0;
  for (std::size_t row = 0; row < experts; ++row) {
    double best = 0.0;
    for (std::size_t column = 0; column < experts; ++column) {
      chart.values.row(row)[column] = map.at("probability").at(row * experts + column).get<double>();
      best = std::max(best, chart.values.row(row)[column]);
    }
    mean_best += best / static_cast<double>(experts);
  }
  item.figures.push_back(draw(chart, "fig6a"));
  item.sentences = {
      fmt::format("Each row is the distribution of one layer's expert when the other layer's is known. The "
                  "likeliest expert of a row has {} on average, where an even choice would give {}.",
                  percent(mean_best), percent(1.0 / static_cast<double>(experts)))};
  item.without_comparison = paper::kNoNumber;
  return item;
}

Item hottest_paths(const Subject& subject, Measurements& measurements) {
  Item item;
  const Json paths = path_statistics(subject, measurements, item);
  const auto tokens = paths.at("tokens").get<double>();
  BarChart chart{.x_label = "path, hottest first",
                 .y_label = "tokens that take it, %",
                 .categories = {},
                 .series = {{.label = "tokens", .points = {}}}};
  Table table{.header = {"rank", "experts by MoE layer", "tokens", "share"}, .rows = {}};
  for (const Json& path : paths.at("hottest")) {
    const auto index = static_cast<double>(chart.categories.size());
    const double share = path.at("tokens").get<double>() / tokens;
    chart.categories.push_back(std::to_string(chart.categories.size() + 1));
    chart.series[0].points.push_back(point(index, 100.0 * share));
    table.rows.push_back({chart.categories.back(), path_text(path.at("experts")),
                          std::to_string(path.at("tokens").get<std::uint64_t>()), percent(share)});
  }
  item.figures.push_back(draw(chart, "fig6b"));
  double together = 0.0;
  for (const Point& path : chart.series[0].points) together += path.y / 100.0;
  item.sentences = {
      fmt::format("The {} paths that most tokens take, each with the expert it visits in every MoE layer. Together "
                  "they carry {} of the "
                  "tokens.",
                  chart.categories.size(), percent(together))};
  item.comparisons = {
      {"hottest path", percent(chart.series[0].points.front().y / 100.0), percent(paper::kTopPathShare)},
      {fmt::format("{} hottest together", chart.categories.size()), percent(together),
       chart.categories.size() == 10 ? percent(paper::kTopTenPathsShare) : "–"}};
  item.tables = {table};
  return item;
}

}  // namespace flame::report
