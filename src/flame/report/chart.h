#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flame/base/matrix_view.h"

namespace flame::report {

/// One measured point with its interval; low == high: none is drawn.
struct Point {
  double x = 0.0;
  double y = 0.0;
  double low = 0.0;
  double high = 0.0;
};

/// A point without interval.
[[nodiscard]] inline Point point(double x, double y) { return {x, y, y, y}; }

/// Points that belong together. The label decides the colour, on the whole page the same for the same thing; in a line
/// chart those of one colour are shades of it, from light to dark in the order given, and every series has a mark of
/// its own.
struct Series {
  std::string label;
  std::vector<Point> points = {};
  bool dashed = false;  ///< for bounds and for numbers that are not ours
  /// The mark of each point, an index of the chart's mark_names; empty: the series' own mark.
  std::vector<std::size_t> marks = {};
};

/// A wide chart names its series beside their lines: right of them where all end on the right, else at one of their
/// points; a narrow one, and one without room for that, in a legend above.
struct LineChart {
  std::string x_label;  ///< with its unit
  std::string y_label;
  bool logarithmic_x = false;
  bool logarithmic_y = false;
  /// On a logarithmic x axis: points at x = 0 stand left of all others, over this tick.
  std::string zero_label = {};
  /// What the marks of single points stand for, in the legend.
  std::vector<std::string> mark_names = {};
  std::optional<double> y_minimum = std::nullopt;
  std::optional<double> y_maximum = std::nullopt;
  std::vector<Series> series = {};
};

/// One group of bars a category; series[s].points[c] belongs to categories[c] (only y, low and high are read; a y that
/// is not finite leaves the place empty).
struct BarChart {
  std::string x_label;
  std::string y_label;
  bool stacked = false;               ///< the series of a category on one another, without intervals
  bool coloured_by_category = false;  ///< the category decides the colour instead of the series; for a single series
  std::vector<std::string> categories = {};
  std::vector<Series> series = {};
};

/// values [rows, columns], drawn with row 0 at the top and the number in each cell.
struct HeatMap {
  std::string x_label;
  std::string y_label;
  Matrix<double> values;
};

/// What ran when, one lane below another.
struct Timeline {
  struct Span {
    std::size_t lane = 0;
    std::string label;  ///< decides the colour
    double begin = 0.0;
    double end = 0.0;
  };
  std::string x_label;
  std::vector<std::string> lanes;
  std::vector<Span> spans;
  std::vector<double> marks = {};  ///< vertical lines, for example where a token begins
  double until = 0.0;              ///< the axis ends here, or where the last span does when that is later
};

/// What a chart is drawn for: a column of text, or the width of a telephone. Text has the same size in both.
enum class Layout : std::uint8_t { kWide, kNarrow };

/// The chart as an <svg> element to put into a page: no fixed size, colours through the page's custom properties
/// (--ink, --grid, --series-0 … --series-7, see page.h), ids that begin with `id`, which must be unique on the page.
/// gnuplot draws it. Throws DeviceError when gnuplot is not installed or fails (its message is given), UsageError for a
/// chart without a finite point.
[[nodiscard]] std::string to_svg(const LineChart& chart, std::string_view id, Layout layout = Layout::kWide);
[[nodiscard]] std::string to_svg(const BarChart& chart, std::string_view id, Layout layout = Layout::kWide);
[[nodiscard]] std::string to_svg(const HeatMap& chart, std::string_view id, Layout layout = Layout::kWide);
[[nodiscard]] std::string to_svg(const Timeline& chart, std::string_view id, Layout layout = Layout::kWide);

/// Number of the palette colour, 0 … kPaletteSize - 1, that a label has on every page.
inline constexpr std::size_t kPaletteSize = 8;
[[nodiscard]] std::size_t colour_of(std::string_view label);

}  // namespace flame::report
