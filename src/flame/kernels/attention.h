#pragma once

#include <cstddef>
#include <limits>

#include "flame/base/data_type.h"
#include "flame/base/matrix_view.h"

namespace flame::kernels {

/// Keys or values of one sequence, f32 or bf16: head h of position k begins at element h * head_stride + k * stride.
struct KeyValueView {
  DataType type = DataType::kF32;
  const std::byte* data = nullptr;
  std::size_t length = 0;       ///< positions; those of padding are simply not counted in
  std::size_t stride = 0;       ///< elements from one position to the next
  std::size_t head_stride = 0;  ///< elements from one head to the next; 0: heads lie side by side in a position
};

/// Queries of one head whose scores are held at once where many are computed.
inline constexpr std::size_t kQueryBlock = 64;

/// An additive bias for (head, query, key): data[head * head_stride + query * query_stride + key]. A null `data` adds
/// nothing. T5's bias depends on key - query only, so one row of 2 * length - 1 values a head serves all queries with
/// query_stride = -1.
struct AttentionBias {
  const float* data = nullptr;
  std::ptrdiff_t head_stride = 0;
  std::ptrdiff_t query_stride = 0;
};

/// T5 attention of one sequence, without a 1/sqrt(d) factor.
struct AttentionInput {
  std::size_t heads = 0;
  std::size_t head_size = 0;
  MatrixView<const float> query;  ///< [queries, heads * head_size]
  KeyValueView keys;
  KeyValueView values;  ///< as long as keys
  AttentionBias bias;
  /// Keys that the first query may see; each later query sees one more. The default is no causal mask.
  std::size_t causal_keys = std::numeric_limits<std::size_t>::max();
};

/// output[q][h] = sum over k of softmax_k(query[q][h] · keys[k][h] + bias(h, q, k)) * values[k][h].
/// Shape of output: [queries, heads * head_size]. Every query sees at least one key. All arithmetic in fp32.
/// Heads and queries are spread over the thread pool. With fewer than 8 queries a query's result does not depend, bit
/// for bit, on the others; more go through oneDNN in blocks of kQueryBlock. Memory: kQueryBlock rows of `length` floats
/// a thread, kept between calls; for bf16 also one head's keys and values as f32.
void attend(const AttentionInput& input, MatrixView<float> output);

}  // namespace flame::kernels
