#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace flame::report {

/// A place on a canvas, in its units, from the upper left corner.
struct Place {
  double x = 0.0;
  double y = 0.0;
};

/// A rectangle on a canvas.
struct Box {
  double left = 0.0;
  double top = 0.0;
  double right = 0.0;
  double bottom = 0.0;

  [[nodiscard]] bool overlaps(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

/// Heights for labels in one column, each as near to its `wanted` height as those `gap` apart and within [top, bottom]
/// allow: the least sum of squared moves. In the order of `wanted`; nothing when so many do not fit.
[[nodiscard]] std::optional<std::vector<double>> stacked(const std::vector<double>& wanted, double gap, double top,
                                                         double bottom);

/// A text to be put beside one of its series' points.
struct PointLabel {
  double width = 0.0;
  double height = 0.0;
  std::vector<Place> points;  ///< of the series, the last one preferred
};

/// Where a label stands, and the point that it belongs to.
struct PlacedLabel {
  Box box;
  Place point;
  bool near = true;  ///< right at the point: no line between the two is needed
};

/// Places each label right of, above, below or left of one of its points, near it where it can be, so that no label
/// lies on another, on any of the `taken` boxes, or leaves `frame`. Nothing when one finds no place.
[[nodiscard]] std::optional<std::vector<PlacedLabel>> beside_points(const std::vector<PointLabel>& labels,
                                                                    const std::vector<Box>& taken, const Box& frame);

}  // namespace flame::report
