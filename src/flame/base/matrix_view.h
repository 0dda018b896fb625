#pragma once

#include <cassert>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

namespace flame {

/// A row-major matrix that somebody else owns: [rows, columns], row r starts at data + r * stride (in elements).
/// Promises nothing about alignment. Valid as long as its owner.
template <typename T>
class MatrixView {
 public:
  constexpr MatrixView() = default;
  constexpr MatrixView(T* data, std::size_t rows, std::size_t columns) : MatrixView(data, rows, columns, columns) {}
  constexpr MatrixView(T* data, std::size_t rows, std::size_t columns, std::size_t stride)
      : data_(data), rows_(rows), columns_(columns), stride_(stride) {
    assert(stride >= columns);
  }
  /// A writable view is also a read-only one.
  template <typename U>
    requires(std::is_same_v<T, const U> && !std::is_const_v<U>)
  constexpr MatrixView(const MatrixView<U>& other)  // NOLINT(google-explicit-constructor)
      : MatrixView(other.data(), other.rows(), other.columns(), other.stride()) {}

  [[nodiscard]] constexpr T* data() const { return data_; }
  [[nodiscard]] constexpr std::size_t rows() const { return rows_; }
  [[nodiscard]] constexpr std::size_t columns() const { return columns_; }
  [[nodiscard]] constexpr std::size_t stride() const { return stride_; }
  [[nodiscard]] constexpr bool empty() const { return rows_ == 0 || columns_ == 0; }

  [[nodiscard]] constexpr std::span<T> row(std::size_t r) const {
    assert(r < rows_);
    return {data_ + r * stride_, columns_};
  }
  [[nodiscard]] constexpr MatrixView rows_from(std::size_t first, std::size_t count) const {
    assert(first <= rows_ && count <= rows_ - first);
    return {data_ + first * stride_, count, columns_, stride_};
  }
  [[nodiscard]] constexpr MatrixView columns_from(std::size_t first, std::size_t count) const {
    assert(first <= columns_ && count <= columns_ - first);
    return {data_ + first, rows_, count, stride_};
  }

 private:
  T* data_ = nullptr;
  std::size_t rows_ = 0;
  std::size_t columns_ = 0;
  std::size_t stride_ = 0;
};

/// A row-major matrix that owns its elements, without padding.
template <typename T>
class Matrix {
 public:
  Matrix() = default;
  Matrix(std::size_t rows, std::size_t columns, T value = T())
      : elements_(rows * columns, value), rows_(rows), columns_(columns) {}

  [[nodiscard]] std::size_t rows() const { return rows_; }
  [[nodiscard]] std::size_t columns() const { return columns_; }
  [[nodiscard]] T* data() { return elements_.data(); }
  [[nodiscard]] const T* data() const { return elements_.data(); }
  [[nodiscard]] std::span<T> row(std::size_t r) { return view().row(r); }
  [[nodiscard]] std::span<const T> row(std::size_t r) const { return view().row(r); }

  [[nodiscard]] MatrixView<T> view() { return {elements_.data(), rows_, columns_}; }
  [[nodiscard]] MatrixView<const T> view() const { return {elements_.data(), rows_, columns_}; }
  operator MatrixView<T>() { return view(); }              // NOLINT(google-explicit-constructor)
  operator MatrixView<const T>() const { return view(); }  // NOLINT(google-explicit-constructor)

  /// Changes the shape; the elements' values are unspecified afterwards. Memory is only ever added.
  void resize(std::size_t rows, std::size_t columns) {
    elements_.resize(rows * columns);
    rows_ = rows;
    columns_ = columns;
  }

 private:
  std::vector<T> elements_;
  std::size_t rows_ = 0;
  std::size_t columns_ = 0;
};

}  // namespace flame
