#include "flame/report/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace flame::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Page page_with(Item item) {
  Page page;
  page.title = "A <model> & its data";
  page.facts = {.header = {"what", "value"}, .rows = {{"date", "2026-01-01"}}};
  page.items.push_back(std::move(item));
  return page;
}

TEST(Page, EscapesWhatComesFromOutside) {
  EXPECT_EQ(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
  Item item;
  item.id = "fig1";
  item.title = "<script>";
  item.sentences = {"1 < 2"};
  const std::string html = to_html(page_with(item));
  EXPECT_THAT(html, HasSubstr("A &lt;model&gt; &amp; its data"));
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;"));
  EXPECT_THAT(html, HasSubstr("1 &lt; 2"));
}

TEST(Page, NeedsNothingFromTheNetwork) {
  Item item;
  item.id = "fig1";
  item.title = "title";
  item.commands = {"flame inspect x --json"};
  item.data_files = {"data/inspect.json"};
  const std::string html = to_html(page_with(item));
  EXPECT_THAT(html, Not(HasSubstr("http")));
  EXPECT_THAT(html, HasSubstr("href=\"data/inspect.json\""));
  EXPECT_THAT(html, HasSubstr("flame inspect x --json"));
}

TEST(Page, GivesTheReportOfAnItemAndTheCommandsThatItRuns) {
  Item item;
  item.id = "fig1";
  item.title = "title";
  item.report_command = "flame report m --only fig1";
  item.commands = {"flame trace m", "flame profile t"};
  item.data_files = {"data/inspect.json"};
  const std::string html = to_html(page_with(item));
  const std::size_t report = html.find("<code>flame report m --only fig1\n</code>");
  const std::size_t trace = html.find("<code>flame trace m\n</code><code>flame profile t\n</code>");
  ASSERT_NE(report, std::string::npos);
  ASSERT_NE(trace, std::string::npos);
  EXPECT_LT(report, trace);
}

TEST(Page, SetsColumnsOfNumbersRightAndWordsLeft) {
  Item item;
  item.id = "fig1";
  item.title = "title";
  item.tables = {{.header = {"name", "number", "range", "mixed"},
                  .rows = {{"a", "1.5 %", "1 to 2", "7"}, {"b", "–", "below 2048", "seven"}}}};
  const std::string html = to_html(page_with(item));
  EXPECT_THAT(html, HasSubstr("<th scope=\"col\">name</th><th scope=\"col\" class=\"number\">number</th>"
                              "<th scope=\"col\" class=\"number\">range</th><th scope=\"col\">mixed</th>"));
  EXPECT_THAT(html, HasSubstr("<td class=\"number\">–</td><td class=\"number\">below 2048</td><td>seven</td>"));
}

TEST(Page, SaysSoWhereThePaperHasNoNumber) {
  Item item;
  item.id = "fig1";
  item.title = "title";
  item.without_comparison = "the paper gives none";
  EXPECT_THAT(to_html(page_with(item)), HasSubstr("the paper gives none"));
}

TEST(Page, SaysWhyAnItemIsNotThereInsteadOfShowingIt) {
  Item item;
  item.id = "fig1";
  item.title = "title";
  item.absent = "`flame trace` has not been run";
  item.sentences = {"never shown"};
  const std::string html = to_html(page_with(item));
  EXPECT_THAT(html, HasSubstr("Not here: `flame trace` has not been run"));
  EXPECT_THAT(html, Not(HasSubstr("never shown")));
}

TEST(Page, PutsThePapersNumbersBesideOurs) {
  Item item;
  item.id = "fig1";
  item.title = "title";
  item.comparisons = {{"distinct paths", "1708", "11693"}};
  Page page = page_with(item);
  page.ours = "switch-tiny on mails.jsonl";
  const std::string html = to_html(page);
  EXPECT_THAT(html, HasSubstr("ours: switch-tiny on mails.jsonl"));
  EXPECT_THAT(html, HasSubstr("<td class=\"number\">1708</td><td class=\"number\">11693</td>"));
  EXPECT_THAT(html, HasSubstr("the paper's: switch-base-8 on SAMSum"));
}

}  // namespace
}  // namespace flame::report
