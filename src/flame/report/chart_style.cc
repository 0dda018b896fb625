#include "flame/report/chart_style.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "flame/base/error.h"

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
    {"next-router", 5},
    {"pre-attention", 5},
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

CanvasSize canvas(Layout layout, std::size_t legend_lines) {
  if (layout == Layout::kNarrow) return {.width = 380, .height = 300 + 20 * legend_lines};
  return {.width = 720, .height = 380 + 20 * legend_lines};
}

Legend legend_of(const std::vector<std::string>& labels, Layout layout) {
  if (labels.empty()) return {};
  std::size_t longest = 1;
  for (const std::string& label : labels) longest = std::max(longest, label.size());
  const std::size_t width = canvas(layout, 0).width - 100;  // it is no wider than the plot
  const std::size_t columns = std::clamp<std::size_t>(width / (8 * longest + 50), 1, labels.size());
  return {.columns = columns, .lines = (labels.size() + columns - 1) / columns};
}

std::string common_settings(const Legend& legend) {
  return "set border 3 lc rgb 'black'\nset tics nomirror out\nset grid ytics lc rgb 'gray' lw 0.5\n" +
         (legend.lines < 1
              ? std::string("unset key\n")
              : fmt::format("set key tmargin center horizontal Left reverse noenhanced maxcols {} samplen 2\n",
                            legend.columns));
}

void check_points(const std::vector<Series>& series) {
  for (const Series& one : series) {
    for (const Point& point : one.points) {
      if (std::isfinite(point.x) && std::isfinite(point.y)) return;
    }
  }
  throw UsageError("a chart needs at least one point");
}

double Axis::share(double value) const {
  if (!logarithmic) return (value - low) / (high - low);
  return value <= 0.0 ? 0.0 : std::log(value / low) / std::log(high / low);
}

Axis axis_over(double least, double most, bool logarithmic) {
  Axis axis{.low = least, .high = most, .logarithmic = logarithmic, .ticks = {}};
  if (logarithmic) {
    if (!(least > 0.0)) throw UsageError("a logarithmic axis has no place for what is not above zero");
    axis.low = least / 1.15;
    axis.high = most * 1.15;
    const bool few = axis.high / axis.low < 100.0;
    const int first = static_cast<int>(std::floor(std::log10(axis.low)));
    const int last = static_cast<int>(std::ceil(std::log10(axis.high)));
    for (int decade = first; decade <= last; ++decade) {
      for (const double step : {1.0, 2.0, 5.0}) {
        const double tick = step * std::pow(10.0, decade);
        if ((step == 1.0 || few) && tick >= axis.low && tick <= axis.high) axis.ticks.push_back(tick);
      }
    }
    return axis;
  }
  const double span = most > least ? most - least : std::max(std::abs(most), 1.0);
  constexpr double kIntervals = 5.0;
  const double raw = span / kIntervals;
  const double decade = std::pow(10.0, std::floor(std::log10(raw)));
  double step = 10.0 * decade;
  for (const double factor : {5.0, 2.0, 1.0}) {
    if (factor * decade >= raw) step = factor * decade;
  }
  const double begin = std::floor(least / step + 1e-9);
  const double end = std::max(begin + 1.0, std::ceil(most / step - 1e-9));
  axis.low = begin * step;
  axis.high = end * step;
  for (double i = begin; i <= end + 0.5; i += 1.0) axis.ticks.push_back(i * step);
  return axis;
}

std::string short_number(double value) {
  const double size = std::abs(value);
  for (const auto& [unit, letter] : {std::pair{1e9, "G"}, std::pair{1e6, "M"}, std::pair{1e3, "k"}}) {
    if (size >= unit) return fmt::format("{:.4g}{}", value / unit, letter);
  }
  return fmt::format("{:.4g}", size < 1e-12 ? 0.0 : value);
}

std::string tick_list(const Axis& axis) {
  // Below ten thousand a number is as short as its abbreviation.
  const bool plain = !axis.logarithmic && std::max(std::abs(axis.low), std::abs(axis.high)) < 10000.0;
  std::string list;
  for (const double tick : axis.ticks) {
    list += fmt::format("{}{} {:.9g}", list.empty() ? "" : ", ",
                        gnuplot_tick(plain ? fmt::format("{:.4g}", tick) : short_number(tick)), tick);
  }
  return list;
}

}  // namespace flame::report
