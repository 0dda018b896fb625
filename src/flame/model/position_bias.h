#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "flame/base/matrix_view.h"
#include "flame/kernels/attention.h"

namespace flame::model {

/// How distances between positions share the rows of a relative attention bias (Raffel et al. 2020, T5).
struct PositionBuckets {
  bool bidirectional = true;  ///< the encoder; false: the decoder, which never looks ahead
  std::uint32_t count = 32;
  std::uint32_t max_distance = 128;
};

/// The bucket of key position - query position, as transformers computes it in fp32. Negative where a max_distance
/// below the distances that have buckets of their own (a quarter of `count` both ways, half of it one way) leads out of
/// the table: transformers fails with an IndexError there.
[[nodiscard]] std::int64_t position_bucket(std::int64_t relative_position, const PositionBuckets& buckets);

/// The bias that one stack adds to every self-attention score. It depends on the distance alone, so it is kept as one
/// row of values by distance a head, for lengths up to what has been reserved.
class PositionBias {
 public:
  /// `table` is [buckets, heads] (block 0's relative_attention_bias.weight) and must outlive this.
  PositionBias(const Matrix<float>& table, const PositionBuckets& buckets);

  /// Makes room for sequences of `length` positions. Allocates only when that is more than ever before; views taken
  /// earlier are then invalid. Throws ModelError where two of the positions have no bucket.
  void reserve(std::size_t length);

  /// The bias of queries that start at position `first_query` over keys from position 0 on; all positions must be below
  /// the reserved length.
  [[nodiscard]] kernels::AttentionBias view(std::size_t first_query) const;

 private:
  [[noreturn]] void refuse(std::size_t length) const;

  const Matrix<float>* table_;
  PositionBuckets buckets_;
  std::size_t length_ = 0;
  std::size_t longest_ = std::numeric_limits<std::size_t>::max();  // a sequence of more has distances without a bucket
  std::vector<float> by_distance_;  // [heads][2 * length - 1]: element d + length - 1 is distance d = key - query
};

}  // namespace flame::model
