#include "flame/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <map>

#include "flame/base/error.h"
#include "flame/report/gnuplot.h"

namespace flame::report {
namespace {

/// Labels whose colour must not depend on what else is drawn.
struct FixedColour {
  std::string_view label_begins;
  std::size_t colour;
};
constexpr FixedColour kFixedColours[] = {
    // predictors
    {"cepr", 0},
    {"incremental", 1},
    {"popularity", 2},
    {"oracle", 3},
    {"belady", 3},
    {"mix", 4},
    {"lookahead", 5},
    {"token", 6},
    {"random", 7},
    {"lru", 5},
    {"lifo", 7},
    {"none", 7},
    {"no prediction", 7},
    {"edgemoe", 1},
    {"previous-token", 2},
    {"backoff", 0},
    {"online", 4},
    // ways to prune
    {"N:M", 0},
    {"magnitude", 0},
    {"sparsegpt", 4},
    {"wanda", 5},
    {"unstructured", 1},
    {"column-block", 2},
    {"dense", 3},
    {"2:4", 0},
    {"1:4", 4},
    // ideas
    {"neither", 7},
    {"CEPR", 1},
    {"both", 0},
    {"resident", 2},
    // time
    {"compute", 2},
    {"array busy", 2},
    {"wait", 1},
    {"load", 5},
    {"route", 6},
    {"token and router", 6},
    {"hit", 2},
    {"late", 6},
    {"miss", 1},
    {"fetching commands", 7},
    {"expert buffer", 3},
    {"scales", 4},
    {"writing results", 5},
    // storage
    {"100MB/s", 1},
    {"500MB/s", 4},
    {"2GB/s", 0},
    // counts
    {"path", 5},
    {"of the paths", 5},
    {"of the tokens", 6},
    {"tokens", 6},
    {"with embeddings", 5},
    {"without embeddings", 0},
    {"ROUGE-1", 0},
    {"ladder", 0},
    {"accelerator", 0},
    {"switch-base", 4},
    {"CPU", 5},
    {"paper", 7}};

/// Width and height of a chart's coordinate system; about 13 units make a line of text.
CanvasSize canvas(Layout layout, std::size_t legend_lines) {
  if (layout == Layout::kNarrow) return {.width = 380, .height = 300 + 18 * legend_lines};
  return {.width = 720, .height = 380 + 18 * legend_lines};
}

/// How the legend is set below a chart of that width: gnuplot cuts entries that do not fit.
struct Legend {
  std::size_t columns = 1;
  std::size_t lines = 0;
};

Legend legend_of(const std::vector<std::string>& labels, Layout layout) {
  std::size_t longest = 1;
  for (const std::string& label : labels) longest = std::max(longest, label.size());
  const std::size_t width = canvas(layout, 0).width - 60;
  const std::size_t columns =
      std::clamp<std::size_t>(width / (8 * longest + 50), 1, std::max<std::size_t>(1, labels.size()));
  return {.columns = columns, .lines = (labels.size() + columns - 1) / columns};
}

std::vector<std::string> labels_of(const std::vector<Series>& series) {
  std::vector<std::string> labels;
  for (const Series& one : series) labels.push_back(one.label);
  return labels;
}

std::string common_settings(const Legend& legend) {
  return "set border 3 lc rgb 'black'\nset tics nomirror out\nset grid ytics lc rgb 'gray' lw 0.5\n" +
         (legend.lines < 1
              ? std::string("unset key\n")
              : fmt::format("set key tmargin center horizontal Left reverse noenhanced maxcols {} samplen 2\n",
                            legend.columns));
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

/// Just past the points, where gnuplot would go on to the next tick; ticks at whole numbers where few fit.
std::string x_range(const LineChart& chart) {
  std::vector<double> values;
  for (const Series& series : chart.series) {
    for (const Point& value : series.points) {
      if (std::isfinite(value.x)) values.push_back(value.x);
    }
  }
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  if (chart.logarithmic_x) {
    if (*least <= 0.0) return "";
    const double margin = std::pow(std::max(*most / *least, 1.1), 0.03);
    // 10k, 1M: the whole numbers would lie on one another on a narrow screen.
    return fmt::format("set xrange [{:.9g}:{:.9g}]\n{}", *least / margin, *most * margin,
                       *least >= 1.0 ? "set format x '%.0s%c'\n" : "");
  }
  const double margin = *most > *least ? 0.03 * (*most - *least) : 0.5;
  const bool whole =
      *most - *least <= 16.0 && std::all_of(values.begin(), values.end(), [](double x) { return x == std::floor(x); });
  return fmt::format("set xrange [{:.9g}:{:.9g}]\n{}", *least - margin, *most + margin, whole ? "set xtics 1\n" : "");
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

std::string to_svg(const LineChart& chart, std::string_view id, Layout layout) {
  check_points(chart.series);
  const bool one = chart.series.size() == 1;
  const Legend legend = one ? Legend{} : legend_of(labels_of(chart.series), layout);
  std::string script = common_settings(legend);
  script += fmt::format("set xlabel {}\nset ylabel {}\nset yrange {}\n", gnuplot_string(chart.x_label),
                        gnuplot_string(chart.y_label), range(chart.y_minimum, chart.y_maximum));
  if (chart.logarithmic_x) script += "set logscale x\n";
  if (chart.logarithmic_y) script += "set logscale y\n";
  script += x_range(chart);
  std::string plots;
  std::map<std::size_t, std::size_t> of_colour;
  for (std::size_t s = 0; s < chart.series.size(); ++s) {
    const Series& series = chart.series[s];
    script += data_block(s, series);
    // Series of one family (cepr(1), cepr(2), …) share a colour and differ by their marks.
    constexpr std::array<int, 8> kMarks = {7, 6, 5, 4, 9, 8, 13, 12};
    const std::size_t colour = colour_of(series.label);
    const std::string style = fmt::format("lc rgb {} lw 1.8 dt {} pt {} ps 0.6", palette_colour(colour),
                                          series.dashed ? 2 : 1, kMarks[of_colour[colour]++ % kMarks.size()]);
    if (!plots.empty()) plots += ", ";
    if (has_interval(series)) {
      plots +=
          fmt::format("$data{} using 1:2:3:4 with yerrorlines {} title {}", s, style, gnuplot_string(series.label));
    } else {
      plots += fmt::format("$data{} using 1:2 with linespoints {} title {}", s, style, gnuplot_string(series.label));
    }
  }
  return run_gnuplot(script + "plot " + plots + "\n", canvas(layout, legend.lines), id);
}

std::string to_svg(const BarChart& chart, std::string_view id, Layout layout) {
  check_points(chart.series);
  const bool one = chart.series.size() == 1;
  const Legend legend = one ? Legend{} : legend_of(labels_of(chart.series), layout);
  CanvasSize size = canvas(layout, legend.lines);
  std::string script = common_settings(legend);
  script += fmt::format("set xlabel {}\nset ylabel {}\n", gnuplot_string(chart.x_label), gnuplot_string(chart.y_label));
  script += chart.logarithmic_y ? "set logscale y\n" : "set yrange [0:*]\n";
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
  // A logarithmic axis has no zero: bars begin below the smallest value.
  double floor = 0.0;
  if (chart.logarithmic_y) {
    for (const Series& series : chart.series) {
      for (const Point& value : series.points) {
        if (value.y > 0.0 && (floor == 0.0 || value.y < floor)) floor = value.y;
      }
    }
    floor = std::pow(10.0, std::floor(std::log10(floor)) - 0.5);
    script += fmt::format("set yrange [{:.9g}:*]\n", floor);
  }
  for (std::size_t s = 0; s < chart.series.size(); ++s) {
    const Series& series = chart.series[s];
    std::vector<std::string> blocks(kPaletteSize);
    std::string lines;
    for (std::size_t c = 0; c < std::min(series.points.size(), chart.categories.size()); ++c) {
      const Point& value = series.points[c];
      if (!std::isfinite(value.y)) continue;
      const double middle = chart.stacked ? static_cast<double>(c)
                                          : static_cast<double>(c) - 0.4 + (static_cast<double>(s) + 0.5) * width;
      const double bottom = chart.stacked ? base[c] : floor;
      const double top = chart.stacked ? bottom + value.y : value.y;
      base[c] = top;
      const std::size_t colour = colour_of(chart.coloured_by_category ? chart.categories[c] : series.label);
      blocks[colour] += fmt::format("{:.9g} {:.9g} {:.9g} {:.9g} {:.9g} {:.9g}\n", middle, top, middle - 0.46 * width,
                                    middle + 0.46 * width, bottom, top);
      if (value.low < value.y || value.high > value.y) {
        lines += fmt::format("{:.9g} {:.9g} {:.9g} {:.9g}\n", middle, value.y, value.low, value.high);
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
      intervals +=
          fmt::format(", $interval{} using 1:2:3:4 with yerrorbars pt 1 ps 0.001 lw 1.4 lc rgb 'black' notitle", s);
    }
  }
  return run_gnuplot(script + "plot " + boxes + intervals + "\n", size, id);
}

std::string to_svg(const HeatMap& chart, std::string_view id, Layout layout) {
  const std::size_t rows = chart.values.rows();
  const std::size_t columns = chart.values.columns();
  if (rows == 0 || columns == 0) throw UsageError("a heat map needs at least one cell");
  // Cells are square, and of a size for their numbers where the layout allows it.
  const std::size_t side = layout == Layout::kWide ? 44 : std::clamp<std::size_t>(290 / columns, 18, 44);
  const bool small = side < 36;
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
      std::string number = fmt::format("{:.2f}", value);
      if (small && number.starts_with('0')) number.erase(0, 1);
      labels += fmt::format("{} {} {}\n", c, r, number);
    }
  }
  script += labels + "END_OF_DATA\nplot $labels using 1:2:(stringcolumn(3)) with labels" +
            std::string(small ? " font 'sans-serif,8'" : "") + "\n";
  return run_gnuplot(script, {.width = 90 + side * columns, .height = 70 + side * rows}, id);
}

std::string to_svg(const Timeline& chart, std::string_view id, Layout layout) {
  if (chart.spans.empty()) throw UsageError("a timeline needs at least one span");
  double begin = chart.spans.front().begin;
  double end = chart.spans.front().end;
  std::vector<std::string> labels;
  for (const Timeline::Span& span : chart.spans) {
    begin = std::min(begin, span.begin);
    end = std::max(end, span.end);
    if (std::find(labels.begin(), labels.end(), span.label) == labels.end()) labels.push_back(span.label);
  }
  const Legend legend = legend_of(labels, layout);
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
