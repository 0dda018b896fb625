#include "flame/accel/predictor_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "flame/base/error.h"
#include "flame/routing/context_table.h"

namespace flame::accel {

std::vector<TableEntry> predictor_table(const routing::Profile& profile, std::size_t order, std::size_t ranked) {
  if (order > profile.options().max_order) {
    throw UsageError(fmt::format("cepr: a context of {} experts is asked for, the profile counted contexts up to {}",
                                 order, profile.options().max_order));
  }
  std::vector<TableEntry> entries;
  std::vector<routing::RankedExpert> best(std::min<std::size_t>(ranked, profile.experts()));
  const std::uint32_t bits = profile.expert_bits();
  const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
  for (std::uint32_t layer = 0; layer < profile.layers(); ++layer) {
    const routing::ContextTable table = routing::history_table(profile, layer, static_cast<std::uint32_t>(order), 1);
    const auto add = [&](std::uint64_t key, std::uint32_t level) {
      TableEntry entry;
      entry.layer = layer;
      for (std::uint32_t i = level; i-- > 0;)
        entry.context.push_back(static_cast<std::uint8_t>(key >> (i * bits) & mask));
      const std::size_t count = table.rank(key, level, best);
      for (std::size_t i = 0; i < count; ++i) entry.ranked.push_back(static_cast<std::uint8_t>(best[i].expert));
      entries.push_back(std::move(entry));
    };
    add(0, 0);
    for (std::uint32_t level = 1; level < table.levels(); ++level) {
      table.for_each(level, [&](const auto&, std::uint64_t key) { add(key, level); });
    }
  }
  return entries;
}

std::vector<std::uint8_t> keep_values(const routing::Profile& profile) {
  std::vector<std::uint64_t> counts;
  for (std::uint32_t layer = 0; layer < profile.layers(); ++layer) {
    const std::vector<std::uint64_t> popularity = profile.popularity(layer);
    counts.insert(counts.end(), popularity.begin(), popularity.end());
  }
  const std::uint64_t most = std::max<std::uint64_t>(1, *std::max_element(counts.begin(), counts.end()));
  std::vector<std::uint8_t> keep(counts.size());
  std::transform(counts.begin(), counts.end(), keep.begin(),
                 [&](std::uint64_t count) { return static_cast<std::uint8_t>(count * 255 / most); });
  return keep;
}

}  // namespace flame::accel
