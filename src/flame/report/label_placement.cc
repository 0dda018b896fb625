#include "flame/report/label_placement.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace flame::report {

std::optional<std::vector<double>> stacked(const std::vector<double>& wanted, double gap, double top, double bottom) {
  const std::size_t count = wanted.size();
  if (count == 0) return std::vector<double>{};
  const double room = bottom - top - gap * static_cast<double>(count - 1);
  if (room < 0.0) return std::nullopt;
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return wanted[a] < wanted[b]; });
  // With the gaps taken out, heights need only not fall: the closest such sequence by pooling adjacent violators.
  struct Pool {
    double mean = 0.0;
    std::size_t size = 0;
  };
  std::vector<Pool> pools;
  for (std::size_t i = 0; i < count; ++i) {
    pools.push_back({wanted[order[i]] - gap * static_cast<double>(i), 1});
    while (pools.size() > 1 && pools[pools.size() - 2].mean > pools.back().mean) {
      const Pool last = pools.back();
      pools.pop_back();
      Pool& before = pools.back();
      const auto a = static_cast<double>(before.size);
      const auto b = static_cast<double>(last.size);
      before = {(before.mean * a + last.mean * b) / (a + b), before.size + last.size};
    }
  }
  std::vector<double> heights(count, 0.0);
  std::size_t i = 0;
  for (const Pool& pool : pools) {
    const double height = std::clamp(pool.mean, top, top + room);
    for (std::size_t member = 0; member < pool.size; ++member, ++i) {
      heights[order[i]] = height + gap * static_cast<double>(i);
    }
  }
  return heights;
}

std::optional<std::vector<PlacedLabel>> beside_points(const std::vector<PointLabel>& labels,
                                                      const std::vector<Box>& taken, const Box& frame) {
  constexpr std::array<double, 6> kDistances = {8.0,  16.0, 28.0,
                                                42.0, 58.0, 76.0};  // from the middle of a point's mark
  std::vector<Box> boxes = taken;
  std::vector<PlacedLabel> placed;
  for (const PointLabel& label : labels) {
    const double half_width = label.width / 2.0;
    const double half_height = label.height / 2.0;
    const auto free_box = [&](const Place& point, double right, double down, double distance) -> std::optional<Box> {
      const Place middle = {point.x + right * (distance + half_width), point.y + down * (distance + half_height)};
      const Box box = {middle.x - half_width, middle.y - half_height, middle.x + half_width, middle.y + half_height};
      const bool inside =
          box.left >= frame.left && box.right <= frame.right && box.top >= frame.top && box.bottom <= frame.bottom;
      const bool hit = std::any_of(boxes.begin(), boxes.end(), [&](const Box& other) { return box.overlaps(other); });
      return inside && !hit ? std::optional(box) : std::nullopt;
    };
    std::optional<PlacedLabel> found;
    for (const double distance : kDistances) {
      for (auto point = label.points.rbegin(); point != label.points.rend() && !found; ++point) {
        // Right, above, below, left, and the corners.
        constexpr std::array<Place, 8> kDirections = {Place{1, 0},       Place{0, -1},     Place{0, 1},
                                                      Place{-1, 0},      Place{0.8, -0.8}, Place{0.8, 0.8},
                                                      Place{-0.8, -0.8}, Place{-0.8, 0.8}};
        for (const Place& direction : kDirections) {
          if (found) break;
          if (const std::optional<Box> box = free_box(*point, direction.x, direction.y, distance)) {
            found = {.box = *box, .point = *point, .near = distance == kDistances.front()};
          }
        }
      }
      if (found) break;
    }
    if (!found) return std::nullopt;
    boxes.push_back(found->box);
    placed.push_back(*found);
  }
  return placed;
}

}  // namespace flame::report
