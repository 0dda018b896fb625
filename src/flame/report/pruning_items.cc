#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "flame/report/chart.h"
#include "flame/report/items.h"
#include "flame/report/paper.h"

namespace flame::report {
namespace {

/// The sweep of methods and patterns; the cells that are there are not measured again.
Json sweep(const Subject& subject, Measurements& measurements, Item& item, const std::string& name,
           const std::vector<std::string>& patterns) {
  Measurement measurement{
      .name = name,
      .arguments = {"eval", "pruning", subject.model.string(), "-o", (measurements.directory() / "sweep").string(),
                    "--methods", "magnitude", "unstructured", "column-block", "--patterns"}};
  std::vector<std::string>& arguments = measurement.arguments;
  arguments.insert(arguments.end(), patterns.begin(), patterns.end());
  arguments.insert(
      arguments.end(),
      {"--input", subject.data.string(), "--field", subject.field, "--reference", subject.reference, "--limit",
       std::to_string(subject.quick ? std::min<std::size_t>(subject.test_examples, 24) : subject.test_examples),
       "--beams", "1", "--json"});
  if (!subject.task.empty()) arguments.insert(arguments.end(), {"--task", subject.task});
  Json result = measurements.json(measurement);
  note_source(item, measurements, measurement);
  return result;
}

std::uint64_t smallest_index(const Json& cell) {
  std::uint64_t smallest = 0;
  bool found = false;
  for (const auto& [encoding, bytes] : cell.at("index_bytes").items()) {
    const auto value = bytes.get<std::uint64_t>();
    smallest = found ? std::min(smallest, value) : value;
    found = true;
  }
  return smallest;
}

Point rouge1(double x, const Json& cell) {
  const Json& f = cell.at("rouge").at("rouge1").at("f");
  return {x, 100.0 * f.at("mean").get<double>(), 100.0 * f.at("low").get<double>(), 100.0 * f.at("high").get<double>()};
}

std::vector<std::string> cell_row(const Json& cell) {
  const Json& rouge = cell.at("rouge");
  const auto score = [&](const char* name) {
    return fmt::format("{:.2f}", 100.0 * rouge.at(name).at("f").at("mean").get<double>());
  };
  return {cell.at("name").get<std::string>(),
          score("rouge1"),
          score("rouge2"),
          score("rougeL"),
          fmt::format("{:.3f}", cell.at("perplexity").get<double>()),
          fmt::format("{:.4f}", cell.at("relative_error").get<double>()),
          std::to_string(smallest_index(cell)),
          cell.at("smallest_index").get<std::string>()};
}

Table cell_table(const Json& results) {
  Table table{.header = {"experts", "ROUGE-1", "ROUGE-2", "ROUGE-L", "perplexity", "weight error", "index bytes",
                         "smallest encoding"},
              .rows = {}};
  for (const Json& cell : results) table.rows.push_back(cell_row(cell));
  return table;
}

}  // namespace

Item pruning_strategies(const Subject& subject, Measurements& measurements) {
  Item item;
  const Json result = sweep(subject, measurements, item, "pruning-half", {"2:4"});
  BarChart chart{.x_label = "half of the experts' weights removed",
                 .y_label = "ROUGE-1",
                 .categories = {},
                 .series = {{.label = "ROUGE-1", .points = {}}}};
  for (const Json& cell : result.at("results")) {
    const auto index = static_cast<double>(chart.categories.size());
    chart.categories.push_back(cell.at("name").get<std::string>());
    chart.series[0].points.push_back(rouge1(index, cell));
  }
  item.svg = to_svg(chart, "fig4b");
  item.tables = {cell_table(result.at("results"))};
  for (const Json& comparison : result.at("comparisons")) {
    item.comparisons.push_back({fmt::format("ROUGE-1 of {} against {}", comparison.at("pattern").get<std::string>(),
                                            comparison.at("baseline").get<std::string>()),
                                fmt::format("{:+.2f} %", comparison.at("rouge1").at("percent").get<double>()),
                                fmt::format("{:+.2f} %", comparison.at("paper_percent").get<double>())});
  }
  item.sentences = {
      "N:M removes weights within small groups, so it keeps nearly the freedom of unstructured pruning, and an index "
      "costs "
      "it two bits a weight. Whole columns of blocks are cheap to index, but take what matters along with what does "
      "not. "
      "Bars are 95 % bootstrap intervals over the examples."};
  return item;
}

Item pruning_sweep(const Subject& subject, Measurements& measurements) {
  Item item;
  const std::vector<std::string> patterns =
      subject.quick ? std::vector<std::string>{"3:4", "2:4", "1:4", "1:8"}
                    : std::vector<std::string>{"3:4", "2:4", "1:4", "6:8", "4:8", "2:8", "1:8", "8:16", "4:16", "2:16"};
  const Json result = sweep(subject, measurements, item, "pruning-sweep", patterns);
  LineChart chart{.x_label = "experts' weights removed, %", .y_label = "ROUGE-1", .series = {}};
  std::map<std::string, Series> series;
  const Json* dense = nullptr;
  for (const Json& cell : result.at("results")) {
    const auto method = cell.at("method").get<std::string>();
    if (method == "dense") {
      dense = &cell;
      continue;
    }
    std::string label = method;
    if (method == "magnitude") {
      const auto pattern = cell.at("pattern").get<std::string>();
      label = "N:M, M = " + pattern.substr(pattern.find(':') + 1);
    }
    series[label].label = label;
    series[label].points.push_back(rouge1(100.0 * cell.at("zeros").get<double>(), cell));
  }
  for (auto& [label, one] : series) {
    if (dense != nullptr) one.points.push_back(rouge1(0.0, *dense));
    std::sort(one.points.begin(), one.points.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
    one.dashed = !label.starts_with("N:M");
    chart.series.push_back(one);
  }
  item.svg = to_svg(chart, "fig7");
  item.tables = {cell_table(result.at("results"))};
  item.sentences = {
      "One-shot pruning by magnitude, without any retraining: how much of the text's quality is left at each "
      "sparsity. Every curve begins at the dense model."};
  return item;
}

}  // namespace flame::report
