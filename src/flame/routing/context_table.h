#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/routing/flat_counter.h"
#include "flame/routing/predictor.h"
#include "flame/routing/profile.h"

namespace flame::routing {

/// How often each expert of one layer was activated in each of a family of contexts, where every context of level j is
/// refined by contexts of level j + 1: the lowest widths[j] bits of a key name its context at level j. Level 0 has one
/// context, of width 0. Made for look-up while decoding; read-only.
class ContextTable {
 public:
  struct Entry {
    std::uint16_t expert = 0;
    float count = 0.0F;
  };
  /// One context that was seen. Entries are in ranking order: more counts first, then more popular, then lower id.
  struct Row {
    std::uint32_t first = 0;
    std::uint32_t size = 0;  ///< experts seen in the context
    std::uint32_t level = 0;
    float total = 0.0F;
  };

  /// `levels[j]` has the counts of level j, sorted by context and then by expert, as Profile gives them.
  ContextTable(std::uint32_t experts, std::vector<std::uint32_t> widths,
               std::span<const std::vector<ContextCount>> levels);

  /// The longest context seen on `level` or below it. Level 0 counts as seen always.
  [[nodiscard]] const Row& find(std::uint64_t key, std::uint32_t level) const;
  [[nodiscard]] std::span<const Entry> entries(const Row& row) const {
    return std::span(entries_).subspan(row.first, row.size);
  }

  /// The first out.size() experts: those seen in the longest context, then the rest by popularity. The probability of
  /// expert i, with n of the context's N counts and a share q of the layer's (one count added to each), is
  /// (n + q) / (N + 1): it orders experts exactly as the ranking does. Returns the number written.
  std::size_t rank(std::uint64_t key, std::uint32_t level, std::span<RankedExpert> out) const;

  /// All experts by popularity in this layer, ties by id; probability is the share with one count added to each expert.
  [[nodiscard]] std::span<const RankedExpert> popularity() const { return popularity_; }
  [[nodiscard]] float share(std::uint16_t expert) const { return share_[expert]; }

  [[nodiscard]] std::uint32_t levels() const { return static_cast<std::uint32_t>(index_.size()); }
  [[nodiscard]] std::uint32_t experts() const { return static_cast<std::uint32_t>(share_.size()); }
  [[nodiscard]] std::uint32_t width(std::uint32_t level) const { return index_[level].width; }
  [[nodiscard]] std::size_t seen(std::uint32_t level) const { return index_[level].seen; }

  /// Calls visit(row, key of the context, row of the context one level below) for each context of a level above 0.
  template <typename Visit>
  void for_each(std::uint32_t level, Visit&& visit) const {
    const Index& index = index_[level];
    for (std::size_t i = 0; i < index.seen; ++i) {
      const std::uint64_t key = index.keys[i];
      visit(rows_[index.first + i], key, find(key, level - 1));
    }
  }

 private:
  struct Index {
    std::uint32_t width = 0;
    std::size_t first = 0;  ///< row of its first context
    std::size_t seen = 0;
    std::vector<std::uint64_t> keys;    ///< [seen], rising
    std::vector<std::uint32_t> direct;  ///< [2^width]: the row, back-off included; empty for wide levels
    FlatCounter hashed;                 ///< otherwise: row + 1
  };

  std::vector<Index> index_;
  std::vector<Row> rows_;
  std::vector<Entry> entries_;
  std::vector<RankedExpert> popularity_;
  std::vector<float> share_;
};

/// The table of circular-path contexts of orders 0 to `order` that end `depth` positions before `layer`.
[[nodiscard]] ContextTable history_table(const Profile& profile, std::uint32_t layer, std::uint32_t order,
                                         std::uint32_t depth);

/// Bits of a decoder token in the keys of token tables.
inline constexpr std::uint32_t kTokenWidth = 32;

/// Level 1: the fed token; level 2 (where the profile counted it): the token and the expert before.
/// Key: the expert, shifted left by kTokenWidth, or-ed with the token.
[[nodiscard]] ContextTable token_table(const Profile& profile, std::uint32_t layer, std::uint32_t order);

}  // namespace flame::routing
