#include "flame/kernels/gemm.h"

#include <fmt/format.h>
#include <oneapi/dnnl/dnnl.h>

#include <algorithm>
#include <cassert>
#include <vector>

#include "flame/base/blocked_signals.h"
#include "flame/base/error.h"
#include "flame/base/thread_pool.h"

// oneDNN is built on GNU OpenMP. Its own threads would stand beside the pool's; each pool thread asks for a team of
// one. Declared here because clang has no <omp.h> of its own on Debian.
extern "C" void omp_set_num_threads(int);

namespace flame::kernels {
namespace {

// Rows of the weight in one oneDNN call: enough to run near peak, few enough to share out over threads.
constexpr std::size_t kMaxTileRows = 192;
constexpr std::size_t kMinTileRows = 16;

std::size_t tile_rows(const WeightMatrix& weight) {
  const std::size_t fitting = kGemmScratchBytes / (sizeof(float) * std::max<std::size_t>(weight.columns, 1));
  return std::clamp(fitting / kMinTileRows * kMinTileRows, kMinTileRows, kMaxTileRows);
}

void multiply(char transpose_b, MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> output) {
  const auto extent = [](std::size_t value) { return static_cast<dnnl_dim_t>(value); };
  omp_set_num_threads(1);
  // oneDNN's AVX2 and AVX-512 code (seen with 2.6.3) keeps values on the stack below what the system spares when it
  // calls a signal's handler. A signal of any kind would overwrite them, and the product would land in memory of
  // others.
  const BlockedSignals whole_call;
  const dnnl_status_t status =
      dnnl_sgemm('N', transpose_b, extent(output.rows()), extent(output.columns()), extent(a.columns()), 1.0F, a.data(),
                 extent(a.stride()), b.data(), extent(b.stride()), 0.0F, output.data(), extent(output.stride()));
  if (status != dnnl_success) {
    throw Error(fmt::format("oneDNN could not multiply matrices of {} x {} and {} x {}: status {}", a.rows(),
                            a.columns(), b.rows(), b.columns(), static_cast<int>(status)));
  }
}

}  // namespace

void gemm(const WeightMatrix& weight, MatrixView<const float> input, MatrixView<float> output) {
  assert(input.columns() == weight.columns && output.columns() == weight.rows && output.rows() == input.rows());
  if (output.empty()) return;
  if (input.columns() == 0) {
    for (std::size_t t = 0; t < output.rows(); ++t) std::ranges::fill(output.row(t), 0.0F);
    return;
  }
  const std::size_t tile = tile_rows(weight);
  const std::size_t tiles = (weight.rows - 1) / tile + 1;
  ThreadPool::parallel_for(tiles, 1, [&](std::size_t begin, std::size_t end) {
    thread_local std::vector<float> scratch;
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t first = i * tile;
      const std::size_t rows = std::min(tile, weight.rows - first);
      const WeightMatrix part = weight.rows_from(first, rows);
      const MatrixView<float> columns = output.columns_from(first, rows);
      const auto* floats = reinterpret_cast<const float*>(part.data);
      if (weight.type != DataType::kF32) {
        scratch.resize(std::max(scratch.size(), tile * weight.columns));
        widen(part, std::span(scratch).first(rows * weight.columns));
        floats = scratch.data();
      }
      gemm_transposed(input, {floats, rows, weight.columns}, columns);
    }
  });
}

void gemm_transposed(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> output) {
  assert(a.columns() == b.columns() && output.rows() == a.rows() && output.columns() == b.rows());
  multiply('T', a, b, output);
}

void gemm_plain(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> output) {
  assert(a.columns() == b.rows() && output.rows() == a.rows() && output.columns() == b.columns());
  multiply('N', a, b, output);
}

}  // namespace flame::kernels
