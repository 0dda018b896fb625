#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/base/matrix_view.h"
#include "flame/kernels/linear.h"

namespace flame::model {

/// A batch of sequences of different lengths, laid out one after another without padding.
class Sequences {
 public:
  Sequences() = default;

  /// Starts over; keeps its memory.
  void clear();
  /// Adds a sequence of `length` tokens; length is not 0.
  void append(std::size_t length);

  [[nodiscard]] std::size_t count() const { return ends_.size(); }
  [[nodiscard]] std::size_t tokens() const { return ends_.empty() ? 0 : ends_.back(); }
  [[nodiscard]] std::size_t begin(std::size_t sequence) const { return sequence == 0 ? 0 : ends_[sequence - 1]; }
  [[nodiscard]] std::size_t length(std::size_t sequence) const { return ends_[sequence] - begin(sequence); }
  [[nodiscard]] std::size_t longest() const { return longest_; }
  /// [tokens]: the sequence of each token.
  [[nodiscard]] std::span<const std::uint32_t> sequence_of_token() const { return sequence_of_token_; }

  /// The rows of a matrix [tokens, …] that belong to a sequence.
  template <typename T>
  [[nodiscard]] MatrixView<T> rows(MatrixView<T> matrix, std::size_t sequence) const {
    return matrix.rows_from(begin(sequence), length(sequence));
  }

 private:
  std::vector<std::size_t> ends_;
  std::vector<std::uint32_t> sequence_of_token_;
  std::size_t longest_ = 0;
};

/// Most tokens that are multiplied with a weight matrix at once.
inline constexpr std::size_t kLargestGroup = 512;

/// Calls body(first, count) for groups of tokens that cover the batch in order, cut so that a kernel that is called
/// once a group gives every token a result that does not depend on the other sequences: a sequence of several tokens
/// goes alone, in pieces of at most kLargestGroup; sequences of one token go together as far as the matrix-vector
/// kernel takes them.
template <typename Body>
void for_each_group(const Sequences& sequences, Body body) {
  std::size_t sequence = 0;
  while (sequence < sequences.count()) {
    std::size_t first = sequences.begin(sequence);
    if (sequences.length(sequence) > 1) {
      const std::size_t end = first + sequences.length(sequence++);
      for (; first < end; first += kLargestGroup) body(first, std::min(kLargestGroup, end - first));
      continue;
    }
    std::size_t count = 0;
    while (count < kernels::kMaxGemvTokens && sequence < sequences.count() && sequences.length(sequence) == 1) {
      ++count;
      ++sequence;
    }
    body(first, count);
  }
}

/// kernels::linear for every token, by groups.
void linear_by_group(const kernels::WeightMatrix& weight, const Sequences& sequences, MatrixView<const float> input,
                     MatrixView<float> output);

/// The same for several products of one input, at most kMostProducts.
inline constexpr std::size_t kMostProducts = 3;
void linear_by_group(std::span<const kernels::LinearProduct> products, const Sequences& sequences,
                     MatrixView<const float> input);

}  // namespace flame::model
