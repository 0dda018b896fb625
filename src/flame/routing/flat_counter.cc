#include "flame/routing/flat_counter.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace flame::routing {

std::size_t FlatCounter::slot_of(std::uint64_t key) const {
  // Multiplying by 2^64 / golden ratio spreads keys that differ in few bits; the upper bits are the well-mixed ones.
  const int shift = 64 - std::countr_zero(cells_.size());
  std::size_t slot = static_cast<std::size_t>((key * 0x9E3779B97F4A7C15ULL) >> shift);
  while (cells_[slot].count != 0 && cells_[slot].key != key) slot = (slot + 1) & (cells_.size() - 1);
  return slot;
}

void FlatCounter::grow() {
  std::vector<Cell> old(std::max<std::size_t>(16, cells_.size() * 2));
  old.swap(cells_);
  for (const Cell& cell : old) {
    if (cell.count != 0) cells_[slot_of(cell.key)] = cell;
  }
}

void FlatCounter::add(std::uint64_t key, std::uint64_t count) {
  if (count == 0) return;
  if ((size_ + 1) * 4 > cells_.size() * 3) grow();
  Cell& cell = cells_[slot_of(key)];
  if (cell.count == 0) ++size_;
  cell.key = key;
  cell.count += count;
}

std::uint64_t FlatCounter::count(std::uint64_t key) const { return cells_.empty() ? 0 : cells_[slot_of(key)].count; }

std::vector<std::pair<std::uint64_t, std::uint64_t>> FlatCounter::sorted() const {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> pairs;
  pairs.reserve(size_);
  for_each([&](std::uint64_t key, std::uint64_t count) { pairs.emplace_back(key, count); });
  std::sort(pairs.begin(), pairs.end());
  return pairs;
}

}  // namespace flame::routing
