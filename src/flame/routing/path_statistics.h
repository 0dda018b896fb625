#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "flame/routing/profile.h"

namespace flame::routing {

/// One per-token expert activation path and the tokens that took it.
struct HotPath {
  std::vector<std::uint16_t> experts;  ///< [L]
  std::uint64_t tokens = 0;
};

/// How skewed the activation paths are: the paper's Figures 2, 5 and 6.
struct PathStatistics {
  /// Upper ends of the histogram's classes of tokens a path, 1–10, 11–100, 101–1000; the last class has none.
  static constexpr std::array<std::uint64_t, 3> kClassEnds = {10, 100, 1000};

  double possible = 0.0;                           ///< E^L
  std::uint64_t distinct = 0;                      ///< paths that occur
  std::uint64_t tokens = 0;                        ///< all decoder steps
  double top1_share = 0.0;                         ///< of the tokens, by the hottest path
  double top10_share = 0.0;                        ///< by the ten hottest
  std::array<std::uint64_t, 4> paths_by_tokens{};  ///< how many paths are in each class
  std::array<std::uint64_t, 4> tokens_by_class{};  ///< and how many tokens took those
  std::vector<std::uint64_t> tokens_by_rank;       ///< [distinct], tokens of each path, hottest first
  std::vector<HotPath> hottest;                    ///< up to ten, hottest first; equal ones by rising experts
};

[[nodiscard]] PathStatistics path_statistics(const Profile& profile);

/// "1–10", "11–100", "101–1000", "> 1000".
[[nodiscard]] std::string path_class_name(std::size_t index);

/// [E, E]: P(expert of layer `to` is the column | expert of layer `from` is the row) within one token (Figure 6a).
/// A row whose expert never occurred is all zero. Throws UsageError when a layer does not exist or both are the same.
[[nodiscard]] std::vector<double> conditional_heat_map(const Profile& profile, std::uint32_t from, std::uint32_t to);

}  // namespace flame::routing
