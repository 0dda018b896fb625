#include "flame/routing/context_table.h"

#include <algorithm>
#include <cassert>

namespace flame::routing {
namespace {

/// Widest level that is indexed by the key itself: 2^18 rows of 4 bytes, all contexts of six of eight experts.
constexpr std::uint32_t kDirectWidth = 18;

std::uint64_t low_bits(std::uint64_t value, std::uint32_t bits) {
  return bits >= 64 ? value : value & ((std::uint64_t{1} << bits) - 1);
}

}  // namespace

ContextTable::ContextTable(std::uint32_t experts, std::vector<std::uint32_t> widths,
                           std::span<const std::vector<ContextCount>> levels) {
  assert(!levels.empty() && widths.size() == levels.size() && widths[0] == 0);
  std::vector<std::uint64_t> popular(experts, 0);
  std::uint64_t all = 0;
  for (const ContextCount& count : levels[0]) {
    popular[count.expert] = count.count;
    all += count.count;
  }
  share_.resize(experts);
  for (std::uint16_t expert = 0; expert < experts; ++expert) {
    share_[expert] = (static_cast<float>(popular[expert]) + 1.0F) / static_cast<float>(all + experts);
    popularity_.push_back({expert, share_[expert]});
  }
  std::stable_sort(popularity_.begin(), popularity_.end(),
                   [&](const RankedExpert& a, const RankedExpert& b) { return popular[a.expert] > popular[b.expert]; });

  std::vector<const ContextCount*> ranked;
  for (std::uint32_t level = 0; level < levels.size(); ++level) {
    Index index;
    index.width = widths[level];
    index.first = rows_.size();
    const std::vector<ContextCount>& counts = levels[level];
    for (std::size_t begin = 0; begin < counts.size();) {
      std::size_t end = begin;
      ranked.clear();
      std::uint64_t total = 0;
      for (; end < counts.size() && counts[end].context == counts[begin].context; ++end) {
        ranked.push_back(&counts[end]);
        total += counts[end].count;
      }
      // Equal counts and equal popularity are left in rising order of the expert's id.
      std::stable_sort(ranked.begin(), ranked.end(), [&](const ContextCount* a, const ContextCount* b) {
        return a->count != b->count ? a->count > b->count : popular[a->expert] > popular[b->expert];
      });
      index.keys.push_back(counts[begin].context);
      rows_.push_back({static_cast<std::uint32_t>(entries_.size()), static_cast<std::uint32_t>(ranked.size()), level,
                       static_cast<float>(total)});
      for (const ContextCount* count : ranked) entries_.push_back({count->expert, static_cast<float>(count->count)});
      begin = end;
    }
    if (level == 0 && index.keys.empty()) {
      index.keys.push_back(0);
      rows_.push_back({});
    }
    index.seen = index.keys.size();
    if (index.width <= kDirectWidth) {
      index.direct.resize(std::size_t{1} << index.width);
      for (std::size_t key = 0; level > 0 && key < index.direct.size(); ++key) {
        index.direct[key] = static_cast<std::uint32_t>(&find(key, level - 1) - rows_.data());
      }
      for (std::size_t i = 0; i < index.seen; ++i) {
        index.direct[index.keys[i]] = static_cast<std::uint32_t>(index.first + i);
      }
    } else {
      for (std::size_t i = 0; i < index.seen; ++i) index.hashed.add(index.keys[i], index.first + i + 1);
    }
    index_.push_back(std::move(index));
  }
}

const ContextTable::Row& ContextTable::find(std::uint64_t key, std::uint32_t level) const {
  for (;; --level) {
    const Index& index = index_[level];
    const std::uint64_t context = low_bits(key, index.width);
    if (!index.direct.empty()) return rows_[index.direct[context]];
    const std::uint64_t row = index.hashed.count(context);
    if (row != 0) return rows_[row - 1];
  }
}

std::size_t ContextTable::rank(std::uint64_t key, std::uint32_t level, std::span<RankedExpert> out) const {
  const Row& row = find(key, level);
  const std::size_t wanted = std::min(out.size(), popularity_.size());
  const float scale = 1.0F / (row.total + 1.0F);
  const std::size_t seen = std::min<std::size_t>(row.size, wanted);
  const Entry* const entry = entries_.data() + row.first;
  for (std::size_t i = 0; i < seen; ++i) {
    out[i] = {entry[i].expert, (entry[i].count + share_[entry[i].expert]) * scale};
  }
  if (seen == wanted) return wanted;
  // All experts seen in the context are written by now: whatever is more popular than the next gap is among them or
  // not.
  std::size_t written = seen;
  for (const RankedExpert& candidate : popularity_) {
    if (written == wanted) break;
    bool listed = false;
    for (std::size_t i = 0; i < seen; ++i) listed |= out[i].expert == candidate.expert;
    if (!listed) out[written++] = {candidate.expert, candidate.probability * scale};
  }
  return wanted;
}

ContextTable history_table(const Profile& profile, std::uint32_t layer, std::uint32_t order, std::uint32_t depth) {
  std::vector<std::uint32_t> widths;
  std::vector<std::vector<ContextCount>> levels;
  for (std::uint32_t level = 0; level <= order; ++level) {
    widths.push_back(level * profile.expert_bits());
    levels.push_back(profile.contexts(layer, level, depth));
  }
  return {profile.experts(), std::move(widths), levels};
}

ContextTable token_table(const Profile& profile, std::uint32_t layer, std::uint32_t order) {
  std::vector<std::uint32_t> widths = {0};
  std::vector<std::vector<ContextCount>> levels = {profile.contexts(layer, 0)};
  for (std::uint32_t level = 0; level <= order; ++level) {
    std::vector<ContextCount> counts;
    for (const TokenCount& row : profile.tokens(layer, level)) {
      counts.push_back({row.context << kTokenWidth | static_cast<std::uint64_t>(row.token), row.expert, row.count});
    }
    std::stable_sort(counts.begin(), counts.end(),
                     [](const ContextCount& a, const ContextCount& b) { return a.context < b.context; });
    widths.push_back(kTokenWidth + level * profile.expert_bits());
    levels.push_back(std::move(counts));
  }
  return {profile.experts(), std::move(widths), levels};
}

}  // namespace flame::routing
