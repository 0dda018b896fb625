#include "flame/sparsity/baselines.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

#include "flame/base/error.h"

namespace flame::sparsity {
namespace {

std::uint32_t magnitude_key(float weight) { return std::bit_cast<std::uint32_t>(weight) & 0x7fffffffU; }

}  // namespace

void prune_unstructured(double sparsity, MatrixView<float> weights) {
  std::vector<std::uint32_t> keys;
  keys.reserve(weights.rows() * weights.columns());
  for (std::size_t r = 0; r < weights.rows(); ++r) {
    for (const float weight : weights.row(r)) keys.push_back(magnitude_key(weight));
  }
  const auto kept = static_cast<std::size_t>(std::llround((1.0 - sparsity) * static_cast<double>(keys.size())));
  if (kept >= keys.size()) return;
  std::uint32_t smallest_kept = 0;
  std::size_t equal_left = 0;  // how many weights equal to the smallest kept one stay
  if (kept > 0) {
    std::nth_element(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(kept - 1), keys.end(), std::greater<>());
    smallest_kept = keys[kept - 1];
    const auto larger = std::count_if(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(kept),
                                      [&](std::uint32_t key) { return key > smallest_kept; });
    equal_left = kept - static_cast<std::size_t>(larger);
  }
  for (std::size_t r = 0; r < weights.rows(); ++r) {
    for (float& weight : weights.row(r)) {
      const std::uint32_t key = magnitude_key(weight);
      if (kept > 0 && key > smallest_kept) continue;
      if (key == smallest_kept && equal_left > 0) {
        --equal_left;
        continue;
      }
      weight = 0.0F;
    }
  }
}

std::string BlockShape::to_string() const { return fmt::format("{}x{}", rows, columns); }

BlockShape parse_block_shape(std::string_view text) {
  const std::size_t cross = text.find('x');
  BlockShape block;
  const auto read = [&](std::string_view part, std::size_t& value) {
    const auto [rest, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    return error == std::errc() && rest == part.data() + part.size() && value > 0 && value <= 1U << 20;
  };
  if (cross == std::string_view::npos || !read(text.substr(0, cross), block.rows) ||
      !read(text.substr(cross + 1), block.columns)) {
    throw UsageError(fmt::format("block \"{}\": expected ROWSxCOLUMNS, for example 32x32", text));
  }
  return block;
}

std::size_t kept_columns(double sparsity, std::size_t before, std::size_t columns) {
  const auto kept_of_first = [&](std::size_t count) {
    return static_cast<std::size_t>(std::llround((1.0 - sparsity) * static_cast<double>(count)));
  };
  return kept_of_first(before + columns) - kept_of_first(before);
}

void prune_column_blocks(double sparsity, const BlockShape& block, MatrixView<float> weights) {
  std::vector<double> norms;
  std::vector<std::size_t> order;
  std::size_t before = 0;  // columns of the blocks that are done
  for (std::size_t top = 0; top < weights.rows(); top += block.rows) {
    const auto rows = weights.rows_from(top, std::min(block.rows, weights.rows() - top));
    for (std::size_t left = 0; left < weights.columns(); left += block.columns) {
      const auto cells = rows.columns_from(left, std::min(block.columns, weights.columns() - left));
      norms.assign(cells.columns(), 0.0);
      for (std::size_t r = 0; r < cells.rows(); ++r) {
        for (std::size_t c = 0; c < cells.columns(); ++c) {
          const double weight = cells.row(r)[c];
          norms[c] += weight * weight;
        }
      }
      order.resize(cells.columns());
      std::iota(order.begin(), order.end(), std::size_t{0});
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return norms[a] > norms[b]; });
      for (std::size_t i = kept_columns(sparsity, before, cells.columns()); i < order.size(); ++i) {
        for (std::size_t r = 0; r < cells.rows(); ++r) cells.row(r)[order[i]] = 0.0F;
      }
      before += cells.columns();
    }
  }
}

}  // namespace flame::sparsity
