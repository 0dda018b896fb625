#include "flame/accel/history_rows.h"

#include <fmt/format.h>

#include <numeric>

#include "flame/base/error.h"

namespace flame::accel {

void HistoryRows::check(std::size_t rows) const {
  if (rows <= histories_) return;
  throw UsageError(
      fmt::format("the accelerator keeps the histories of {} sequences, this batch has {}", histories_, rows));
}

void HistoryRows::begin(std::size_t rows) {
  check(rows);
  rows_.resize(rows);
  std::iota(rows_.begin(), rows_.end(), std::size_t{0});
}

std::vector<HistoryRows::Copy> HistoryRows::reorder(std::span<const std::uint32_t> parents) {
  check(parents.size());
  std::vector<std::size_t> rows(parents.size());
  std::vector<bool> taken(histories_, false);
  std::vector<std::size_t> others;  // rows whose parent's history goes on with a row before them
  for (std::size_t row = 0; row < parents.size(); ++row) {
    rows[row] = rows_[parents[row]];
    if (taken[rows[row]]) others.push_back(row);
    taken[rows[row]] = true;
  }
  std::vector<Copy> copies;
  std::size_t free = 0;
  for (const std::size_t row : others) {
    while (taken[free]) ++free;
    taken[free] = true;
    copies.push_back({free, rows[row]});
    rows[row] = free;
  }
  rows_ = std::move(rows);
  return copies;
}

}  // namespace flame::accel
