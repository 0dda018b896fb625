#include "flame/report/page_json.h"

#include <nlohmann/json.hpp>

namespace flame::report {
namespace {

Json to_json(const Table& table) { return {{"header", table.header}, {"rows", table.rows}}; }

Json to_json(const std::vector<Table>& tables) {
  Json list = Json::array();
  for (const Table& table : tables) list.push_back(to_json(table));
  return list;
}

Json to_json(const Item& item) {
  Json json = {{"id", item.id}, {"title", item.title}};
  if (!item.absent.empty()) {
    json["absent"] = item.absent;
    json["failed"] = item.failed;
    return json;
  }
  Json figures = Json::array();
  for (const Figure& figure : item.figures) {
    figures.push_back({{"file", "figures/" + figure.id + ".svg"}, {"caption", figure.caption}});
  }
  Json comparisons = Json::array();
  for (const Comparison& comparison : item.comparisons) {
    comparisons.push_back({{"what", comparison.what}, {"ours", comparison.ours}, {"paper", comparison.papers}});
  }
  json["figures"] = std::move(figures);
  json["sentences"] = item.sentences;
  json["comparisons"] = std::move(comparisons);
  json["tables"] = to_json(item.tables);
  json["commands"] = item.commands;
  json["data"] = item.data_files;
  return json;
}

}  // namespace

Json to_json(const Page& page) {
  Json facts = Json::object();
  for (const std::vector<std::string>& row : page.facts.rows) facts[row.at(0)] = row.at(1);
  Json items = Json::array();
  for (const Item& item : page.items) items.push_back(to_json(item));
  return {{"title", page.title},
          {"facts", std::move(facts)},
          {"summary", page.summary},
          {"summary_tables", to_json(page.summary_tables)},
          {"recommendation", page.recommendation},
          {"items", std::move(items)}};
}

}  // namespace flame::report
