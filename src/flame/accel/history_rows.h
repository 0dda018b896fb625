#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace flame::accel {

/// Which of the kernel's histories each row of a decoder's batch goes by. Rows that are reordered or removed only
/// change their number on the host; a history is copied where several rows go on from one, into one that nobody needs
/// any more.
class HistoryRows {
 public:
  struct Copy {
    std::size_t to = 0, from = 0;
  };

  explicit HistoryRows(std::size_t histories) : histories_(histories) {}

  /// `rows` rows start, row i with history i. Throws UsageError for more rows than histories.
  void begin(std::size_t rows);
  /// Row i goes on from what was row parents[i]. Result: the copies to make, in any order. Throws UsageError for more
  /// rows than histories.
  [[nodiscard]] std::vector<Copy> reorder(std::span<const std::uint32_t> parents);

  [[nodiscard]] std::size_t history_of(std::size_t row) const { return rows_[row]; }

 private:
  void check(std::size_t rows) const;

  std::size_t histories_;
  std::vector<std::size_t> rows_;  // [rows] history
};

}  // namespace flame::accel
