#include "flame/routing/history.h"

#include <algorithm>
#include <cassert>

namespace flame::routing {

Histories::Histories(std::uint32_t layers, std::uint32_t expert_bits)
    : layers_(layers), bits_(expert_bits), capacity_(64 / expert_bits) {}

void Histories::begin(std::size_t sequences) { rows_.assign(sequences, {}); }

void Histories::reorder(std::span<const std::uint32_t> parents) {
  spare_.clear();
  for (const std::uint32_t parent : parents) spare_.push_back(rows_[parent]);
  rows_.swap(spare_);
}

void Histories::feed(std::span<const std::int32_t> tokens) {
  assert(tokens.size() == rows_.size());
  for (std::size_t row = 0; row < tokens.size(); ++row) {
    rows_[row].token = tokens[row];
    rows_[row].fed = true;
    rows_[row].next = 0;
  }
}

void Histories::observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) {
  RowHistory& row = rows_[sequence];
  row.path = row.path << bits_ | expert;
  row.known = std::min(row.known + 1, capacity_);
  row.next = layer + 1 == layers_ ? 0 : layer + 1;
  if (row.next == 0) row.fed = false;
}

}  // namespace flame::routing
