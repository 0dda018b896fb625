#include "flame/model/kv_cache.h"

#include <algorithm>
#include <cassert>

namespace flame::model {

KeyValueCache::KeyValueCache(std::size_t layers, std::size_t width) : layers_(layers), width_(width) {}

void KeyValueCache::start(std::size_t rows, std::size_t positions) {
  free_.clear();
  for (std::size_t i = rows_.size(); i > 0; --i) free_.push_back(static_cast<std::uint32_t>(i - 1));
  order_.clear();
  for (std::size_t i = 0; i < rows; ++i) {
    order_.push_back(take_free_row());
    rows_[order_.back()].length = 0;
    extend(i, positions);
  }
}

void KeyValueCache::extend(std::size_t row, std::size_t count) {
  Row& data = rows_[order_[row]];
  const std::size_t needed = (data.length + count) * width_;
  for (std::size_t layer = 0; layer < layers_; ++layer) {
    if (data.keys[layer].size() >= needed) continue;
    // Doubling keeps the per-token path free of allocation but for a few steps of a long output.
    const std::size_t size = std::max(needed, 2 * data.keys[layer].size());
    data.keys[layer].resize(size);
    data.values[layer].resize(size);
  }
}

MatrixView<float> KeyValueCache::new_keys(std::size_t row, std::size_t layer, std::size_t count) {
  Row& data = rows_[order_[row]];
  assert((data.length + count) * width_ <= data.keys[layer].size());
  return {data.keys[layer].data() + data.length * width_, count, width_};
}

MatrixView<float> KeyValueCache::new_values(std::size_t row, std::size_t layer, std::size_t count) {
  Row& data = rows_[order_[row]];
  assert((data.length + count) * width_ <= data.values[layer].size());
  return {data.values[layer].data() + data.length * width_, count, width_};
}

kernels::KeyValueView KeyValueCache::keys(std::size_t row, std::size_t layer, std::size_t count) const {
  const Row& data = rows_[order_[row]];
  return {DataType::kF32, reinterpret_cast<const std::byte*>(data.keys[layer].data()), data.length + count, width_};
}

kernels::KeyValueView KeyValueCache::values(std::size_t row, std::size_t layer, std::size_t count) const {
  const Row& data = rows_[order_[row]];
  return {DataType::kF32, reinterpret_cast<const std::byte*>(data.values[layer].data()), data.length + count, width_};
}

void KeyValueCache::advance(std::size_t row, std::size_t count) { rows_[order_[row]].length += count; }

void KeyValueCache::reorder(std::span<const std::uint32_t> parents) {
  // The first child of a row takes it over; those after it copy it. Rows without a child become free first, so that the
  // copies find room.
  taken_.assign(rows_.size(), 0);
  for (const std::uint32_t parent : parents) taken_[order_[parent]] = 1;
  for (const std::uint32_t row : order_) {
    if (taken_[row] == 0) free_.push_back(row);
  }
  taken_.assign(rows_.size(), 0);
  next_order_.clear();
  for (const std::uint32_t parent : parents) {
    const std::uint32_t source = order_[parent];
    if (taken_[source] == 0) {
      taken_[source] = 1;
      next_order_.push_back(source);
      continue;
    }
    const std::uint32_t copy = take_free_row();
    copy_row(rows_[source], rows_[copy]);
    next_order_.push_back(copy);
  }
  order_.swap(next_order_);
}

std::size_t KeyValueCache::bytes() const {
  std::size_t total = 0;
  for (const Row& row : rows_) {
    for (std::size_t layer = 0; layer < layers_; ++layer) {
      total += (row.keys[layer].size() + row.values[layer].size()) * sizeof(float);
    }
  }
  return total;
}

std::uint32_t KeyValueCache::take_free_row() {
  if (!free_.empty()) {
    const std::uint32_t row = free_.back();
    free_.pop_back();
    return row;
  }
  rows_.push_back({.length = 0,
                   .keys = std::vector<std::vector<float>>(layers_),
                   .values = std::vector<std::vector<float>>(layers_)});
  return static_cast<std::uint32_t>(rows_.size() - 1);
}

void KeyValueCache::copy_row(const Row& from, Row& to) const {
  const std::size_t used = from.length * width_;
  for (std::size_t layer = 0; layer < layers_; ++layer) {
    if (to.keys[layer].size() < from.keys[layer].size()) {
      to.keys[layer].resize(from.keys[layer].size());
      to.values[layer].resize(from.keys[layer].size());
    }
    std::copy_n(from.keys[layer].begin(), used, to.keys[layer].begin());
    std::copy_n(from.values[layer].begin(), used, to.values[layer].begin());
  }
  to.length = from.length;
}

}  // namespace flame::model
