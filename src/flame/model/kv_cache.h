#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/base/data_type.h"
#include "flame/base/matrix_view.h"
#include "flame/kernels/attention.h"

namespace flame::model {

/// Keys and values of the decoder's self-attention: for each batch row and block a growing list of positions, all heads
/// side by side, in f32 or bf16. Rows that go on from the same parent get their own copy; a row with one child is
/// handed over without copying.
class KeyValueCache {
 public:
  /// `type` is kF32 or kBF16.
  KeyValueCache(std::size_t layers, std::size_t width, DataType type);

  /// `rows` empty rows with room for `positions` each.
  void start(std::size_t rows, std::size_t positions);

  [[nodiscard]] std::size_t rows() const { return order_.size(); }
  /// Positions that row `row` holds.
  [[nodiscard]] std::size_t length(std::size_t row) const { return rows_[order_[row]].length; }

  /// Makes room for `count` more positions of a row, in all layers.
  void extend(std::size_t row, std::size_t count);
  /// Stores keys and values [count, width] of the positions that the coming advance() adds; bf16 rounds them.
  void write(std::size_t row, std::size_t layer, MatrixView<const float> keys, MatrixView<const float> values);
  /// The row's keys (values), the `count` positions just written included.
  [[nodiscard]] kernels::KeyValueView keys(std::size_t row, std::size_t layer, std::size_t count) const;
  [[nodiscard]] kernels::KeyValueView values(std::size_t row, std::size_t layer, std::size_t count) const;
  /// All layers of a row have been written.
  void advance(std::size_t row, std::size_t count);

  /// Row i goes on from what was row parents[i]; there may be fewer or more rows than before.
  void reorder(std::span<const std::uint32_t> parents);

  [[nodiscard]] std::size_t bytes() const;

 private:
  struct Row {
    std::size_t length = 0;
    std::vector<std::vector<std::byte>> keys;    // [layer][positions * position_bytes()], capacity ahead of length
    std::vector<std::vector<std::byte>> values;  // likewise
  };
  std::uint32_t take_free_row();
  void copy_row(const Row& from, Row& to) const;
  [[nodiscard]] std::size_t position_bytes() const { return width_ * size_of(type_); }
  [[nodiscard]] kernels::KeyValueView view(const std::vector<std::byte>& stored, std::size_t length) const;

  std::size_t layers_;
  std::size_t width_;
  DataType type_;
  std::vector<Row> rows_;             // in no order; some are free
  std::vector<std::uint32_t> order_;  // batch row -> element of rows_
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> next_order_;  // scratch of reorder()
  std::vector<std::uint8_t> taken_;        // likewise
};

}  // namespace flame::model
