#include "flame/report/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "flame/base/error.h"
#include "flame/report/chart_style.h"

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

TEST(Chart, TheAxisOfATimelineGoesOnWhereNothingRunsAtItsEnd) {
  Timeline timeline{.x_label = "ms", .lanes = {"load"}, .spans = {{0, "load", 0, 1}}};
  EXPECT_THAT(to_svg(timeline, "timeline"), Not(HasSubstr("> 4<")));
  timeline.until = 4.0;
  EXPECT_THAT(to_svg(timeline, "timeline"), HasSubstr("> 4<"));
}

TEST(Chart, ShadesLinesOfOneColourAndGivesEveryLineAMarkOfItsOwn) {
  LineChart chart = line_chart();
  chart.series = {{.label = "cepr(1)", .points = {point(1, 1), point(2, 2)}},
                  {.label = "cepr(2)", .points = {point(1, 2), point(2, 3)}},
                  {.label = "cepr(3)", .points = {point(1, 3), point(2, 4)}}};
  const std::string svg = to_svg(chart, "fig1");
  EXPECT_THAT(svg, HasSubstr("color-mix(in srgb,var(--series-0) 70%,var(--paper))"));
  EXPECT_THAT(svg, HasSubstr("color-mix(in srgb,var(--series-0) 55%,var(--ink))"));
  for (const char* mark : {"#fig1-gpPt6", "#fig1-gpPt4", "#fig1-gpPt8"}) EXPECT_THAT(svg, HasSubstr(mark));
}

TEST(Chart, NamesLinesBesideThemWhereThereIsRoomAndElseInALegend) {
  // A name in the legend is gnuplot's title of the plot.
  EXPECT_THAT(to_svg(line_chart(), "fig1"), Not(HasSubstr("<title>cepr(3)")));
  EXPECT_THAT(to_svg(line_chart(), "fig1", Layout::kNarrow), HasSubstr("<title>cepr(3)"));
  LineChart crowded = line_chart();
  crowded.series.clear();
  for (int s = 0; s < 40; ++s) crowded.series.push_back({"series " + std::to_string(s), {point(0, s), point(1, s)}});
  EXPECT_THAT(to_svg(crowded, "fig1"), HasSubstr("<title>series 0"));
}

TEST(Chart, HasAPlaceForZeroOnALogarithmicAxis) {
  LineChart chart = line_chart();
  chart.logarithmic_x = true;
  chart.zero_label = "nothing";
  chart.series = {{.label = "random", .points = {point(0, 1)}},
                  {.label = "cepr", .points = {point(10, 2), point(1e5, 3)}}};
  EXPECT_THAT(to_svg(chart, "fig1"), HasSubstr("nothing<"));
  chart.series.front().points.front().x = 5;
  EXPECT_THAT(to_svg(chart, "fig1"), Not(HasSubstr("nothing<"))) << "none is at zero";
}

TEST(Chart, ShowsTheIntervalsOfDarkBarsOnPaper) {
  const BarChart bars{
      .x_label = "x", .y_label = "y", .categories = {"a"}, .series = {{.label = "dense", .points = {{0, 2, 1, 3}}}}};
  EXPECT_THAT(to_svg(bars, "bars"), HasSubstr("var(--paper)"));
}

TEST(Chart, LeavesTheNumbersOfAHeatMapAsTheyAre) {
  EXPECT_THAT(to_svg(HeatMap{.x_label = "x", .y_label = "y", .values = Matrix<double>(2, 2, 0.0)}, "map"),
              HasSubstr("0.00<"));
  HeatMap large{.x_label = "x", .y_label = "y", .values = Matrix<double>(128, 128, 0.5)};
  EXPECT_THAT(to_svg(large, "map"), Not(HasSubstr("0.50<"))) << "cells are too small for numbers";
}

TEST(Axis, EndsAtTicksAroundItsValues) {
  const Axis axis = axis_over(0.0, 43.9, false);
  EXPECT_EQ(axis.ticks, (std::vector<double>{0.0, 10.0, 20.0, 30.0, 40.0, 50.0}));
  EXPECT_DOUBLE_EQ(axis.share(25.0), 0.5);
  EXPECT_EQ(tick_list(axis), "'0' 0, '10' 10, '20' 20, '30' 30, '40' 40, '50' 50");
}

TEST(Axis, HasTicksWithinADecadeWhereItSpansFew) {
  EXPECT_EQ(axis_over(18176.0, 163840.0, true).ticks, (std::vector<double>{20000.0, 50000.0, 100000.0}));
  EXPECT_EQ(axis_over(3.0, 1e6, true).ticks, (std::vector<double>{10.0, 100.0, 1000.0, 10000.0, 100000.0, 1e6}));
  EXPECT_THROW((void)axis_over(0.0, 1.0, true), UsageError);
}

TEST(Axis, WritesShortNumbers) {
  EXPECT_EQ(short_number(20000.0), "20k");
  EXPECT_EQ(short_number(1.5e6), "1.5M");
  EXPECT_EQ(short_number(0.01), "0.01");
  EXPECT_EQ(short_number(0.0), "0");
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
