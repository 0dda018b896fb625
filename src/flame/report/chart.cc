#include "flame/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "flame/base/error.h"
#include "flame/report/chart_style.h"
#include "flame/report/gnuplot.h"

namespace flame::report {
namespace {

std::vector<std::string> labels_of(const std::vector<Series>& series) {
  std::vector<std::string> labels;
  for (const Series& one : series) labels.push_back(one.label);
  return labels;
}

/// Of all that a bar chart draws.
double highest(const BarChart& chart) {
  std::vector<double> tops(chart.categories.size(), 0.0);
  for (const Series& series : chart.series) {
    for (std::size_t c = 0; c < std::min(series.points.size(), tops.size()); ++c) {
      const Point& value = series.points[c];
      if (!std::isfinite(value.y)) continue;
      tops[c] = chart.stacked ? tops[c] + value.y : std::max(tops[c], std::max(value.y, value.high));
    }
  }
  return tops.empty() ? 0.0 : *std::max_element(tops.begin(), tops.end());
}

}  // namespace

std::string to_svg(const BarChart& chart, std::string_view id, Layout layout) {
  check_points(chart.series);
  const bool one = chart.series.size() == 1;
  const Legend legend = one ? Legend{} : legend_of(labels_of(chart.series), layout);
  CanvasSize size = canvas(layout, legend.lines);
  std::string script = common_settings(legend);
  script += fmt::format("set xlabel {}\nset ylabel {}\n", gnuplot_string(chart.x_label), gnuplot_string(chart.y_label));
  script += fmt::format("set xrange [-0.6:{}]\n", static_cast<double>(chart.categories.size()) - 0.4);
  std::string ticks;
  std::size_t longest = 1;
  for (std::size_t c = 0; c < chart.categories.size(); ++c) {
    ticks += fmt::format("{}{} {}", c == 0 ? "" : ", ", gnuplot_tick(chart.categories[c]), c);
    longest = std::max(longest, chart.categories[c].size());
  }
  const bool turned = 8 * (longest + 1) * chart.categories.size() > size.width - 80;
  if (turned) size.height += 5 * longest;
  script += fmt::format("set xtics ({}) scale 0{}\n", ticks, turned ? " rotate by 40 right" : "");
  // Boxes of our own making: gnuplot's histograms cannot have intervals, stacks and a colour a category.
  std::string boxes;
  std::string intervals;
  std::vector<double> base(chart.categories.size(), 0.0);
  const double width = chart.stacked ? 0.7 : 0.8 / static_cast<double>(chart.series.size());
  const Axis y = axis_over(0.0, highest(chart), false);
  script += fmt::format("set yrange [{:.9g}:{:.9g}]\nset ytics ({})\n", y.low, y.high, tick_list(y));
  for (std::size_t s = 0; s < chart.series.size(); ++s) {
    const Series& series = chart.series[s];
    std::vector<std::string> blocks(kPaletteSize);
    std::string lines;
    for (std::size_t c = 0; c < std::min(series.points.size(), chart.categories.size()); ++c) {
      const Point& value = series.points[c];
      if (!std::isfinite(value.y)) continue;
      const double middle = chart.stacked ? static_cast<double>(c)
                                          : static_cast<double>(c) - 0.4 + (static_cast<double>(s) + 0.5) * width;
      const double bottom = chart.stacked ? base[c] : 0.0;
      const double top = chart.stacked ? bottom + value.y : value.y;
      base[c] = top;
      const std::size_t colour = colour_of(chart.coloured_by_category ? chart.categories[c] : series.label);
      blocks[colour] += fmt::format("{:.9g} {:.9g} {:.9g} {:.9g} {:.9g} {:.9g}\n", middle, top, middle - 0.46 * width,
                                    middle + 0.46 * width, bottom, top);
      if (value.low < value.y || value.high > value.y) {
        lines += fmt::format("{:.9g} {:.9g} {:.9g}\n", middle, value.low, value.high);
      }
    }
    bool titled = false;
    for (std::size_t colour = 0; colour < kPaletteSize; ++colour) {
      if (blocks[colour].empty()) continue;
      script += fmt::format("$box{}_{} << END_OF_DATA\n{}END_OF_DATA\n", s, colour, blocks[colour]);
      boxes += fmt::format("{}$box{}_{} using 1:2:3:4:5:6 with boxxyerror fs solid 0.9 noborder lc rgb {} {}",
                           boxes.empty() ? "" : ", ", s, colour, palette_colour(colour),
                           titled || one ? "notitle" : "title " + gnuplot_string(series.label));
      titled = true;
    }
    if (!lines.empty() && !chart.stacked) {
      script += fmt::format("$interval{} << END_OF_DATA\n{}END_OF_DATA\n", s, lines);
      // A stroke with ends, in ink on a broader one of paper: it stands out from any bar.
      const double half = std::min(0.12, 0.3 * width);
      for (const auto& [stroke, colour] : {std::pair{4.5, paper_colour()}, std::pair{1.5, std::string("'black'")}}) {
        intervals += fmt::format(
            ", $interval{0} using 1:2:(0):($3-$2) with vectors nohead lw {1} lc rgb {2} notitle"
            ", $interval{0} using ($1-{3}):2:(2*{3}):(0) with vectors nohead lw {1} lc rgb {2} notitle"
            ", $interval{0} using ($1-{3}):3:(2*{3}):(0) with vectors nohead lw {1} lc rgb {2} notitle",
            s, stroke, colour, half);
      }
    }
  }
  return run_gnuplot(script + "plot " + boxes + intervals + "\n", size, id);
}

std::string to_svg(const HeatMap& chart, std::string_view id, Layout layout) {
  const std::size_t rows = chart.values.rows();
  const std::size_t columns = chart.values.columns();
  if (rows == 0 || columns == 0) throw UsageError("a heat map needs at least one cell");
  // Cells are square, and hold their numbers where they are of a size for that.
  const double room = layout == Layout::kWide ? 620.0 : 290.0;
  const double side = std::min(44.0, room / static_cast<double>(std::max(rows, columns)));
  const bool numbers = side >= 18.0;
  const bool small = side < 36.0;
  const std::size_t every = std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil(22.0 / side)));
  std::string script = "set border 0\nset tics scale 0\nunset key\nset cbrange [0:1]\n";
  // From the page's paper to the first series' colour, by opacity: works on light and dark.
  script += fmt::format("set xlabel {}\nset ylabel {}\n", gnuplot_string(chart.x_label), gnuplot_string(chart.y_label));
  script += fmt::format("set xrange [-0.5:{}]\nset yrange [{}:-0.5]\nset xtics 0,{}\nset ytics 0,{}\n",
                        static_cast<double>(columns) - 0.5, static_cast<double>(rows) - 0.5, every, every);
  double largest = 0.0;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) largest = std::max(largest, chart.values.row(r)[c]);
  }
  std::string labels = "$labels << END_OF_DATA\n";
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) {
      const double value = chart.values.row(r)[c];
      const double shade = largest > 0.0 ? std::max(0.0, value) / largest : 0.0;
      constexpr double kSeen = 0.01;
      if (shade >= kSeen) {
        script += fmt::format(
            "set object rectangle center {},{} size 0.96,0.96 fillcolor rgb {} fillstyle transparent solid {:.3f} "
            "noborder\n",
            c, r, palette_colour(0), 0.75 * shade);
      }
      std::string number = fmt::format("{:.2f}", value);
      if (small && number.starts_with('0')) number.erase(0, 1);
      labels += fmt::format("{} {} {}\n", c, r, number);
    }
  }
  script += labels + "END_OF_DATA\nplot " +
            (numbers ? std::string("$labels using 1:2:(stringcolumn(3)) with labels") : "NaN") +
            (numbers && small ? " font 'sans-serif,8'" : "") + "\n";
  const auto extent = [&](std::size_t cells) { return static_cast<std::size_t>(side * static_cast<double>(cells)); };
  return run_gnuplot(script, {.width = 90 + extent(columns), .height = 70 + extent(rows)}, id);
}

std::string to_svg(const Timeline& chart, std::string_view id, Layout layout) {
  if (chart.spans.empty()) throw UsageError("a timeline needs at least one span");
  double begin = chart.spans.front().begin;
  double end = std::max(chart.until, chart.spans.front().end);
  std::vector<std::string> labels;
  for (const Timeline::Span& span : chart.spans) {
    begin = std::min(begin, span.begin);
    end = std::max(end, span.end);
    if (std::find(labels.begin(), labels.end(), span.label) == labels.end()) labels.push_back(span.label);
  }
  // Lanes that hold one kind of span each need no legend.
  const bool lanes_name_all = std::all_of(chart.spans.begin(), chart.spans.end(), [&](const Timeline::Span& span) {
    return span.lane < chart.lanes.size() && chart.lanes[span.lane] == span.label;
  });
  const Legend legend = lanes_name_all ? Legend{} : legend_of(labels, layout);
  std::string script = common_settings(legend);
  script += fmt::format("set xlabel {}\nset yrange [{}:-0.6]\n", gnuplot_string(chart.x_label),
                        static_cast<double>(chart.lanes.size()) - 0.4);
  std::string ticks;
  for (std::size_t lane = 0; lane < chart.lanes.size(); ++lane) {
    ticks += fmt::format("{}{} {}", lane == 0 ? "" : ", ", gnuplot_tick(chart.lanes[lane]), lane);
  }
  script += fmt::format("set ytics ({}) scale 0\nunset grid\n", ticks);
  for (const Timeline::Span& span : chart.spans) {
    script +=
        fmt::format("set object rectangle from {:.9g},{} to {:.9g},{} fillcolor rgb {} fillstyle solid noborder\n",
                    span.begin, static_cast<double>(span.lane) - 0.35, span.end, static_cast<double>(span.lane) + 0.35,
                    palette_colour(colour_of(span.label)));
  }
  for (const double mark : chart.marks) {
    script += fmt::format("set arrow from {:.9g},-0.6 to {:.9g},{} nohead lc rgb 'gray' lw 1 back\n", mark, mark,
                          static_cast<double>(chart.lanes.size()) - 0.4);
  }
  script += fmt::format("set xrange [{:.9g}:{:.9g}]\n", begin, end);
  // Rectangles have no legend; points outside the range lend theirs.
  std::string plots;
  for (const std::string& label : labels) {
    plots += fmt::format("{}NaN with points pt 5 ps 1.2 lc rgb {} title {}", plots.empty() ? "" : ", ",
                         palette_colour(colour_of(label)), gnuplot_string(label));
  }
  const std::size_t width = layout == Layout::kWide ? 720 : 380;
  return run_gnuplot(script + "plot " + plots + "\n",
                     {.width = width, .height = 90 + 18 * legend.lines + 44 * chart.lanes.size()}, id);
}

}  // namespace flame::report
