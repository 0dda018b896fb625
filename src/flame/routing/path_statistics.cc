#include "flame/routing/path_statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "flame/base/error.h"

namespace flame::routing {

PathStatistics path_statistics(const Profile& profile) {
  constexpr std::size_t kHottest = 10;
  PathStatistics statistics;
  statistics.possible = std::pow(profile.experts(), profile.layers());
  statistics.distinct = profile.paths().size();
  std::vector<HotPath> paths;
  for (const auto& [experts, tokens] : profile.paths()) {
    statistics.tokens += tokens;
    const auto* const end =
        std::lower_bound(PathStatistics::kClassEnds.begin(), PathStatistics::kClassEnds.end(), tokens);
    const auto index = static_cast<std::size_t>(end - PathStatistics::kClassEnds.begin());
    ++statistics.paths_by_tokens[index];
    statistics.tokens_by_class[index] += tokens;
    paths.push_back({experts, tokens});
  }
  // Stable: paths come in rising order of their experts, and equally hot ones stay so.
  std::stable_sort(paths.begin(), paths.end(), [](const HotPath& a, const HotPath& b) { return a.tokens > b.tokens; });
  for (const HotPath& path : paths) statistics.tokens_by_rank.push_back(path.tokens);
  paths.resize(std::min(paths.size(), kHottest));
  statistics.hottest = std::move(paths);
  if (statistics.tokens == 0) return statistics;
  std::uint64_t top = 0;
  for (const HotPath& path : statistics.hottest) top += path.tokens;
  const auto all = static_cast<double>(statistics.tokens);
  statistics.top1_share = static_cast<double>(statistics.hottest.front().tokens) / all;
  statistics.top10_share = static_cast<double>(top) / all;
  return statistics;
}

std::string path_class_name(std::size_t index) {
  const auto& ends = PathStatistics::kClassEnds;
  if (index >= ends.size()) return fmt::format("> {}", ends.back());
  return fmt::format("{}–{}", index == 0 ? 1 : ends[index - 1] + 1, ends[index]);
}

std::vector<double> conditional_heat_map(const Profile& profile, std::uint32_t from, std::uint32_t to) {
  if (from >= profile.layers() || to >= profile.layers() || from == to) {
    throw UsageError(fmt::format("heat map of layers {} and {}: choose two different decoder MoE layers below {}", from,
                                 to, profile.layers()));
  }
  const std::size_t experts = profile.experts();
  std::vector<double> map(experts * experts, 0.0);
  for (const auto& [path, tokens] : profile.paths())
    map[path[from] * experts + path[to]] += static_cast<double>(tokens);
  for (std::size_t row = 0; row < experts; ++row) {
    double sum = 0.0;
    for (std::size_t column = 0; column < experts; ++column) sum += map[row * experts + column];
    for (std::size_t column = 0; column < experts && sum > 0.0; ++column) map[row * experts + column] /= sum;
  }
  return map;
}

}  // namespace flame::routing
