#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "flame/report/chart.h"
#include "flame/report/items.h"
#include "flame/report/paper.h"

namespace flame::report {

Item expert_share(const Subject& subject, Measurements& measurements) {
  Item item;
  const Measurement own = inspection(subject);
  const Json model = measurements.json(own);
  note_source(item, measurements, own);

  BarChart chart{.x_label = "experts in each MoE layer of switch-base",
                 .y_label = "share of the parameters, %",
                 .categories = {},
                 .series = {{.label = "with embeddings", .points = {}}, {.label = "without embeddings", .points = {}}}};
  Table table{.header = {"model", "experts' share", "embeddings left out"}, .rows = {}};
  double share8 = 0.0;
  double share256 = 0.0;
  for (const char* preset :
       {"switch-base-8", "switch-base-16", "switch-base-32", "switch-base-64", "switch-base-128", "switch-base-256"}) {
    const Measurement measurement{.name = fmt::format("inspect-{}", preset),
                                  .arguments = {"inspect", preset, "--json"}};
    const Json result = measurements.json(measurement);
    note_source(item, measurements, measurement);
    const double with = result.at("expert_share").get<double>();
    const double without = result.at("expert_share_without_embeddings").get<double>();
    if (chart.categories.empty()) share8 = without;
    share256 = without;
    const auto index = static_cast<double>(chart.categories.size());
    chart.categories.push_back(std::to_string(result.at("num_experts").get<int>()));
    chart.series[0].points.push_back(point(index, 100.0 * with));
    chart.series[1].points.push_back(point(index, 100.0 * without));
    table.rows.push_back({preset, percent(with), percent(without)});
  }
  const double own_share = model.at("expert_share_without_embeddings").get<double>();
  table.rows.push_back(
      {subject.model.filename().string(), percent(model.at("expert_share").get<double>()), percent(own_share)});
  item.figures.push_back(draw(chart, "fig4a"));
  item.sentences = {fmt::format(
      "In this model the experts hold {} of the parameters, embeddings left out: {} experts of {} "
      "parameters each. Of published switch-base models it is drawn how the share grows with the number of experts; "
      "what is not an expert is what must stay in fast memory.",
      percent(own_share), model.at("experts").get<std::uint64_t>(),
      model.at("expert_parameters").get<std::uint64_t>())};
  item.comparisons = {
      {"switch-base-8 by its configuration, embeddings left out", percent(share8), percent(paper::kExpertShare8)},
      {"switch-base-256 by its configuration, embeddings left out", percent(share256),
       percent(paper::kExpertShare256)}};
  item.tables = {table};
  return item;
}

}  // namespace flame::report
