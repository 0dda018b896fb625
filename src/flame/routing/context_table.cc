#include "flame/routing/context_table.h"

#include <algorithm>
#include <cassert>

#include "flame/base/bits.h"

namespace flame::routing {
namespace {

/// Widest level that is indexed by the key itself: 2^18 rows of 4 bytes, all contexts of six of eight experts.
constexpr std::uint32_t kDirectWidth = 18;

/// Most that a level's arrays may take for each context seen, some four times what a hash table would. Narrow levels
/// are small in any case.
constexpr std::size_t kBytesAContext = 128;
constexpr std::uint32_t kNarrow = 12;

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
    index.first = rows();
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
      heads_.push_back(static_cast<std::uint32_t>(cells_.size()));
      cells_.push_back(
          {static_cast<std::uint16_t>(level), static_cast<std::uint16_t>(ranked.size()), static_cast<float>(total)});
      for (const ContextCount* count : ranked) cells_.push_back({count->expert, 0, static_cast<float>(count->count)});
      begin = end;
    }
    if (level == 0 && index.keys.empty()) {
      index.keys.push_back(0);
      heads_.push_back(0);
      cells_.push_back({});
    }
    fill(index);
    index_.push_back(std::move(index));
  }
}

void ContextTable::fill(Index& index) const {
  const auto level = static_cast<std::uint32_t>(index_.size());
  const auto seen = static_cast<std::uint32_t>(index.keys.size());
  const std::size_t direct_bytes = sizeof(std::uint32_t) << std::min(index.width, kDirectWidth);
  if (index.width <= kDirectWidth && (index.width <= kNarrow || direct_bytes <= seen * kBytesAContext)) {
    index.direct.resize(std::size_t{1} << index.width);
    for (std::size_t key = 0; level > 0 && key < index.direct.size(); ++key) {
      index.direct[key] = find_row(key, level - 1);
    }
    for (std::uint32_t i = 0; i < seen; ++i) index.direct[index.keys[i]] = index.first + i;
    return;
  }
  const Index& before = index_.back();
  index.step = index.width - before.width;
  if (index.step <= kDirectWidth &&
      (before.keys.size() << index.step) * sizeof(std::uint32_t) <= seen * kBytesAContext) {
    for (std::size_t parent = 0; parent < before.keys.size(); ++parent) {
      index.children.resize((parent + 1) << index.step, before.first + static_cast<std::uint32_t>(parent));
    }
    for (std::uint32_t i = 0; i < seen; ++i) {
      const std::uint32_t parent = find_row(index.keys[i], level - 1);
      assert(parent >= before.first);  // whatever follows a context follows its end
      index.children[(std::size_t{parent - before.first} << index.step) + (index.keys[i] >> before.width)] =
          index.first + i;
    }
    return;
  }
  for (std::uint32_t i = 0; i < seen; ++i) index.hashed.add(index.keys[i], index.first + i + 1ULL);
}

std::uint32_t ContextTable::find_row(std::uint64_t key, std::uint32_t level) const {
  for (;; --level) {
    const Index& index = index_[level];
    const std::uint64_t context = low_bits(key, index.width);
    if (!index.direct.empty()) return index.direct[context];
    if (!index.children.empty()) {
      const Index& before = index_[level - 1];
      const std::uint32_t parent = find_row(key, level - 1);
      if (parent < before.first) return parent;
      return index.children[(std::size_t{parent - before.first} << index.step) + (context >> before.width)];
    }
    const std::uint64_t row = index.hashed.count(context);
    if (row != 0) return static_cast<std::uint32_t>(row - 1);
  }
}

std::size_t ContextTable::rank(std::uint64_t key, std::uint32_t level, std::span<RankedExpert> out) const {
  const std::uint32_t number = find_row(key, level);
  return rankings_.covers(out.size()) ? rankings_.copy(number, out) : rank_counts(row(number), out);
}

void ContextTable::work_out_rankings() {
  rankings_ = Rankings(experts(), rows());
  for (std::uint32_t number = 0; number < rows(); ++number) rank_counts(row(number), rankings_.row(number));
}

std::size_t ContextTable::rank_counts(const Row& row, std::span<RankedExpert> out) const {
  const std::size_t wanted = std::min(out.size(), popularity_.size());
  const float scale = 1.0F / (row.total + 1.0F);
  const std::size_t seen = std::min(row.entries.size(), wanted);
  for (std::size_t i = 0; i < seen; ++i) {
    const Entry& entry = row.entries[i];
    out[i] = {entry.expert, (entry.count + share_[entry.expert]) * scale};
  }
  if (seen == wanted) return wanted;
  std::uint64_t low = 0;  // which of the first 64 experts are written
  for (std::size_t i = 0; i < seen; ++i) {
    if (out[i].expert < 64) low |= std::uint64_t{1} << out[i].expert;
  }
  std::size_t written = seen;
  for (const RankedExpert& candidate : popularity_) {
    if (written == wanted) break;
    const auto same = [&](const RankedExpert& other) { return other.expert == candidate.expert; };
    const bool listed = candidate.expert < 64
                            ? (low >> candidate.expert & 1U) != 0
                            : std::any_of(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(seen), same);
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

}  // namespace flame::routing
