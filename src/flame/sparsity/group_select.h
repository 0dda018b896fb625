#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "flame/base/data_type.h"
#include "flame/base/matrix_view.h"
#include "flame/sparsity/pattern.h"

namespace flame::sparsity {

/// Bit i is set when scores[i] is among the `n` largest of at most 16 scores; of equal ones the lower index is kept.
/// Scores are compared by magnitude (the sign is ignored; NaN is larger than any number). This is the definition that
/// the vectorised functions below are tested against, and what they use on a group that the row's end cuts short.
[[nodiscard]] std::uint32_t largest_of_group(std::span<const float> scores, std::size_t n);

/// Prunes whole rows of `columns` stored weights (kF32, kBF16 or kF16) to N:M in place: in every group of pattern.m
/// consecutive weights of a row all but the pattern.n of largest magnitude become zero; of equal ones the lower index
/// stays. A last group that the row's end cuts short keeps at most pattern.n of its weights, as if it had been filled
/// up with zeros. `rows.size()` is a multiple of columns * size_of(type). Runs on the calling thread, without
/// allocating, at the speed of memory: a group's order is found by comparing all pairs in vector registers, without
/// branches.
void keep_largest(Pattern pattern, DataType type, std::span<std::byte> rows, std::size_t columns);

/// The same by given scores (non-negative) instead of the weights' own magnitude. Both matrices are [rows, columns].
void keep_largest(Pattern pattern, MatrixView<const float> scores, MatrixView<float> weights);

}  // namespace flame::sparsity
