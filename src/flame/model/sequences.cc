#include "flame/model/sequences.h"

#include <algorithm>
#include <array>
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
  const kernels::LinearProduct product{weight, output};
  linear_by_group({&product, 1}, sequences, input);
}

void linear_by_group(std::span<const kernels::LinearProduct> products, const Sequences& sequences,
                     MatrixView<const float> input) {
  assert(products.size() <= kMostProducts);
  for_each_group(sequences, [&](std::size_t first, std::size_t count) {
    std::array<kernels::LinearProduct, kMostProducts> of_group;
    for (std::size_t i = 0; i < products.size(); ++i) {
      of_group[i] = {products[i].weight, products[i].output.rows_from(first, count)};
    }
    kernels::linear(std::span(of_group).first(products.size()), input.rows_from(first, count));
  });
}

}  // namespace flame::model
