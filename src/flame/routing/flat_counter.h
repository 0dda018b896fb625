#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace flame::routing {

/// Counts of 64-bit keys in one flat array (open addressing, linear probing). Any key value is allowed.
class FlatCounter {
 public:
  void add(std::uint64_t key, std::uint64_t count = 1);
  [[nodiscard]] std::uint64_t count(std::uint64_t key) const;
  [[nodiscard]] std::size_t size() const { return size_; }  ///< keys with a count above 0

  /// All keys with their counts, by rising key.
  [[nodiscard]] std::vector<std::pair<std::uint64_t, std::uint64_t>> sorted() const;

  /// Calls visit(key, count) for every key, in no order.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const Cell& cell : cells_) {
      if (cell.count != 0) visit(cell.key, cell.count);
    }
  }

 private:
  struct Cell {
    std::uint64_t key = 0;
    std::uint64_t count = 0;  ///< 0: empty
  };

  [[nodiscard]] std::size_t slot_of(std::uint64_t key) const;
  void grow();

  std::vector<Cell> cells_;
  std::size_t size_ = 0;
};

}  // namespace flame::routing
