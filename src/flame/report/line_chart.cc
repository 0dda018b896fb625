#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "flame/report/chart.h"
#include "flame/report/chart_style.h"
#include "flame/report/gnuplot.h"
#include "flame/report/label_placement.h"

namespace flame::report {
namespace {

// gnuplot's point types: filled circle, square, triangle, lozenge, triangle that stands on its head, pentagon, and the
// same open.
constexpr std::array<int, 12> kMarks = {7, 5, 9, 13, 11, 15, 6, 4, 8, 12, 10, 14};

/// How a series is drawn.
struct Look {
  std::string colour;
  int dashes = 1;
  int mark = kMarks[0];
};

std::vector<Look> looks_of(const std::vector<Series>& series) {
  using Family = std::pair<std::size_t, bool>;
  std::map<Family, int> members;
  for (const Series& one : series) ++members[{colour_of(one.label), one.dashed}];
  std::map<Family, int> seen;
  std::vector<Look> looks;
  for (const Series& one : series) {
    const std::size_t colour = colour_of(one.label);
    const int of = members[{colour, one.dashed}];
    // Light enough to be told from the darkest, dark enough to be seen on paper.
    const int lightest = of > 2 ? -30 : 0;
    constexpr int kDarkest = 45;
    const int member = seen[{colour, one.dashed}]++;
    const int shade = of == 1 ? 0 : lightest + (kDarkest - lightest) * member / (of - 1);
    looks.push_back({.colour = palette_colour(colour, shade),
                     .dashes = one.dashed ? 2 : 1,
                     .mark = kMarks[looks.size() % kMarks.size()]});
  }
  return looks;
}

bool is_drawn(const Point& point) { return std::isfinite(point.x) && std::isfinite(point.y); }

bool has_interval(const Series& series) {
  return std::any_of(series.points.begin(), series.points.end(),
                     [](const Point& point) { return point.low < point.y || point.high > point.y; });
}

struct Axes {
  Axis x;
  Axis y;
};

Axis x_axis(const LineChart& chart) {
  double least = std::numeric_limits<double>::infinity();
  double most = -least;
  bool whole = true;
  for (const Series& series : chart.series) {
    for (const Point& point : series.points) {
      if (!is_drawn(point)) continue;
      least = std::min(least, point.x);
      most = std::max(most, point.x);
      whole = whole && point.x == std::floor(point.x);
    }
  }
  Axis axis = axis_over(least, most, chart.logarithmic_x);
  if (chart.logarithmic_x) return axis;
  // Just past the points, where the ticks would go on to the next round number.
  const double margin = most > least ? 0.03 * (most - least) : 0.5;
  if (whole && most - least <= 16.0) {
    axis.ticks.clear();
    for (double tick = least; tick <= most; tick += 1.0) axis.ticks.push_back(tick);
  }
  axis.low = least - margin;
  axis.high = most + margin;
  std::erase_if(axis.ticks, [&](double tick) { return tick < axis.low || tick > axis.high; });
  return axis;
}

Axis y_axis(const LineChart& chart) {
  double least = chart.y_minimum.value_or(std::numeric_limits<double>::infinity());
  double most = chart.y_maximum.value_or(-std::numeric_limits<double>::infinity());
  for (const Series& series : chart.series) {
    for (const Point& point : series.points) {
      if (!is_drawn(point)) continue;
      if (!chart.y_minimum) least = std::min(least, std::min(point.low, point.y));
      if (!chart.y_maximum) most = std::max(most, std::max(point.high, point.y));
    }
  }
  return axis_over(least, std::max(least, most), chart.logarithmic_y);
}

/// What is at x = 0 on a logarithmic axis moves to a place of its own left of everything.
std::optional<double> make_room_for_zero(LineChart& chart) {
  if (!chart.logarithmic_x || chart.zero_label.empty()) return std::nullopt;
  double least = std::numeric_limits<double>::infinity();
  bool zero = false;
  for (const Series& series : chart.series) {
    for (const Point& point : series.points) {
      if (!is_drawn(point)) continue;
      zero = zero || point.x <= 0.0;
      if (point.x > 0.0) least = std::min(least, point.x);
    }
  }
  if (!zero) return std::nullopt;
  const double place = std::isfinite(least) ? least / 5.0 : 1.0;
  for (Series& series : chart.series) {
    for (Point& point : series.points) {
      if (point.x <= 0.0) point.x = place;
    }
  }
  return place;
}

/// Where the axes stand on the canvas.
struct Plot {
  CanvasSize size;
  Box area;
  Axes axes;

  [[nodiscard]] Place place(const Point& point) const {
    return {area.left + axes.x.share(point.x) * (area.right - area.left),
            area.bottom - axes.y.share(point.y) * (area.bottom - area.top)};
  }
  /// A place as gnuplot's screen coordinates.
  [[nodiscard]] std::string screen(double x, double y) const {
    return fmt::format("screen {:.5f},{:.5f}", x / static_cast<double>(size.width),
                       1.0 - y / static_cast<double>(size.height));
  }
};

const Point* last_point(const Series& series) {
  const auto found = std::find_if(series.points.rbegin(), series.points.rend(), is_drawn);
  return found == series.points.rend() ? nullptr : &*found;
}

constexpr double kSample = 22.0;  // length of the piece of line before a name

/// The right margin that names of the series need; nothing where their lines end all over the chart.
std::optional<double> name_margin(const LineChart& chart, const Axis& x) {
  std::size_t longest = 0;
  for (const Series& series : chart.series) {
    const Point* last = last_point(series);
    if (last == nullptr || x.share(last->x) < 0.55) return std::nullopt;
    longest = std::max(longest, series.label.size());
  }
  const double width = kCharacterWidth * static_cast<double>(longest) + kSample + 26.0;
  return width > 220.0 ? std::nullopt : std::optional(width);
}

/// Names in a column on the right, each with a piece of its line that leads to where the line ends.
std::optional<std::string> names_at_ends(const LineChart& chart, const std::vector<Look>& looks, const Plot& plot) {
  std::vector<double> wanted;
  for (const Series& series : chart.series) {
    // Where lines end at the same height, the names stand in the order that the lines had before.
    double mean = 0.0;
    double count = 0.0;
    for (const Point& point : series.points) {
      if (!is_drawn(point)) continue;
      mean += plot.place(point).y;
      count += 1.0;
    }
    const double end = plot.place(*last_point(series)).y;
    constexpr double kTowardsMean = 0.15;
    wanted.push_back(end + kTowardsMean * (mean / count - end));
  }
  const auto heights = stacked(wanted, kLineHeight, plot.area.top, plot.area.bottom);
  if (!heights) return std::nullopt;
  std::string script;
  for (std::size_t s = 0; s < chart.series.size(); ++s) {
    const Place end = plot.place(*last_point(chart.series[s]));
    const double y = (*heights)[s];
    const double sample = plot.area.right + 14.0;
    const std::string style = fmt::format("nohead lc rgb {}", looks[s].colour);
    script +=
        fmt::format("set arrow from {} to {} {} lw 0.7\n", plot.screen(end.x, end.y), plot.screen(sample, y), style);
    script += fmt::format("set arrow from {} to {} {} lw 2 dt {}\n", plot.screen(sample, y),
                          plot.screen(sample + kSample, y), style, looks[s].dashes);
    script += fmt::format("set label '' at {} point pt {} ps 0.75 lc rgb {}\n", plot.screen(sample + kSample / 2.0, y),
                          looks[s].mark, looks[s].colour);
    script += fmt::format("set label {} at {}\n", gnuplot_string(chart.series[s].label),
                          plot.screen(sample + kSample + 5.0, y));
  }
  return script;
}

/// Names beside one of each series' points.
std::optional<std::string> names_at_points(const LineChart& chart, const std::vector<Look>& looks, const Plot& plot) {
  std::vector<PointLabel> labels;
  std::vector<Box> taken;
  const auto take = [&](double x, double y, double half_width, double half_height) {
    taken.push_back({x - half_width, y - half_height, x + half_width, y + half_height});
  };
  for (const Series& series : chart.series) {
    PointLabel label{
        .width = kCharacterWidth * static_cast<double>(series.label.size()), .height = kLineHeight - 2.0, .points = {}};
    std::optional<Place> before;
    for (const Point& point : series.points) {
      if (!is_drawn(point)) continue;
      const Place place = plot.place(point);
      label.points.push_back(place);
      take(place.x, place.y, 4.0, 4.0);
      const double low = plot.place({.x = point.x, .y = point.low}).y;
      const double high = plot.place({.x = point.x, .y = point.high}).y;
      take(place.x, (low + high) / 2.0, 3.0, (low - high) / 2.0);
      if (before) {
        const double length = std::hypot(place.x - before->x, place.y - before->y);
        for (double at = 0.0; at < length; at += 5.0) {
          take(before->x + (place.x - before->x) * at / length, before->y + (place.y - before->y) * at / length, 1.5,
               1.5);
        }
      }
      before = place;
    }
    if (label.points.empty()) return std::nullopt;
    labels.push_back(std::move(label));
  }
  const Box frame = {plot.area.left + 3.0, plot.area.top - 4.0, static_cast<double>(plot.size.width) - 4.0,
                     plot.area.bottom - 2.0};
  const auto boxes = beside_points(labels, taken, frame);
  if (!boxes) return std::nullopt;
  std::string script;
  for (std::size_t s = 0; s < chart.series.size(); ++s) {
    const auto& [box, point, near] = (*boxes)[s];
    script += fmt::format("set label {} at {} center\n", gnuplot_string(chart.series[s].label),
                          plot.screen((box.left + box.right) / 2.0, (box.top + box.bottom) / 2.0));
    if (near) continue;
    // A thin line to the nearest place on the text's edge.
    script +=
        fmt::format("set arrow from {} to {} nohead lc rgb {} lw 0.7\n", plot.screen(point.x, point.y),
                    plot.screen(std::clamp(point.x, box.left, box.right), std::clamp(point.y, box.top, box.bottom)),
                    looks[s].colour);
  }
  return script;
}

Plot plot_of(const Axes& axes, Layout layout, std::size_t legend_lines, double right_margin) {
  const CanvasSize size = canvas(layout, legend_lines);
  return {.size = size,
          .area = {.left = 80.0,
                   .top = 16.0 + 20.0 * static_cast<double>(legend_lines),
                   .right = static_cast<double>(size.width) - right_margin,
                   .bottom = static_cast<double>(size.height) - 74.0},
          .axes = axes};
}

std::string data_block(std::size_t index, const Series& series) {
  std::string text = fmt::format("$data{} << END_OF_DATA\n", index);
  for (std::size_t i = 0; i < series.points.size(); ++i) {
    const Point& point = series.points[i];
    text += fmt::format("{:.9g} {:.9g} {:.9g} {:.9g} {}\n", point.x, point.y, point.low, point.high,
                        i < series.marks.size() ? series.marks[i] : 0);
  }
  return text + "END_OF_DATA\n";
}

}  // namespace

std::string to_svg(const LineChart& given, std::string_view id, Layout layout) {
  check_points(given.series);
  LineChart chart = given;
  std::erase_if(chart.series, [](const Series& series) { return last_point(series) == nullptr; });
  const std::optional<double> zero = make_room_for_zero(chart);
  const Axes axes{.x = x_axis(chart), .y = y_axis(chart)};
  const std::vector<Look> looks = looks_of(chart.series);

  // Names beside the lines where there is room, else in the legend; there also what the marks of points stand for.
  constexpr double kPlainMargin = 18.0;
  Legend legend = legend_of(chart.mark_names, layout);
  Plot plot = plot_of(axes, layout, legend.lines, kPlainMargin);
  std::optional<std::string> names;
  if (chart.series.size() > 1 && layout == Layout::kWide) {
    if (const std::optional<double> margin = name_margin(chart, axes.x)) {
      plot = plot_of(axes, layout, legend.lines, *margin);
      names = names_at_ends(chart, looks, plot);
    } else {
      names = names_at_points(chart, looks, plot);
    }
  }
  const bool in_legend = chart.series.size() > 1 && !names;
  if (in_legend) {
    std::vector<std::string> labels;
    for (const Series& series : chart.series) labels.push_back(series.label);
    labels.insert(labels.end(), chart.mark_names.begin(), chart.mark_names.end());
    legend = legend_of(labels, layout);
    plot = plot_of(axes, layout, legend.lines, kPlainMargin);
  }

  std::string script = common_settings(legend);
  const auto width = static_cast<double>(plot.size.width);
  const auto height = static_cast<double>(plot.size.height);
  script += fmt::format(
      "set lmargin at screen {:.5f}\nset rmargin at screen {:.5f}\nset tmargin at screen {:.5f}\nset bmargin at screen "
      "{:.5f}\nset errorbars 0.7\n",
      plot.area.left / width, plot.area.right / width, 1.0 - plot.area.top / height, 1.0 - plot.area.bottom / height);
  Axis x = axes.x;
  if (zero) std::erase_if(x.ticks, [&](double tick) { return tick < 2.5 * *zero; });
  std::string x_ticks = tick_list(x);
  if (zero) x_ticks += fmt::format("{}{} {:.9g}", x_ticks.empty() ? "" : ", ", gnuplot_tick(chart.zero_label), *zero);
  script += fmt::format("set xlabel {}\nset ylabel {}\nset xrange [{:.9g}:{:.9g}]\nset yrange [{:.9g}:{:.9g}]\n",
                        gnuplot_string(chart.x_label), gnuplot_string(chart.y_label), axes.x.low, axes.x.high,
                        axes.y.low, axes.y.high);
  if (chart.logarithmic_x) script += "set logscale x\n";
  if (chart.logarithmic_y) script += "set logscale y\n";
  script += fmt::format("set xtics ({})\nset ytics ({})\n", x_ticks, tick_list(axes.y));
  if (names) script += *names;

  std::string plots;
  for (std::size_t s = 0; s < chart.series.size(); ++s) {
    const Series& series = chart.series[s];
    script += data_block(s, series);
    const bool own_marks = !series.marks.empty();
    const std::string title = in_legend ? "title " + gnuplot_string(series.label) : std::string("notitle");
    const std::string style = fmt::format("lc rgb {} lw 2 dt {}", looks[s].colour, looks[s].dashes);
    const std::string mark = own_marks ? "ps 0" : fmt::format("pt {} ps 0.75", looks[s].mark);
    const bool interval = has_interval(series);
    plots += fmt::format("{}$data{} using {} with {} {} {} {}", plots.empty() ? "" : ", ", s,
                         interval ? "1:2:3:4" : "1:2", interval ? "yerrorlines" : "linespoints", style, mark, title);
    for (std::size_t m = 0; own_marks && m < chart.mark_names.size(); ++m) {
      plots += fmt::format(", $data{} using ($5=={}?$1:NaN):2 with points pt {} ps 0.9 lc rgb {} notitle", s, m,
                           kMarks[m % kMarks.size()], looks[s].colour);
    }
  }
  for (std::size_t m = 0; m < chart.mark_names.size(); ++m) {
    plots += fmt::format(", NaN with points pt {} ps 0.9 lc rgb 'black' title {}", kMarks[m % kMarks.size()],
                         gnuplot_string(chart.mark_names[m]));
  }
  return run_gnuplot(script + "plot " + plots + "\n", plot.size, id);
}

}  // namespace flame::report
