#include "flame/model/position_bias.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace flame::model {

std::uint32_t position_bucket(std::int64_t relative_position, const PositionBuckets& buckets) {
  std::uint32_t count = buckets.count;
  std::uint32_t first = 0;
  std::int64_t distance = 0;
  if (buckets.bidirectional) {
    count /= 2;
    first = relative_position > 0 ? count : 0;
    distance = std::abs(relative_position);
  } else {
    distance = std::max<std::int64_t>(-relative_position, 0);
  }
  // The first half of the buckets holds one distance each, the others grow with the logarithm.
  const std::uint32_t exact = count / 2;
  if (distance < exact) return first + static_cast<std::uint32_t>(distance);
  // In fp32 and in this order: that decides on which side of a boundary a distance falls.
  const float steps = std::log(static_cast<float>(distance) / static_cast<float>(exact)) /
                      static_cast<float>(std::log(static_cast<double>(buckets.max_distance) / exact)) *
                      static_cast<float>(count - exact);
  const auto bucket = static_cast<std::uint64_t>(exact) + static_cast<std::uint64_t>(steps);
  return first + static_cast<std::uint32_t>(std::min<std::uint64_t>(bucket, count - 1));
}

PositionBias::PositionBias(const Matrix<float>& table, const PositionBuckets& buckets)
    : table_(&table), buckets_(buckets) {}

void PositionBias::reserve(std::size_t length) {
  if (length <= length_) return;
  length_ = std::max(length, 2 * length_);
  const std::size_t heads = table_->columns();
  const std::size_t distances = 2 * length_ - 1;
  by_distance_.resize(heads * distances);
  for (std::size_t i = 0; i < distances; ++i) {
    const auto distance = static_cast<std::int64_t>(i) - static_cast<std::int64_t>(length_ - 1);
    const auto biases = table_->row(position_bucket(distance, buckets_));
    for (std::size_t head = 0; head < heads; ++head) by_distance_[head * distances + i] = biases[head];
  }
}

kernels::AttentionBias PositionBias::view(std::size_t first_query) const {
  assert(first_query < length_);
  return {.data = by_distance_.data() + (length_ - 1 - first_query),
          .head_stride = static_cast<std::ptrdiff_t>(2 * length_ - 1),
          .query_stride = -1};
}

}  // namespace flame::model
