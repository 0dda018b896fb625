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
  [[nodiscard]] Row find(std::uint64_t key, std::uint32_t level) const { return row_at(place(key, level)); }

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
  [[nodiscard]] std::size_t seen(std::uint32_t level) const { return index_[level].keys.size(); }

  /// Calls visit(row, key of the context) for each context of a level.
  template <typename Visit>
  void for_each(std::uint32_t level, Visit&& visit) const {
    const Index& index = index_[level];
    for (std::size_t i = 0; i < index.keys.size(); ++i) visit(row_at(index.rows[i]), index.keys[i]);
  }

 private:
  struct Index {
    std::uint32_t width = 0;
    std::vector<std::uint64_t> keys;    ///< of the contexts seen, rising
    std::vector<std::uint32_t> rows;    ///< [keys]: where each one's row is
    std::vector<std::uint32_t> direct;  ///< [2^width]: the same for every context, back-off included; or empty
    FlatCounter hashed;                 ///< for levels too wide for that: place + 1
  };

  [[nodiscard]] std::uint32_t place(std::uint64_t key, std::uint32_t level) const;
  [[nodiscard]] Row row_at(std::uint32_t place) const {
    const Entry& head = cells_[place];
    return {{&head + 1, head.size}, head.expert, head.count};
  }

  std::vector<Index> index_;
  /// The rows, each a head (its level as `expert`, its total as `count`) and its entries right behind: what one look-up
  /// reads lies together.
  std::vector<Entry> cells_;
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
