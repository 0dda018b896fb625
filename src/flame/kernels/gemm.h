#pragma once

#include <cstddef>

#include "flame/base/matrix_view.h"
#include "flame/kernels/weight_matrix.h"

namespace flame::kernels {

/// Bound of the rows that gemm() widens to f32 at a time, for each thread.
inline constexpr std::size_t kGemmScratchBytes = std::size_t{2} << 20;

/// output[t][r] = sum over c of weight[r][c] * input[t][c], by oneDNN's f32 matrix multiply, for many tokens. Row tiles
/// of the weight are spread over the thread pool; bf16 and f16 tiles are first widened, exactly, to f32. Results do not
/// depend on the number of threads. Throws Error when oneDNN reports a failure.
///
/// Where the processor multiplies bf16 (has_bf16_products()), a weight with bf16_inputs is multiplied as it is, with
/// inputs rounded to bf16: half the time. Products are exact and sums fp32 then too.
void gemm(const WeightMatrix& weight, MatrixView<const float> input, MatrixView<float> output);

/// Whether this processor multiplies pairs of bf16 numbers into fp32 sums (AVX-512 BF16), as oneDNN sees it.
[[nodiscard]] bool has_bf16_products();

/// Makes oneDNN compile its f32 products, which takes the first of them some 20 ms. Does no harm where it is done.
void prepare_gemm();

/// output [m, n] = a [m, k] times the transpose of b [n, k], in f32 by oneDNN on the calling thread.
void gemm_transposed(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> output);

/// output [m, n] = a [m, k] times b [k, n], in f32 by oneDNN on the calling thread.
void gemm_plain(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> output);

}  // namespace flame::kernels
