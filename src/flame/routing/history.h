#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace flame::routing {

/// What a predictor knows of one row.
struct RowHistory {
  std::uint64_t path = 0;  ///< the last experts of the circular path, ceil(log2 E) bits each, the nearest in the lowest
  std::uint32_t known = 0;  ///< how many of them there are since the example's start, at most as many as fit
  std::uint32_t next = 0;   ///< the layer to be decided next
  std::int32_t token = 0;   ///< the token fed last
  bool fed = false;         ///< `token` is that of the step whose layer `next` is to be decided
};

/// The histories of a batch's rows, kept as Predictor's calls come.
class Histories {
 public:
  Histories(std::uint32_t layers, std::uint32_t expert_bits);

  void begin(std::size_t sequences);
  void reorder(std::span<const std::uint32_t> parents);
  void feed(std::span<const std::int32_t> tokens);
  void observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert);

  [[nodiscard]] const RowHistory& row(std::size_t sequence) const { return rows_[sequence]; }
  [[nodiscard]] std::size_t size() const { return rows_.size(); }

  /// How many layers ahead the coming `layer` is: 1 for the one to be decided next, at most the number of layers.
  [[nodiscard]] std::uint32_t depth(const RowHistory& row, std::uint32_t layer) const {
    return layer >= row.next ? layer - row.next + 1 : layer + layers_ - row.next + 1;
  }
  /// How many experts of the token that reaches the coming `layer` are known.
  [[nodiscard]] static std::uint32_t known_of_token(const RowHistory& row, std::uint32_t layer) {
    return layer >= row.next ? row.next : 0;
  }
  [[nodiscard]] static bool token_known(const RowHistory& row, std::uint32_t layer) {
    return row.fed && layer >= row.next;
  }

 private:
  std::uint32_t layers_;
  std::uint32_t bits_;
  std::uint32_t capacity_;  ///< experts that fit a path
  std::vector<RowHistory> rows_;
  std::vector<RowHistory> spare_;
};

}  // namespace flame::routing
