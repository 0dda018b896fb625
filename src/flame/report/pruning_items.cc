#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "flame/report/chart.h"
#include "flame/report/items.h"
#include "flame/report/paper.h"

namespace flame::report {
namespace {

Measurement sweep_measurement(const Subject& subject, const std::string& name, const std::filesystem::path& model,
                              const std::filesystem::path& directory, const std::vector<std::string>& patterns) {
  Measurement measurement{.name = name,
                          .arguments = {"eval", "pruning", model.string(), "-o", directory.string(), "--methods",
                                        "magnitude", "unstructured", "column-block", "--patterns"}};
  std::vector<std::string>& arguments = measurement.arguments;
  arguments.insert(arguments.end(), patterns.begin(), patterns.end());
  arguments.insert(arguments.end(),
                   {"--input", subject.data.string(), "--field", subject.field, "--reference", subject.reference,
                    "--limit", std::to_string(subject.test_examples), "--beams", "1", "--json"});
  if (!subject.task.empty()) arguments.insert(arguments.end(), {"--task", subject.task});
  return measurement;
}

/// One for each number of examples, which the cells in it depend on.
std::filesystem::path sweep_directory(const Subject& subject, const std::filesystem::path& directory,
                                      const std::string& suffix) {
  return directory / fmt::format("sweep-{}{}", subject.test_examples, suffix);
}

/// Cells that another sweep of the same directory has measured are not measured again.
Json measured_sweep(Measurements& measurements, Item& item, const Measurement& measurement) {
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

Point perplexity(double x, const Json& cell) { return point(x, cell.at("perplexity").get<double>()); }

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

Table cell_table(const Json& results, const std::string& model) {
  Table table{.header = {fmt::format("experts of {}", model), "ROUGE-1", "ROUGE-2", "ROUGE-L", "perplexity",
                         "weight error", "index bytes", "smallest encoding"},
              .rows = {}};
  for (const Json& cell : results) table.rows.push_back(cell_row(cell));
  return table;
}

}  // namespace

Measurement pruning_measurement(const Subject& subject, const std::filesystem::path& model,
                                const std::filesystem::path& directory) {
  const std::vector<std::string> patterns =
      subject.quick ? std::vector<std::string>{"3:4", "2:4", "1:4", "1:8"}
                    : std::vector<std::string>{"3:4", "2:4", "1:4", "6:8", "4:8", "2:8", "1:8", "8:16", "4:16", "2:16"};
  const bool own = model == subject.model;
  const std::string name =
      own ? std::string("pruning-sweep") : fmt::format("pruning-sweep-{}", model.filename().string());
  return sweep_measurement(
      subject, name, model,
      sweep_directory(subject, directory, own ? std::string() : fmt::format("-{}", model.filename().string())),
      patterns);
}

Item pruning_strategies(const Subject& subject, Measurements& measurements) {
  Item item;
  const Json result =
      measured_sweep(measurements, item,
                     sweep_measurement(subject, "pruning-half", subject.model,
                                       sweep_directory(subject, measurements.directory(), ""), {"2:4"}));
  BarChart chart{.x_label = "half of the experts' weights removed",
                 .y_label = "ROUGE-1",
                 .coloured_by_category = true,
                 .categories = {},
                 .series = {{.label = "ROUGE-1", .points = {}}}};
  BarChart index{.x_label = "half of the experts' weights removed",
                 .y_label = "index of all experts, KiB",
                 .coloured_by_category = true,
                 .categories = {},
                 .series = {{.label = "index", .points = {}}}};
  for (const Json& cell : result.at("results")) {
    const auto x = static_cast<double>(chart.categories.size());
    chart.categories.push_back(cell.at("name").get<std::string>());
    chart.series[0].points.push_back(rouge1(x, cell));
    if (cell.at("method") == "dense") continue;
    index.categories.push_back(chart.categories.back());
    index.series[0].points.push_back(point(x, static_cast<double>(smallest_index(cell)) / 1024.0));
  }
  item.figures.push_back(draw(chart, "fig4b", "Accuracy; bars are 95 % bootstrap intervals over the examples"));
  item.figures.push_back(draw(index, "fig4b-index", "Index storage, each in its smallest encoding"));
  item.tables = {cell_table(result.at("results"), subject.model.filename().string())};
  std::string verdict;
  for (const Json& comparison : result.at("comparisons")) {
    const Json& rouge = comparison.at("rouge1");
    const Json& difference = rouge.at("difference");
    const bool seen = difference.at("low").get<double>() > 0.0 || difference.at("high").get<double>() < 0.0;
    verdict +=
        fmt::format("{}{:+.2f} % against {} ({})", verdict.empty() ? "" : ", ", rouge.at("percent").get<double>(),
                    comparison.at("baseline").get<std::string>(), seen ? "more than chance" : "within chance, 95 %");
    item.comparisons.push_back({fmt::format("ROUGE-1 of {} against {}", comparison.at("pattern").get<std::string>(),
                                            comparison.at("baseline").get<std::string>()),
                                fmt::format("{:+.2f} %", rouge.at("percent").get<double>()),
                                comparison.contains("paper_percent") && comparison.at("paper_percent").is_number()
                                    ? fmt::format("{:+.2f} %", comparison.at("paper_percent").get<double>())
                                    : "–"});
  }
  item.sentences = {
      "N:M removes weights within small groups, so it can choose nearly as freely as unstructured pruning, and 2:4 "
      "needs two "
      "bits of index for each weight it keeps. Whole columns of blocks need hardly any index, but stay or go "
      "together."};
  if (!verdict.empty()) {
    item.sentences.push_back(fmt::format("On these {} examples ROUGE-1 of 2:4 is {}.", subject.test_examples, verdict));
  }
  return item;
}

namespace {

/// Curves of a measure of quality against sparsity of one model.
LineChart sweep_chart(const Json& results, const std::string& y_label, Point (*quality)(double x, const Json& cell)) {
  LineChart chart{.x_label = "experts' weights removed, %", .y_label = y_label, .series = {}};
  // In the order of the results: N:M with M = 4, 8, 16, then the others.
  std::vector<Series> series;
  const Json* dense = nullptr;
  for (const Json& cell : results) {
    const auto method = cell.at("method").get<std::string>();
    if (method == "dense") {
      dense = &cell;
      continue;
    }
    std::string label = method;
    if (method == "magnitude") {
      const auto pattern = cell.at("pattern").get<std::string>();
      label = fmt::format("N:M, M = {}", pattern.substr(pattern.find(':') + 1));
    }
    auto found = std::find_if(series.begin(), series.end(), [&](const Series& one) { return one.label == label; });
    if (found == series.end()) found = series.insert(series.end(), Series{.label = label});
    found->points.push_back(quality(100.0 * cell.at("zeros").get<double>(), cell));
  }
  // Intervals of many curves at the same sparsities would hide one another: N:M with M = 4 shows them.
  for (Series& one : series) {
    if (dense != nullptr) one.points.push_back(quality(0.0, *dense));
    std::sort(one.points.begin(), one.points.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
    one.dashed = !one.label.starts_with("N:M");
    if (one.label != "N:M, M = 4") {
      for (Point& value : one.points) value.low = value.high = value.y;
    }
    chart.series.push_back(one);
  }
  return chart;
}

/// "to 50 %": the highest sparsity whose ROUGE-1 is within the dense model's interval, over the N:M patterns.
std::string endurance(const Json& results) {
  double lowest = 0.0;
  std::string pattern;
  double most = -1.0;
  for (const Json& cell : results) {
    const Json& f = cell.at("rouge").at("rouge1").at("f");
    if (cell.at("method") == "dense") lowest = f.at("low").get<double>();
  }
  for (const Json& cell : results) {
    if (cell.at("method") != "magnitude") continue;
    const double zeros = cell.at("zeros").get<double>();
    if (cell.at("rouge").at("rouge1").at("f").at("mean").get<double>() >= lowest && zeros > most) {
      most = zeros;
      pattern = cell.at("pattern").get<std::string>();
    }
  }
  return pattern.empty() ? "none of the N:M patterns" : fmt::format("{} ({:.1f} % removed)", pattern, 100.0 * most);
}

}  // namespace

Item pruning_sweep(const Subject& subject, Measurements& measurements) {
  Item item;
  std::vector<std::filesystem::path> models = {subject.model};
  models.insert(models.end(), subject.also.begin(), subject.also.end());
  for (const std::filesystem::path& model : models) {
    const Json result =
        measured_sweep(measurements, item, pruning_measurement(subject, model, measurements.directory()));
    const std::string name = model.filename().string();
    const bool own = model == subject.model;
    const std::string id = own ? std::string("fig7") : fmt::format("fig7-{}", name);
    item.figures.push_back(draw(sweep_chart(result.at("results"), "ROUGE-1", rouge1), id,
                                fmt::format("{}: ROUGE-1, more is better", name)));
    item.figures.push_back(draw(sweep_chart(result.at("results"), "perplexity", perplexity),
                                fmt::format("{}-perplexity", id),
                                fmt::format("{}: perplexity of the references, less is better", name)));
    item.tables.push_back(cell_table(result.at("results"), name));
    item.sentences.push_back(
        fmt::format("Of the N:M patterns, the sparsest whose ROUGE-1 is not below the dense model's "
                    "95 % interval is, on {}: {}.",
                    name, endurance(result.at("results"))));
  }
  item.sentences.insert(item.sentences.begin(),
                        "One-shot pruning of the experts by magnitude, without any retraining: how much of the text's "
                        "quality is left at each sparsity. Every curve begins at the dense model; the bars of N:M with "
                        "M = 4 are 95 % intervals over the examples.");
  item.without_comparison = paper::kNoNumber;
  return item;
}

}  // namespace flame::report
