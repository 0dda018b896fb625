#include "flame/report/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "flame/base/error.h"

namespace flame::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

LineChart line_chart() {
  LineChart chart;
  chart.x_label = "slots";
  chart.y_label = "hit ratio";
  chart.series = {{.label = "cepr(3)", .points = {{1, 0.5, 0.4, 0.6}, {2, 0.7, 0.6, 0.8}}},
                  {.label = "it's 'quoted'", .points = {point(1, 0.1), point(2, 0.2)}, .dashed = true}};
  return chart;
}

TEST(Chart, IsAnSvgElementThatTakesItsColoursFromThePage) {
  const std::string svg = to_svg(line_chart(), "fig1");
  EXPECT_THAT(svg, StartsWith("<svg"));
  EXPECT_THAT(svg, HasSubstr("var(--series-0)")) << "cepr has the first colour on every page";
  EXPECT_THAT(svg, HasSubstr("var(--ink)"));
  EXPECT_THAT(svg, Not(HasSubstr("'black'")));
  EXPECT_THAT(svg, Not(HasSubstr("rgb(  1,   2,")));
}

TEST(Chart, ShowsItsLabelsLiterally) {
  const std::string svg = to_svg(line_chart(), "fig1");
  EXPECT_THAT(svg, HasSubstr("cepr(3)"));
  EXPECT_THAT(svg, HasSubstr("quoted"));
  EXPECT_THAT(svg, HasSubstr("hit ratio"));
}

TEST(Chart, HasIdsOfItsOwn) {
  EXPECT_THAT(to_svg(line_chart(), "fig1"), HasSubstr("fig1-gpPt"));
  EXPECT_THAT(to_svg(line_chart(), "fig2"), Not(HasSubstr("'gpPt")));
}

TEST(Chart, DrawsBarsHeatMapsAndTimelines) {
  const BarChart bars{.x_label = "x",
                      .y_label = "y",
                      .categories = {"a", "50 %"},
                      .series = {{.label = "ours", .points = {point(0, 1), point(1, 2)}}}};
  EXPECT_THAT(to_svg(bars, "bars"), HasSubstr(">a<"));
  EXPECT_THAT(to_svg(bars, "bars"), HasSubstr("50 %<"));
  HeatMap map{.x_label = "x", .y_label = "y", .values = Matrix<double>(2, 3, 0.25)};
  EXPECT_THAT(to_svg(map, "map"), HasSubstr("0.25"));
  const Timeline timeline{.x_label = "ms", .lanes = {"compute", "load"}, .spans = {{0, "expert", 0, 1}}};
  EXPECT_THAT(to_svg(timeline, "timeline"), HasSubstr("compute"));
}

TEST(Chart, DrawsManyPoints) {
  Series series{.label = "cepr", .points = {}};
  for (int x = 0; x < 20000; ++x) series.points.push_back(point(x, x % 97));
  LineChart chart;
  chart.series = {series};
  const std::string svg = to_svg(chart, "many");
  EXPECT_THAT(svg, StartsWith("<svg"));
  EXPECT_THAT(svg, HasSubstr("</svg>"));
}

TEST(Chart, RefusesToDrawNothing) {
  EXPECT_THROW((void)to_svg(LineChart{}, "fig1"), UsageError);
  LineChart chart;
  chart.series = {{.label = "nan", .points = {point(0, std::numeric_limits<double>::quiet_NaN())}}};
  EXPECT_THROW((void)to_svg(chart, "fig1"), UsageError);
  EXPECT_THROW((void)to_svg(HeatMap{}, "fig1"), UsageError);
  EXPECT_THROW((void)to_svg(Timeline{}, "fig1"), UsageError);
}

TEST(Chart, GivesALabelTheSameColourEverywhere) {
  EXPECT_EQ(colour_of("cepr(1)"), colour_of("cepr(6)"));
  EXPECT_NE(colour_of("cepr"), colour_of("incremental"));
  EXPECT_LT(colour_of("a label that nobody fixed"), kPaletteSize);
}

}  // namespace
}  // namespace flame::report
