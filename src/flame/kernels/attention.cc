#include "flame/kernels/attention.h"

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/base/thread_pool.h"
#include "flame/kernels/gemm.h"
#include "flame/kernels/vector_ops.h"
#include "flame/kernels/weight_matrix.h"

#ifndef FLAME_KERNELS_ATTENTION_HEAD_ROWS
#define FLAME_KERNELS_ATTENTION_HEAD_ROWS
namespace flame::kernels {
// Keys or values of one head, one position after the other; without data: none.
struct HeadRows {
  const std::byte* data = nullptr;
  std::size_t stride_bytes = 0;
};
}  // namespace flame::kernels
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "flame/kernels/attention.cc"  // this file once for each instruction set
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "flame/kernels/widen-inl.h"

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

const hn::ScalableTag<float> kFloats;
using Floats = hn::Vec<decltype(kFloats)>;

// Fetches one position of keys or values after the other, a way ahead of the one that is read, and goes on into what
// will be read next.
class RowPrefetch {
 public:
  RowPrefetch(const HeadRows& rows, std::size_t length, const HeadRows& next, std::size_t row_bytes)
      : rows_(rows), length_(length), next_(next), row_bytes_(row_bytes), ahead_(kAheadBytes / row_bytes + 1) {}

  // Row `k` is read now.
  HWY_INLINE void operator()(std::size_t k) const {
    k += ahead_;
    if (k < length_) return fetch(rows_.data + k * rows_.stride_bytes);
    if (next_.data != nullptr && k - length_ < length_) fetch(next_.data + (k - length_) * next_.stride_bytes);
  }

 private:
  static constexpr std::size_t kLine = 64;
  static constexpr std::size_t kAheadBytes = 4096;

  HWY_INLINE void fetch(const std::byte* row) const {
    for (std::size_t b = 0; b < row_bytes_; b += kLine) __builtin_prefetch(row + b);
  }

  HeadRows rows_;
  std::size_t length_;
  HeadRows next_;
  std::size_t row_bytes_;
  std::size_t ahead_;
};

// scores[k] = query · keys[k], keys one behind the other at `stride`. Four keys at a time hide the adders' latency.
template <typename Element>
void dot_rows(std::span<const float> query, const Element* keys, std::size_t stride, const RowPrefetch& prefetch,
              std::span<float> scores) {
  constexpr std::size_t kTile = 4;
  const std::size_t lanes = hn::Lanes(kFloats);
  const std::size_t whole = query.size() / lanes * lanes;
  const auto tail_of = [&](const Element* key) {
    float sum = 0.0F;
    if constexpr (std::is_same_v<Element, float>) {
      for (std::size_t c = whole; c < query.size(); ++c) sum += query[c] * key[c];
    } else {
      for (std::size_t c = whole; c < query.size(); ++c) sum += query[c] * key[c].to_float();
    }
    return sum;
  };
  std::size_t k = 0;
  for (; k + kTile <= scores.size(); k += kTile) {
    for (std::size_t i = 0; i < kTile; ++i) prefetch(k + i);
    Floats sums[kTile] = {hn::Zero(kFloats), hn::Zero(kFloats), hn::Zero(kFloats), hn::Zero(kFloats)};
    for (std::size_t c = 0; c < whole; c += lanes) {
      const Floats q = hn::LoadU(kFloats, query.data() + c);
      for (std::size_t i = 0; i < kTile; ++i) {
        sums[i] = hn::MulAdd(q, load_widened(kFloats, keys + (k + i) * stride + c), sums[i]);
      }
    }
    for (std::size_t i = 0; i < kTile; ++i) {
      scores[k + i] = hn::GetLane(hn::SumOfLanes(kFloats, sums[i])) + tail_of(keys + (k + i) * stride);
    }
  }
  for (; k < scores.size(); ++k) {
    prefetch(k);
    Floats sum = hn::Zero(kFloats);
    for (std::size_t c = 0; c < whole; c += lanes) {
      sum = hn::MulAdd(hn::LoadU(kFloats, query.data() + c), load_widened(kFloats, keys + k * stride + c), sum);
    }
    scores[k] = hn::GetLane(hn::SumOfLanes(kFloats, sum)) + tail_of(keys + k * stride);
  }
}

// output = sum over k of weights[k] * values[k].
template <typename Element>
void weighted_sum(std::span<const float> weights, const Element* values, std::size_t stride,
                  const RowPrefetch& prefetch, std::span<float> output) {
  constexpr std::size_t kTile = 4;
  const std::size_t lanes = hn::Lanes(kFloats);
  std::size_t c = 0;
  for (; c + kTile * lanes <= output.size(); c += kTile * lanes) {
    Floats sums[kTile] = {hn::Zero(kFloats), hn::Zero(kFloats), hn::Zero(kFloats), hn::Zero(kFloats)};
    for (std::size_t k = 0; k < weights.size(); ++k) {
      if (c == 0) prefetch(k);
      const Floats w = hn::Set(kFloats, weights[k]);
      for (std::size_t i = 0; i < kTile; ++i) {
        sums[i] = hn::MulAdd(w, load_widened(kFloats, values + k * stride + c + i * lanes), sums[i]);
      }
    }
    for (std::size_t i = 0; i < kTile; ++i) hn::StoreU(sums[i], kFloats, output.data() + c + i * lanes);
  }
  for (; c < output.size(); ++c) {
    float sum = 0.0F;
    for (std::size_t k = 0; k < weights.size(); ++k) {
      if constexpr (std::is_same_v<Element, float>) {
        sum += weights[k] * values[k * stride + c];
      } else {
        sum += weights[k] * values[k * stride + c].to_float();
      }
    }
    output[c] = sum;
  }
}

}  // namespace

void dot_keys(std::span<const float> query, DataType type, const HeadRows& keys, const HeadRows& next,
              std::span<float> scores) {
  const std::size_t stride = keys.stride_bytes / size_of(type);
  const RowPrefetch prefetch(keys, scores.size(), next, query.size() * size_of(type));
  if (type == DataType::kBF16) {
    return dot_rows(query, reinterpret_cast<const BFloat16*>(keys.data), stride, prefetch, scores);
  }
  return dot_rows(query, reinterpret_cast<const float*>(keys.data), stride, prefetch, scores);
}

void sum_values(std::span<const float> weights, DataType type, const HeadRows& values, const HeadRows& next,
                std::span<float> output) {
  const std::size_t stride = values.stride_bytes / size_of(type);
  const RowPrefetch prefetch(values, weights.size(), next, output.size() * size_of(type));
  if (type == DataType::kBF16) {
    return weighted_sum(weights, reinterpret_cast<const BFloat16*>(values.data), stride, prefetch, output);
  }
  return weighted_sum(weights, reinterpret_cast<const float*>(values.data), stride, prefetch, output);
}

}  // namespace flame::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace flame::kernels {
namespace {

HWY_EXPORT(dot_keys);
HWY_EXPORT(sum_values);

// From how many queries on the matrix-matrix form pays, in which kQueryBlock share one pass over the keys of a head.
constexpr std::size_t kMinBlockQueries = 8;

// Multiply-adds worth handing to another thread.
constexpr std::size_t kGrainProducts = std::size_t{1} << 15;

std::size_t visible_keys(const AttentionInput& input, std::size_t query) {
  const std::size_t length = input.keys.length;
  return input.causal_keys >= length ? length : std::min(length, input.causal_keys + query);
}

HeadRows head_rows(const KeyValueView& view, std::size_t head, std::size_t head_size) {
  const std::size_t head_stride = view.head_stride == 0 ? head_size : view.head_stride;
  return {view.data + head * head_stride * size_of(view.type), view.stride * size_of(view.type)};
}

void add_bias(const AttentionBias& bias, std::size_t head, std::size_t query, std::span<float> scores) {
  if (bias.data == nullptr) return;
  const float* row = bias.data + static_cast<std::ptrdiff_t>(head) * bias.head_stride +
                     static_cast<std::ptrdiff_t>(query) * bias.query_stride;
  add({row, scores.size()}, scores);
}

// One query at a time: decoding. `more`: this thread goes on with the next head.
void attend_query(const AttentionInput& input, std::size_t head, std::size_t query, bool more,
                  std::span<float> output) {
  thread_local std::vector<float> scratch;
  scratch.resize(std::max(scratch.size(), input.keys.length));
  const std::span<float> scores = std::span(scratch).first(visible_keys(input, query));
  const std::size_t first_column = head * input.head_size;
  const HeadRows values = head_rows(input.values, head, input.head_size);
  const HeadRows next_keys = more ? head_rows(input.keys, head + 1, input.head_size) : HeadRows{};
  HWY_DYNAMIC_DISPATCH(dot_keys)
  (input.query.row(query).subspan(first_column, input.head_size), input.keys.type,
   head_rows(input.keys, head, input.head_size), values, scores);
  add_bias(input.bias, head, query, scores);
  softmax(scores);
  HWY_DYNAMIC_DISPATCH(sum_values)(scores, input.values.type, values, next_keys, output);
}

// One head's keys or values as f32 with their stride: the stored ones, or widened into `scratch`.
MatrixView<const float> head_floats(const KeyValueView& view, std::size_t head, std::size_t head_size,
                                    std::vector<float>& scratch) {
  const std::byte* data = head_rows(view, head, head_size).data;
  if (view.type == DataType::kF32) {
    return {reinterpret_cast<const float*>(data), view.length, head_size, view.stride};
  }
  scratch.resize(std::max(scratch.size(), view.length * head_size));
  for (std::size_t k = 0; k < view.length; ++k) {
    const WeightMatrix row{view.type, data + k * view.stride * size_of(view.type), 1, head_size};
    widen(row, std::span(scratch).subspan(k * head_size, head_size));
  }
  return {scratch.data(), view.length, head_size};
}

// A block of queries as two matrix products: the encoder.
void attend_block(const AttentionInput& input, std::size_t head, std::size_t first, std::size_t count,
                  MatrixView<float> output) {
  thread_local std::vector<float> scores_scratch;
  thread_local std::vector<float> keys_scratch;
  thread_local std::vector<float> values_scratch;
  const std::size_t length = input.keys.length;
  scores_scratch.resize(std::max(scores_scratch.size(), count * length));
  const MatrixView<float> scores(scores_scratch.data(), count, length);
  const MatrixView<const float> query =
      input.query.rows_from(first, count).columns_from(head * input.head_size, input.head_size);

  gemm_transposed(query, head_floats(input.keys, head, input.head_size, keys_scratch), scores);
  for (std::size_t q = 0; q < count; ++q) {
    const std::span<float> row = scores.row(q);
    const std::size_t visible = visible_keys(input, first + q);
    add_bias(input.bias, head, first + q, row.first(visible));
    softmax(row.first(visible));
    std::ranges::fill(row.subspan(visible), 0.0F);
  }
  gemm_plain(scores, head_floats(input.values, head, input.head_size, values_scratch), output);
}

}  // namespace

void attend(const AttentionInput& input, MatrixView<float> output) {
  const std::size_t queries = input.query.rows();
  assert(input.query.columns() == input.heads * input.head_size && output.columns() == input.query.columns());
  assert(output.rows() == queries && input.keys.length == input.values.length && input.keys.length > 0);
  assert(input.causal_keys > 0);
  const bool by_blocks = queries >= kMinBlockQueries;
  const std::size_t block = by_blocks ? kQueryBlock : 1;
  const std::size_t blocks = (queries + block - 1) / block;
  const std::size_t products = std::max<std::size_t>(2 * input.keys.length * input.head_size * block, 1);
  ThreadPool::parallel_for(input.heads * blocks, kGrainProducts / products + 1,
                           [&](std::size_t begin, std::size_t end) {
                             for (std::size_t i = begin; i < end; ++i) {
                               const std::size_t head = i / blocks;
                               const std::size_t first = i % blocks * block;
                               const std::size_t count = std::min(block, queries - first);
                               const MatrixView<float> part =
                                   output.rows_from(first, count).columns_from(head * input.head_size, input.head_size);
                               if (by_blocks) {
                                 attend_block(input, head, first, count, part);
                               } else {
                                 attend_query(input, head, first, blocks == 1 && i + 1 < end, part.row(0));
                               }
                             }
                           });
}

}  // namespace flame::kernels
#endif  // HWY_ONCE
