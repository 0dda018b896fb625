#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/routing/flat_counter.h"
#include "flame/routing/predictor.h"
#include "flame/routing/profile.h"
#include "flame/routing/rankings.h"

namespace flame::routing {

/// How often each expert of one layer was activated in each of a family of contexts, where every context of level j is
/// refined by contexts of level j + 1: the lowest widths[j] bits of a key name its context at level j. Level 0 has one
/// context, of width 0. Made for look-up while decoding; read-only.
class ContextTable {
 public:
  struct Entry {
    std::uint16_t expert = 0;
    std::uint16_t size = 0;  ///< only used in the head of a row (cells_)
    float count = 0.0F;
  };
  /// One context that was seen.
  struct Row {
    std::span<const Entry> entries;  ///< in ranking order: more counts first, then more popular, then lower id
    std::uint32_t level = 0;
    float total = 0.0F;
  };

  /// `levels[j]` has the counts of level j, sorted by context and then by expert, as Profile gives them.
  ContextTable(std::uint32_t experts, std::vector<std::uint32_t> widths,
               std::span<const std::vector<ContextCount>> levels);

  /// The longest context seen on `level` or below it. Level 0 counts as seen always.
  [[nodiscard]] Row find(std::uint64_t key, std::uint32_t level) const { return row(find_row(key, level)); }
  /// The same by number, below rows().
  [[nodiscard]] std::uint32_t find_row(std::uint64_t key, std::uint32_t level) const;
  [[nodiscard]] Row row(std::uint32_t number) const {
    const Entry& head = cells_[heads_[number]];
    return {{&head + 1, head.size}, head.expert, head.count};
  }
  [[nodiscard]] std::uint32_t rows() const { return static_cast<std::uint32_t>(heads_.size()); }

  /// The first out.size() experts: those seen in the longest context, then the rest by popularity. The probability of
  /// expert i, with n of the context's N counts and a share q of the layer's (one count added to each), is
  /// (n + q) / (N + 1): it orders experts exactly as the ranking does. Returns the number written.
  std::size_t rank(std::uint64_t key, std::uint32_t level, std::span<RankedExpert> out) const;

  /// Works the ranking of every context out beforehand, which makes rank() several times as fast: for tables that are
  /// asked often.
  void work_out_rankings();

  /// All experts by popularity in this layer, ties by id; probability is the share with one count added to each expert.
  [[nodiscard]] std::span<const RankedExpert> popularity() const { return popularity_; }
  [[nodiscard]] float share(std::uint16_t expert) const { return share_[expert]; }

  [[nodiscard]] std::uint32_t levels() const { return static_cast<std::uint32_t>(index_.size()); }
  [[nodiscard]] std::uint32_t experts() const { return static_cast<std::uint32_t>(share_.size()); }
  [[nodiscard]] std::uint32_t width(std::uint32_t level) const { return index_[level].width; }
  [[nodiscard]] std::size_t seen(std::uint32_t level) const { return index_[level].keys.size(); }

  /// Calls visit(row, key of the context) for each context of a level, by rising number of the row.
  template <typename Visit>
  void for_each(std::uint32_t level, Visit&& visit) const {
    const Index& index = index_[level];
    for (std::uint32_t i = 0; i < index.keys.size(); ++i) visit(row(index.first + i), index.keys[i]);
  }

 private:
  struct Index {
    std::uint32_t width = 0;
    std::uint32_t first = 0;          ///< the first row of this level; the others follow
    std::vector<std::uint64_t> keys;  ///< of the contexts seen, rising: one a row
    // One of three ways to the row of a context, the first that is not too large:
    std::vector<std::uint32_t> direct;    ///< [2^width]: the row of every context, back-off included
    std::vector<std::uint32_t> children;  ///< [rows of the level before, 2^step]: the row, or the parent's if unseen
    std::uint32_t step = 0;               ///< bits by which this level's contexts are longer
    FlatCounter hashed;                   ///< row + 1
  };

  void fill(Index& index) const;
  std::size_t rank_counts(const Row& row, std::span<RankedExpert> out) const;

  std::vector<Index> index_;
  std::vector<std::uint32_t> heads_;  ///< [rows]: where each one's cells begin
  /// The rows, each a head (its level as `expert`, its total as `count`) and its entries right behind.
  std::vector<Entry> cells_;
  Rankings rankings_;
  std::vector<RankedExpert> popularity_;
  std::vector<float> share_;
};

/// The table of circular-path contexts of orders 0 to `order` that end `depth` positions before `layer`.
[[nodiscard]] ContextTable history_table(const Profile& profile, std::uint32_t layer, std::uint32_t order,
                                         std::uint32_t depth);

}  // namespace flame::routing
