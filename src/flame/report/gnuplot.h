#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace flame::report {

/// Size of a chart's coordinate system; on the page it scales with its column.
struct CanvasSize {
  std::size_t width = 720;
  std::size_t height = 400;
};

/// Runs gnuplot on `script` (without terminal and output) and returns its SVG made fit for a page: no XML header, no
/// background, classes `plain` and `label` (see page.cc), the colours below and black and grey replaced by the page's
/// custom properties, ids prefixed by `id`. Throws DeviceError when gnuplot is not installed or rejects the script.
[[nodiscard]] std::string run_gnuplot(const std::string& script, const CanvasSize& size, std::string_view id);

/// How a script names the i-th colour of the palette, i < 256: as it is (0), mixed with the page's paper (to -100) or
/// with its ink (to 100), in percent.
[[nodiscard]] std::string palette_colour(std::size_t index, int shade = 0);

/// How a script names what the page is drawn on.
[[nodiscard]] std::string paper_colour();

/// `text` as a quoted gnuplot string that is shown literally.
[[nodiscard]] std::string gnuplot_string(std::string_view text);

/// The same for the label of a tick, in which gnuplot would take % for the beginning of a format.
[[nodiscard]] std::string gnuplot_tick(std::string_view text);

}  // namespace flame::report
