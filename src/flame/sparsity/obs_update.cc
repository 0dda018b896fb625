#include "flame/sparsity/obs_update.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <vector>

#include "flame/base/error.h"
#include "flame/base/thread_pool.h"
#include "flame/kernels/gemm.h"
#include "flame/sparsity/group_select.h"

namespace flame::sparsity {
namespace {

constexpr std::size_t kBlock = 64;      // rows and columns of a block that is factored at once
constexpr std::size_t kTileRows = 128;  // rows of one thread's share of a matrix product

MatrixView<float> part(MatrixView<float> matrix, std::size_t row, std::size_t rows, std::size_t column,
                       std::size_t columns) {
  return matrix.rows_from(row, rows).columns_from(column, columns);
}

void subtract(MatrixView<const float> subtrahend, MatrixView<float> minuend) {
  for (std::size_t r = 0; r < minuend.rows(); ++r) {
    const auto from = subtrahend.row(r);
    const auto to = minuend.row(r);
    for (std::size_t c = 0; c < to.size(); ++c) to[c] -= from[c];
  }
}

/// Calls body(first, rows) for tiles of [0, rows) on the pool.
template <typename Body>
void for_row_tiles(std::size_t rows, const Body& body) {
  const std::size_t tiles = (rows + kTileRows - 1) / kTileRows;
  ThreadPool::parallel_for(tiles, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t tile = begin; tile < end; ++tile) {
      const std::size_t first = tile * kTileRows;
      body(first, std::min(kTileRows, rows - first));
    }
  });
}

/// Replaces a diagonal block A (upper triangle) by the upper triangular R with R Rᵀ = A, and gives R⁻¹ too.
/// Returns false when A is not positive definite.
bool factor_block(MatrixView<float> block, Matrix<float>& inverse) {
  const std::size_t size = block.rows();
  std::array<std::array<double, kBlock>, kBlock> r{};
  for (std::size_t j = size; j-- > 0;) {
    double pivot = block.row(j)[j];
    for (std::size_t k = j + 1; k < size; ++k) pivot -= r[j][k] * r[j][k];
    if (!(pivot > 0.0) || !std::isfinite(pivot)) return false;
    r[j][j] = std::sqrt(pivot);
    for (std::size_t i = 0; i < j; ++i) {
      double value = block.row(i)[j];
      for (std::size_t k = j + 1; k < size; ++k) value -= r[i][k] * r[j][k];
      r[i][j] = value / r[j][j];
    }
  }
  inverse.resize(size, size);
  std::array<std::array<double, kBlock>, kBlock> u{};
  for (std::size_t j = 0; j < size; ++j) {
    u[j][j] = 1.0 / r[j][j];
    for (std::size_t i = j; i-- > 0;) {
      double value = 0.0;
      for (std::size_t k = i + 1; k <= j; ++k) value += r[i][k] * u[k][j];
      u[i][j] = -value / r[i][i];
    }
  }
  for (std::size_t i = 0; i < size; ++i) {
    for (std::size_t j = 0; j < size; ++j) {
      block.row(i)[j] = static_cast<float>(r[i][j]);
      inverse.row(i)[j] = static_cast<float>(u[i][j]);
    }
  }
  return true;
}

/// Replaces H (upper triangle) by R⁻¹, where R Rᵀ = H and R is upper triangular. Then H⁻¹ = R⁻ᵀ R⁻¹: R⁻¹ is the factor
/// of the inverse, had without inverting H itself. Returns false when H is not positive definite.
bool factor_and_invert(Matrix<float>& matrix) {
  const std::size_t size = matrix.rows();
  const std::size_t blocks = (size + kBlock - 1) / kBlock;
  const MatrixView<float> h = matrix;
  std::vector<Matrix<float>> diagonal(blocks);  // inverses of R's diagonal blocks

  // R, from the last block column to the first.
  for (std::size_t b = blocks; b-- > 0;) {
    const std::size_t first = b * kBlock;
    const std::size_t width = std::min(kBlock, size - first);
    if (!factor_block(part(h, first, width, first, width), diagonal[b])) return false;
    for_row_tiles(first, [&](std::size_t row, std::size_t rows) {
      const MatrixView<float> cells = part(h, row, rows, first, width);
      Matrix<float> solved(rows, width);
      kernels::gemm_transposed(cells, diagonal[b], solved);
      for (std::size_t r = 0; r < rows; ++r) std::ranges::copy(solved.row(r), cells.row(r).begin());
    });
    for_row_tiles(first, [&](std::size_t row, std::size_t rows) {
      // Columns from this tile's first row on: the rest lies below the diagonal.
      Matrix<float> product(rows, first - row);
      kernels::gemm_transposed(part(h, row, rows, first, width), part(h, row, first - row, first, width), product);
      subtract(product, part(h, row, rows, row, first - row));
    });
  }

  // R⁻¹, from the first block column to the last: above the diagonal block, -(R⁻¹ so far) · R · (diagonal block)⁻¹.
  Matrix<float> column(size, kBlock);
  for (std::size_t b = 0; b < blocks; ++b) {
    const std::size_t first = b * kBlock;
    const std::size_t width = std::min(kBlock, size - first);
    const MatrixView<float> scaled = part(column, 0, first, 0, width);
    if (first > 0) kernels::gemm_plain(part(h, 0, first, first, width), diagonal[b], scaled);
    for_row_tiles(first, [&](std::size_t row, std::size_t rows) {
      const MatrixView<float> cells = part(h, row, rows, first, width);
      kernels::gemm_plain(part(h, row, rows, row, first - row), scaled.rows_from(row, first - row), cells);
      for (std::size_t r = 0; r < rows; ++r) {
        for (float& value : cells.row(r)) value = -value;
      }
    });
    for (std::size_t r = 0; r < width; ++r) {
      std::ranges::copy(diagonal[b].row(r), part(h, first + r, 1, first, width).row(0).begin());
      std::ranges::fill(h.row(first + r).first(first), 0.0F);
    }
  }
  return true;
}

}  // namespace

Matrix<float> gram_matrix(MatrixView<const float> inputs) {
  const std::size_t width = inputs.columns();
  Matrix<float> gram(width, width, 0.0F);
  if (inputs.empty()) return gram;
  Matrix<float> transposed(width, inputs.rows());
  ThreadPool::parallel_for(width, kBlock, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = 0; t < inputs.rows(); ++t) {
      for (std::size_t i = begin; i < end; ++i) transposed.row(i)[t] = inputs.row(t)[i];
    }
  });
  for_row_tiles(width, [&](std::size_t row, std::size_t rows) {
    kernels::gemm_plain(transposed.view().rows_from(row, rows), inputs, gram.view().rows_from(row, rows));
  });
  return gram;
}

double factor_inverse(Matrix<float>& hessian, double damping) {
  assert(hessian.rows() == hessian.columns() && damping > 0.0);
  const std::size_t size = hessian.rows();
  double trace = 0.0;
  for (std::size_t i = 0; i < size; ++i) trace += hessian.row(i)[i];
  if (!std::isfinite(trace)) throw ModelError("the calibration inputs of an expert are not finite numbers");
  const double mean = trace / static_cast<double>(size);
  if (mean <= 0.0) {
    for (std::size_t i = 0; i < size; ++i) {
      std::ranges::fill(hessian.row(i), 0.0F);
      hessian.row(i)[i] = 1.0F;
    }
    return damping;
  }
  constexpr double kLargestDamping = 1e6;
  for (double used = damping; used < kLargestDamping; used *= 2.0) {
    Matrix<float> factor = hessian;
    for (std::size_t i = 0; i < size; ++i) factor.row(i)[i] += static_cast<float>(used * mean);
    if (factor_and_invert(factor)) {
      hessian = std::move(factor);
      return used;
    }
  }
  throw ModelError("the calibration inputs of an expert are not finite numbers");
}

void prune_with_update(Pattern pattern, const Matrix<float>& inverse_factor, MatrixView<float> weights) {
  const std::size_t columns = weights.columns();
  assert(inverse_factor.rows() == columns);
  if (pattern.dense()) return;
  const std::size_t m = pattern.m;
  const std::size_t block = kObsBlockColumns / m * m;  // groups never straddle blocks
  const MatrixView<const float> u = inverse_factor.view();

  for_row_tiles(weights.rows(), [&](std::size_t first_row, std::size_t rows) {
    const MatrixView<float> tile = weights.rows_from(first_row, rows);
    Matrix<float> errors;
    Matrix<float> spread;
    for (std::size_t begin = 0; begin < columns; begin += block) {
      const std::size_t end = std::min(columns, begin + block);
      errors.resize(rows, end - begin);
      for (std::size_t r = 0; r < rows; ++r) {
        const std::span<float> w = tile.row(r);
        std::uint32_t kept = 0;
        for (std::size_t j = begin; j < end; ++j) {
          const std::size_t place = (j - begin) % m;
          if (place == 0) {
            const std::size_t size = std::min(m, end - j);
            std::array<float, 16> scores;
            for (std::size_t i = 0; i < size; ++i) scores[i] = w[j + i] / u.row(j + i)[j + i];
            kept = largest_of_group(std::span(scores).first(size), pattern.n);
          }
          float error = 0.0F;
          if ((kept >> place & 1U) == 0) {
            error = w[j] / u.row(j)[j];
            w[j] = 0.0F;
            const std::span<const float> factors = u.row(j);
            for (std::size_t l = j + 1; l < end; ++l) w[l] -= error * factors[l];
          }
          errors.row(r)[j - begin] = error;
        }
      }
      if (end == columns) break;
      spread.resize(rows, columns - end);
      kernels::gemm_plain(errors, u.rows_from(begin, end - begin).columns_from(end, columns - end), spread);
      subtract(spread, tile.columns_from(end, columns - end));
    }
  });
}

}  // namespace flame::sparsity
