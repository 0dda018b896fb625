#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "flame/report/chart.h"
#include "flame/report/gnuplot.h"

// What the charts of all kinds share.
namespace flame::report {

/// Width of a character and height of a line of a chart's text, in its units; on the safe side for the fonts of
/// browsers.
inline constexpr double kCharacterWidth = 7.3;
inline constexpr double kLineHeight = 15.0;

/// Width and height of a chart's coordinate system; `legend_lines` are added to its height.
[[nodiscard]] CanvasSize canvas(Layout layout, std::size_t legend_lines);

/// How the legend is set above a chart: gnuplot cuts entries that do not fit.
struct Legend {
  std::size_t columns = 1;
  std::size_t lines = 0;  ///< 0: none
};
[[nodiscard]] Legend legend_of(const std::vector<std::string>& labels, Layout layout);

/// Borders, ticks and legend.
[[nodiscard]] std::string common_settings(const Legend& legend);

/// Throws UsageError for series without a finite point; gnuplot would fail with a message about ranges.
void check_points(const std::vector<Series>& series);

/// One axis: where it begins and ends, and its ticks.
struct Axis {
  double low = 0.0;
  double high = 1.0;
  bool logarithmic = false;
  std::vector<double> ticks = {};

  /// Where on the axis a value stands: 0 at its beginning, 1 at its end.
  [[nodiscard]] double share(double value) const;
};

/// An axis that ends at ticks, for values from `least` to `most`; a logarithmic one needs 0 < least, and has ticks at
/// 1, 2 and 5 of each decade where it spans few.
[[nodiscard]] Axis axis_over(double least, double most, bool logarithmic);

/// The axis as gnuplot's `set xtics`' list: 200, 20k, 1.5M.
[[nodiscard]] std::string tick_list(const Axis& axis);

/// "20k": short enough for a tick.
[[nodiscard]] std::string short_number(double value);

}  // namespace flame::report
