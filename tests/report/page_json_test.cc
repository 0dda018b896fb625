#include "flame/report/page_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace flame::report {
namespace {

TEST(PageJson, HoldsWhatStandsOnThePageWithoutItsDrawings) {
  Page page;
  page.title = "FLAME on a model";
  page.facts = {.header = {"what", "value"}, .rows = {{"date", "2026-01-01"}}};
  page.summary = {"One sentence."};
  Item item;
  item.id = "fig1";
  item.title = "Figure 1";
  item.figures = {{.id = "fig1-left", .wide = "<svg/>", .narrow = "<svg/>", .caption = "left"}};
  item.comparisons = {{"distinct paths", "1708", "11693"}};
  item.tables = {{.header = {"m", "hits"}, .rows = {{"1", "50 %"}}}};
  item.commands = {"flame inspect x --json"};
  item.data_files = {"data/inspect.json"};
  page.items.push_back(item);
  EXPECT_EQ(to_json(page),
            (Json{{"title", "FLAME on a model"},
                  {"facts", {{"date", "2026-01-01"}}},
                  {"summary", {"One sentence."}},
                  {"summary_tables", Json::array()},
                  {"recommendation", Json::array()},
                  {"items",
                   {{{"id", "fig1"},
                     {"title", "Figure 1"},
                     {"figures", {{{"file", "figures/fig1-left.svg"}, {"caption", "left"}}}},
                     {"sentences", Json::array()},
                     {"comparisons", {{{"what", "distinct paths"}, {"ours", "1708"}, {"paper", "11693"}}}},
                     {"tables", {{{"header", {"m", "hits"}}, {"rows", Json::array({{"1", "50 %"}})}}}},
                     {"commands", {"flame inspect x --json"}},
                     {"data", {"data/inspect.json"}}}}}}));
}

TEST(PageJson, SaysWhyAnItemIsNotThere) {
  Page page;
  Item item;
  item.id = "fig1";
  item.title = "Figure 1";
  item.absent = "`flame trace` has not been run";
  item.sentences = {"never shown"};
  page.items.push_back(item);
  EXPECT_EQ(
      to_json(page).at("items").at(0),
      (Json{{"id", "fig1"}, {"title", "Figure 1"}, {"absent", "`flame trace` has not been run"}, {"failed", false}}));
}

}  // namespace
}  // namespace flame::report
