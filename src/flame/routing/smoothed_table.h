#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "flame/routing/context_table.h"

namespace flame::routing {

/// Probabilities from a ContextTable in which every context leans on its shorter one, instead of the hard back-off of
/// cepr: with n of N counts for an expert and c experts seen,
///   P_j(e) = (max(n - discount_j, 0) + (strength_j + discount_j c) P_{j-1}(e)) / (N + strength_j),
/// the interpolated Kneser-Ney form of a hierarchical Pitman-Yor process (Teh, ACL 2006), P_0 the layer's popularity.
/// Discounts and strengths are those under which leaving each count out in turn predicts it best.
class SmoothedTable {
 public:
  explicit SmoothedTable(ContextTable table);

  /// probability[e] for every expert; the context is the lowest bits of `key`, as long as the highest `level` says.
  void distribution(std::uint64_t key, std::uint32_t level, std::span<float> probability) const;

  /// The best out.size() experts of that distribution, equal ones by rising id; worked out beforehand unless more are
  /// asked for than Rankings keep. `scratch` has room for every expert. Returns the number written.
  std::size_t rank(std::uint64_t key, std::uint32_t level, std::span<RankedExpert> out, std::span<float> scratch) const;

  [[nodiscard]] const ContextTable& table() const { return table_; }

 private:
  struct Smoothing {
    float discount = 0.0F;
    float strength = 1.0F;
  };

  void fit(std::uint32_t level);
  [[nodiscard]] double without_one(std::uint64_t key, std::uint32_t level, std::uint16_t expert) const;

  ContextTable table_;
  std::vector<Smoothing> smoothing_;  ///< [levels]
  Rankings rankings_;                 ///< of the table's rows
};

/// The best out.size() experts of a full distribution, equal ones by rising id. Returns the number written.
std::size_t rank_distribution(std::span<const float> probability, std::span<RankedExpert> out);

}  // namespace flame::routing
