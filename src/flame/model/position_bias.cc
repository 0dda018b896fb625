#include "flame/model/position_bias.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>

#include "flame/base/error.h"

namespace flame::model {

std::int64_t position_bucket(std::int64_t relative_position, const PositionBuckets& buckets) {
  std::int64_t count = buckets.count;
  std::int64_t first = 0;
  std::int64_t distance = 0;
  if (buckets.bidirectional) {
    count /= 2;
    first = relative_position > 0 ? count : 0;
    distance = std::abs(relative_position);
  } else {
    distance = std::max<std::int64_t>(-relative_position, 0);
  }
  // The first half of the buckets holds one distance each, the others grow with the logarithm.
  const std::int64_t exact = count / 2;
  if (distance < exact) return first + distance;
  // In fp32 and in this order: that decides on which side of a boundary a distance falls.
  const float steps =
      std::log(static_cast<float>(distance) / static_cast<float>(exact)) /
      static_cast<float>(std::log(static_cast<double>(buckets.max_distance) / static_cast<double>(exact))) *
      static_cast<float>(count - exact);
  // Where the logarithm of max_distance is 0, transformers' conversion to integers gives the least of them.
  if (!std::isfinite(steps)) return -1;
  return first + std::min(exact + static_cast<std::int64_t>(steps), count - 1);
}

PositionBias::PositionBias(const Matrix<float>& table, const PositionBuckets& buckets)
    : table_(&table), buckets_(buckets) {}

void PositionBias::reserve(std::size_t length) {
  if (length > longest_) refuse(length);
  if (length <= length_) return;
  length_ = std::max(length, 2 * length_);
  const std::size_t heads = table_->columns();
  const std::size_t distances = 2 * length_ - 1;
  by_distance_.resize(heads * distances);
  for (std::size_t i = 0; i < distances; ++i) {
    const auto distance = static_cast<std::int64_t>(i) - static_cast<std::int64_t>(length_ - 1);
    const std::int64_t bucket = position_bucket(distance, buckets_);
    if (bucket < 0) {
      longest_ = std::min(longest_, static_cast<std::size_t>(std::abs(distance)));
      continue;
    }
    const auto biases = table_->row(static_cast<std::size_t>(bucket));
    for (std::size_t head = 0; head < heads; ++head) by_distance_[head * distances + i] = biases[head];
  }
  if (length > longest_) refuse(length);
}

void PositionBias::refuse(std::size_t length) const {
  throw ModelError(
      fmt::format("{} positions: with relative_attention_num_buckets {} and relative_attention_max_distance {} "
                  "positions {} apart have "
                  "no bucket (transformers fails with an IndexError); at most {} positions can be run",
                  length, buckets_.count, buckets_.max_distance, longest_, longest_));
}

kernels::AttentionBias PositionBias::view(std::size_t first_query) const {
  assert(first_query < length_);
  return {.data = by_distance_.data() + (length_ - 1 - first_query),
          .head_stride = static_cast<std::ptrdiff_t>(2 * length_ - 1),
          .query_stride = -1};
}

}  // namespace flame::model
