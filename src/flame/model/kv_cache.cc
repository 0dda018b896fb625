#include "flame/model/kv_cache.h"

#include <algorithm>
#include <cassert>

#include "flame/kernels/vector_ops.h"

namespace flame::model {

KeyValueCache::KeyValueCache(std::size_t layers, std::size_t width, DataType type)
    : layers_(layers), width_(width), type_(type) {}

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
  const std::size_t needed = (data.length + count) * position_bytes();
  for (std::size_t layer = 0; layer < layers_; ++layer) {
    if (data.keys[layer].size() >= needed) continue;
    // Doubling keeps the per-token path free of allocation but for a few steps of a long output.
    const std::size_t size = std::max(needed, 2 * data.keys[layer].size());
    data.keys[layer].resize(size);
    data.values[layer].resize(size);
  }
}

void KeyValueCache::write(std::size_t row, std::size_t layer, MatrixView<const float> keys,
                          MatrixView<const float> values) {
  Row& data = rows_[order_[row]];
  assert(keys.columns() == width_ && values.columns() == width_ && values.rows() == keys.rows());
  assert((data.length + keys.rows()) * position_bytes() <= data.keys[layer].size());
  for (std::size_t i = 0; i < keys.rows(); ++i) {
    const std::size_t offset = (data.length + i) * position_bytes();
    kernels::store(keys.row(i), type_, data.keys[layer].data() + offset);
    kernels::store(values.row(i), type_, data.values[layer].data() + offset);
  }
}

kernels::KeyValueView KeyValueCache::view(const std::vector<std::byte>& stored, std::size_t length) const {
  return {.type = type_, .data = stored.data(), .length = length, .stride = width_};
}

kernels::KeyValueView KeyValueCache::keys(std::size_t row, std::size_t layer, std::size_t count) const {
  const Row& data = rows_[order_[row]];
  return view(data.keys[layer], data.length + count);
}

kernels::KeyValueView KeyValueCache::values(std::size_t row, std::size_t layer, std::size_t count) const {
  const Row& data = rows_[order_[row]];
  return view(data.values[layer], data.length + count);
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
      total += row.keys[layer].size() + row.values[layer].size();
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
                   .keys = std::vector<std::vector<std::byte>>(layers_),
                   .values = std::vector<std::vector<std::byte>>(layers_)});
  return static_cast<std::uint32_t>(rows_.size() - 1);
}

void KeyValueCache::copy_row(const Row& from, Row& to) const {
  const std::size_t used = from.length * position_bytes();
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
