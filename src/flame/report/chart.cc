#include "flame/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "flame/base/error.h"
#include "flame/report/gnuplot.h"

namespace flame::report {
namespace {

/// Labels whose colour must not depend on what else is drawn.
struct FixedColour {
  std::string_view label_begins;
  std::size_t colour;
};
constexpr std::array<FixedColour, 22> kFixedColours = {
    {{"cepr", 0},      {"incremental", 1}, {"popularity", 2},   {"random", 7},       {"oracle", 3},  {"belady", 3},
     {"mix", 4},       {"lookahead", 5},   {"token", 6},        {"paper", 7},        {"N:M", 0},     {"magnitude", 0},
     {"sparsegpt", 4}, {"wanda", 5},       {"unstructured", 1}, {"column-block", 2}, {"neither", 7}, {"both", 0},
     {"hit", 2},       {"late", 6},        {"miss", 1},         {"wait", 1}}};

std::string common_settings() {
  return "set border 3 lc rgb 'black'\nset tics nomirror out\nset grid ytics lc rgb 'gray' lw 0.5\n"
         "set key outside below center horizontal noenhanced\n";
}

bool has_interval(const Series& series) {
  return std::any_of(series.points.begin(), series.points.end(),
                     [](const Point& point) { return point.low < point.y || point.high > point.y; });
}

/// At least one point that can be drawn; gnuplot would fail with a message about ranges.
void check_points(const std::vector<Series>& series) {
  for (const Series& one : series) {
    for (const Point& point : one.points) {
      if (std::isfinite(point.x) && std::isfinite(point.y)) return;
    }
  }
  throw UsageError("a chart needs at least one point");
}

std::string data_block(std::size_t index, const Series& series) {
  std::string text = fmt::format("$data{} << END_OF_DATA\n", index);
  for (const Point& point : series.points) {
    text += fmt::format("{:.9g} {:.9g} {:.9g} {:.9g}\n", point.x, point.y, point.low, point.high);
  }
  return text + "END_OF_DATA\n";
}

std::string range(const std::optional<double>& minimum, const std::optional<double>& maximum) {
  return fmt::format("[{}:{}]", minimum ? fmt::format("{:.9g}", *minimum) : "*",
                     maximum ? fmt::format("{:.9g}", *maximum) : "*");
}

}  // namespace

std::size_t colour_of(std::string_view label) {
  for (const FixedColour& fixed : kFixedColours) {
    if (label.starts_with(fixed.label_begins)) return fixed.colour;
  }
  // FNV-1a: any label keeps its colour from chart to chart and from run to run.
  std::uint32_t hash = 2166136261U;
  for (const char character : label) hash = (hash ^ static_cast<std::uint8_t>(character)) * 16777619U;
  return hash % kPaletteSize;
}

std::string to_svg(const LineChart& chart, std::string_view id) {
  check_points(chart.series);
  std::string script = common_settings();
  script += fmt::format("set xlabel {}\nset ylabel {}\nset yrange {}\n", gnuplot_string(chart.x_label),
                        gnuplot_string(chart.y_label), range(chart.y_minimum, chart.y_maximum));
  if (chart.logarithmic_x) script += "set logscale x\n";
  if (chart.logarithmic_y) script += "set logscale y\n";
  script += "set offsets graph 0.02, graph 0.02, 0, 0\n";
  std::string plots;
  for (std::size_t s = 0; s < chart.series.size(); ++s) {
    const Series& series = chart.series[s];
    script += data_block(s, series);
    // Series of one family (cepr(1), cepr(2), …) share a colour and differ by their marks.
    const std::string style = fmt::format("lc rgb {} lw 1.8 dt {} pt {} ps 0.5",
                                          palette_colour(colour_of(series.label)), series.dashed ? 2 : 1, 4 + s % 10);
    if (!plots.empty()) plots += ", ";
    if (has_interval(series)) {
      plots +=
          fmt::format("$data{} using 1:2:3:4 with yerrorlines {} title {}", s, style, gnuplot_string(series.label));
    } else {
      plots += fmt::format("$data{} using 1:2 with linespoints {} title {}", s, style, gnuplot_string(series.label));
    }
  }
  return run_gnuplot(script + "plot " + plots + "\n", {.width = 720, .height = 420}, id);
}

std::string to_svg(const BarChart& chart, std::string_view id) {
  check_points(chart.series);
  std::string script = common_settings();
  script += fmt::format("set xlabel {}\nset ylabel {}\n", gnuplot_string(chart.x_label), gnuplot_string(chart.y_label));
  script += chart.logarithmic_y ? "set logscale y\n" : "set yrange [0:*]\n";
  const bool intervals = std::any_of(chart.series.begin(), chart.series.end(), has_interval);
  script += fmt::format("set style data histograms\nset style histogram {} gap 1{}\n",
                        intervals ? "errorbars" : "clustered", intervals ? " lw 1" : "");
  script += "set style fill solid 0.85 noborder\n";
  std::string ticks;
  for (std::size_t c = 0; c < chart.categories.size(); ++c) {
    ticks += fmt::format("{}{} {}", c == 0 ? "" : ", ", gnuplot_string(chart.categories[c]), c);
  }
  script += fmt::format("set xtics ({}) scale 0{}\n", ticks, chart.categories.size() > 8 ? " rotate by -35" : "");
  std::string plots;
  for (std::size_t s = 0; s < chart.series.size(); ++s) {
    script += data_block(s, chart.series[s]);
    plots += fmt::format("{}$data{} using {} lc rgb {} title {}", s == 0 ? "" : ", ", s, intervals ? "2:3:4" : "2",
                         palette_colour(colour_of(chart.series[s].label)), gnuplot_string(chart.series[s].label));
  }
  return run_gnuplot(script + "plot " + plots + "\n", {.width = 720, .height = 420}, id);
}

std::string to_svg(const HeatMap& chart, std::string_view id) {
  const std::size_t rows = chart.values.rows();
  const std::size_t columns = chart.values.columns();
  if (rows == 0 || columns == 0) throw UsageError("a heat map needs at least one cell");
  std::string script = "set border 0\nset tics scale 0\nunset key\nset cbrange [0:1]\n";
  // From the page's paper to the first series' colour, by opacity: works on light and dark.
  script += fmt::format("set xlabel {}\nset ylabel {}\n", gnuplot_string(chart.x_label), gnuplot_string(chart.y_label));
  script += fmt::format("set xrange [-0.5:{}]\nset yrange [{}:-0.5]\nset xtics 1\nset ytics 1\n",
                        static_cast<double>(columns) - 0.5, static_cast<double>(rows) - 0.5);
  double largest = 0.0;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) largest = std::max(largest, chart.values.row(r)[c]);
  }
  std::string labels = "$labels << END_OF_DATA\n";
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) {
      const double value = chart.values.row(r)[c];
      const double shade = largest > 0.0 ? std::max(0.0, value) / largest : 0.0;
      script += fmt::format(
          "set object rectangle center {},{} size 0.96,0.96 fillcolor rgb {} fillstyle transparent solid {:.3f} "
          "noborder\n",
          c, r, palette_colour(0), 0.75 * shade);
      labels += fmt::format("{} {} {:.2f}\n", c, r, value);
    }
  }
  script += labels + "END_OF_DATA\nplot $labels using 1:2:3 with labels\n";
  const std::size_t side = 44;
  return run_gnuplot(script, {.width = 120 + side * columns, .height = 100 + side * rows}, id);
}

std::string to_svg(const Timeline& chart, std::string_view id) {
  if (chart.spans.empty()) throw UsageError("a timeline needs at least one span");
  std::string script = common_settings();
  script += fmt::format("set xlabel {}\nset yrange [{}:-0.6]\n", gnuplot_string(chart.x_label),
                        static_cast<double>(chart.lanes.size()) - 0.4);
  std::string ticks;
  for (std::size_t lane = 0; lane < chart.lanes.size(); ++lane) {
    ticks += fmt::format("{}{} {}", lane == 0 ? "" : ", ", gnuplot_string(chart.lanes[lane]), lane);
  }
  script += fmt::format("set ytics ({})\nunset grid\n", ticks);
  double begin = chart.spans.front().begin;
  double end = chart.spans.front().end;
  std::vector<std::string> labels;
  for (const Timeline::Span& span : chart.spans) {
    begin = std::min(begin, span.begin);
    end = std::max(end, span.end);
    script +=
        fmt::format("set object rectangle from {:.9g},{} to {:.9g},{} fillcolor rgb {} fillstyle solid noborder\n",
                    span.begin, static_cast<double>(span.lane) - 0.35, span.end, static_cast<double>(span.lane) + 0.35,
                    palette_colour(colour_of(span.label)));
    if (std::find(labels.begin(), labels.end(), span.label) == labels.end()) labels.push_back(span.label);
  }
  script += fmt::format("set xrange [{:.9g}:{:.9g}]\n", begin, end);
  // Rectangles have no legend; points outside the range lend theirs.
  std::string plots;
  for (const std::string& label : labels) {
    plots += fmt::format("{}NaN with points pt 5 lc rgb {} title {}", plots.empty() ? "" : ", ",
                         palette_colour(colour_of(label)), gnuplot_string(label));
  }
  return run_gnuplot(script + "plot " + plots + "\n", {.width = 900, .height = 120 + 40 * chart.lanes.size()}, id);
}

}  // namespace flame::report
