#include "flame/sparsity/index_storage.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>

namespace flame::sparsity {
namespace {

/// ceil(log2 count): bits that tell `count` things apart.
std::uint64_t bits_for(std::uint64_t count) { return static_cast<std::uint64_t>(std::bit_width(count - 1)); }

std::uint64_t bytes_of_bits(std::uint64_t bits) { return (bits + 7) / 8; }

std::uint64_t choose(std::uint64_t m, std::uint64_t n) {
  std::uint64_t result = 1;
  for (std::uint64_t i = 1; i <= n; ++i) result = result * (m - n + i) / i;
  return result;
}

}  // namespace

void add(const IndexStorage& addend, IndexStorage& sum) {
  for (const auto& [encoding, bytes] : addend) sum[encoding] += bytes;
}

std::pair<std::string, std::uint64_t> smallest(const IndexStorage& storage) {
  assert(!storage.empty());
  return *std::min_element(storage.begin(), storage.end(),
                           [](const auto& a, const auto& b) { return a.second < b.second; });
}

IndexStorage pattern_index_storage(Pattern pattern, std::size_t rows, std::size_t columns) {
  const std::uint64_t groups = rows * ((columns + pattern.m - 1) / pattern.m);
  return {{"position", bytes_of_bits(groups * pattern.n * pattern.index_bits())},
          {"code", bytes_of_bits(groups * bits_for(choose(pattern.m, pattern.n)))},
          {"bitmap", pattern.dense() ? 0 : bytes_of_bits(std::uint64_t{rows} * columns)}};
}

IndexStorage unstructured_index_storage(MatrixView<const std::uint8_t> kept, std::size_t value_bits) {
  constexpr std::uint64_t kNarrowest = 2;
  constexpr std::uint64_t kWidest = 8;
  std::uint64_t kept_weights = 0;
  std::array<std::uint64_t, kWidest + 1> padding{};  // padding weights by bits of the distance
  std::uint64_t gap = 0;                             // zeros since the last kept weight
  for (std::size_t r = 0; r < kept.rows(); ++r) {
    for (const std::uint8_t here : kept.row(r)) {
      if (here == 0) {
        ++gap;
        continue;
      }
      ++kept_weights;
      // b bits hold a gap of up to 2^b - 1 zeros; a padding weight stands 2^b places further.
      for (std::uint64_t b = kNarrowest; b <= kWidest; ++b) padding[b] += gap >> b;
      gap = 0;
    }
  }
  IndexStorage storage;
  storage["bitmap"] = bytes_of_bits(std::uint64_t{kept.rows()} * kept.columns());
  storage["csr"] = std::uint64_t{kept.rows()} * 4 + bytes_of_bits(kept_weights * bits_for(kept.columns()));
  for (std::uint64_t b = kNarrowest; b <= kWidest; ++b) {
    storage[fmt::format("relative-{}", b)] = bytes_of_bits((kept_weights + padding[b]) * b + padding[b] * value_bits);
  }
  return storage;
}

IndexStorage column_block_index_storage(double sparsity, const BlockShape& block, std::size_t rows,
                                        std::size_t columns) {
  const std::uint64_t bands = (rows + block.rows - 1) / block.rows;
  const std::uint64_t kept = kept_columns(sparsity, 0, bands * columns);
  return {{"bitmap", bytes_of_bits(bands * columns)}, {"column", bytes_of_bits(kept * bits_for(block.columns))}};
}

}  // namespace flame::sparsity
