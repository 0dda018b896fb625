#pragma once

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "flame/base/data_type.h"
#include "flame/kernels/packed_matrix.h"
#include "guarded_bytes.h"

namespace flame::kernels {

/// A packed matrix with random contents before an inaccessible page: any values, n distinct positions in each group.
class RandomPacked {
 public:
  RandomPacked(const PackedFormat& format, std::size_t rows, std::size_t columns, unsigned seed)
      : layout_(format, rows, columns), storage_(layout_.size_bytes()), random_(seed) {
    for (std::size_t block = 0; block < layout_.blocks(); ++block) fill_block(block);
  }
  RandomPacked(const RandomPacked&) = delete;
  RandomPacked& operator=(const RandomPacked&) = delete;

  [[nodiscard]] PackedMatrixView view() const { return {layout_, storage_.span()}; }

 private:
  template <typename T>
  static void store(T value, std::byte* position) {
    std::memcpy(position, &value, sizeof(value));
  }
  void fill_block(std::size_t block) {
    std::byte* bytes = storage_.data() + layout_.block_offset(block);
    const std::size_t rows = layout_.block_rows(block);
    const PackedFormat& format = layout_.format();
    std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
    std::uniform_real_distribution<float> positive(0.001F, 0.01F);
    for (std::size_t r = 0; r < rows; ++r) {
      std::byte* scales = bytes + r * layout_.row_scale_bytes();
      if (format.type == PackedType::kInt8) store(positive(random_), scales);
      if (format.type == PackedType::kInt4) {
        for (std::size_t g = 0; g < layout_.scale_groups(); ++g)
          store(Float16::from_float(positive(random_)), scales + 2 * g);
      }
      std::vector<std::size_t> positions(format.m);
      for (std::size_t i = 0; i < layout_.kept(); ++i) {
        const PackedChunkPlace place = chunk_place(layout_, rows, r, i / kPackedChunk);
        const std::size_t k = i % kPackedChunk;
        if (i % format.n == 0) {
          for (std::size_t j = 0; j < format.m; ++j) positions[j] = j;
          std::ranges::shuffle(positions, random_);
          std::ranges::sort(positions.begin(), positions.begin() + format.n);
        }
        const std::size_t count = layout_.chunk_values(i / kPackedChunk);
        std::byte* values = bytes + place.values;
        if (format.type == PackedType::kF32) store(uniform(random_), values + 4 * k);
        if (format.type == PackedType::kBF16) store(BFloat16::from_float(uniform(random_)), values + 2 * k);
        if (format.type == PackedType::kInt8)
          store(static_cast<std::int8_t>(static_cast<int>(random_() % 255) - 127), values + k);
        if (format.type == PackedType::kInt4)
          write_field((static_cast<std::uint32_t>(random_() % 15) + 9) % 16, values, 4, k, count);
        if (!format.dense())
          write_field(static_cast<std::uint32_t>(positions[i % format.n]), bytes + place.positions, format.index_bits(),
                      k, count);
      }
    }
  }

  PackedLayout layout_;
  GuardedBytes storage_;
  std::mt19937 random_;
};

}  // namespace flame::kernels
