#include "flame/model/sequences.h"

#include <algorithm>
#include <cassert>

namespace flame::model {

void Sequences::clear() {
  ends_.clear();
  sequence_of_token_.clear();
  longest_ = 0;
}

void Sequences::append(std::size_t length) {
  assert(length > 0);
  sequence_of_token_.insert(sequence_of_token_.end(), length, static_cast<std::uint32_t>(ends_.size()));
  ends_.push_back(tokens() + length);
  longest_ = std::max(longest_, length);
}

void linear_by_group(const kernels::WeightMatrix& weight, const Sequences& sequences, MatrixView<const float> input,
                     MatrixView<float> output) {
  for_each_group(sequences, [&](std::size_t first, std::size_t count) {
    kernels::linear(weight, input.rows_from(first, count), output.rows_from(first, count));
  });
}

}  // namespace flame::model
