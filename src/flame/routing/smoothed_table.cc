#include "flame/routing/smoothed_table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace flame::routing {
namespace {

constexpr std::array<float, 4> kDiscounts = {0.0F, 0.25F, 0.5F, 0.75F};
constexpr std::array<float, 8> kStrengths = {0.25F, 0.5F, 1.0F, 2.0F, 4.0F, 8.0F, 16.0F, 32.0F};
/// Contexts looked at when fitting one level: enough for two numbers, and few enough that loading stays instant.
constexpr std::size_t kSample = 4000;

float count_of(std::span<const ContextTable::Entry> entries, std::uint16_t expert) {
  for (const ContextTable::Entry& entry : entries) {
    if (entry.expert == expert) return entry.count;
  }
  return 0.0F;
}

}  // namespace

SmoothedTable::SmoothedTable(ContextTable table) : table_(std::move(table)), smoothing_(table_.levels()) {
  for (std::uint32_t level = 1; level < table_.levels(); ++level) fit(level);
  rankings_ = Rankings(table_.experts(), table_.rows());
  std::vector<float> probability(table_.experts());
  std::uint32_t number = 0;
  for (std::uint32_t level = 0; level < table_.levels(); ++level) {
    table_.for_each(level, [&](const ContextTable::Row&, std::uint64_t key) {
      distribution(key, level, probability);
      rank_distribution(probability, rankings_.row(number++));
    });
  }
}

double SmoothedTable::without_one(std::uint64_t key, std::uint32_t level, std::uint16_t expert) const {
  auto probability = static_cast<double>(table_.share(expert));
  for (std::uint32_t j = 1; j <= level; ++j) {
    const ContextTable::Row row = table_.find(key, j);
    if (row.level != j) break;
    const double count = static_cast<double>(count_of(row.entries, expert)) - 1.0;
    const double total = static_cast<double>(row.total) - 1.0;
    if (total <= 0.0) continue;
    const double seen = static_cast<double>(row.entries.size()) - (count <= 0.0 ? 1.0 : 0.0);
    const auto discount = static_cast<double>(smoothing_[j].discount);
    const auto strength = static_cast<double>(smoothing_[j].strength);
    probability = (std::max(count - discount, 0.0) + (strength + discount * seen) * probability) / (total + strength);
  }
  return probability;
}

void SmoothedTable::fit(std::uint32_t level) {
  const std::size_t stride = table_.seen(level) / kSample + 1;
  std::array<double, kDiscounts.size() * kStrengths.size()> likelihood{};
  std::size_t visited = 0;
  table_.for_each(level, [&](const ContextTable::Row& row, std::uint64_t key) {
    if (visited++ % stride != 0 || row.total <= 1.0F) return;  // a single count left out says nothing of this level
    for (const ContextTable::Entry& entry : row.entries) {
      const double lower = without_one(key, level - 1, entry.expert);
      const double count = static_cast<double>(entry.count) - 1.0;
      const double total = static_cast<double>(row.total) - 1.0;
      const double seen = static_cast<double>(row.entries.size()) - (count <= 0.0 ? 1.0 : 0.0);
      std::size_t choice = 0;
      for (const float discount : kDiscounts) {
        for (const float strength : kStrengths) {
          const auto d = static_cast<double>(discount);
          const auto s = static_cast<double>(strength);
          const double probability = (std::max(count - d, 0.0) + (s + d * seen) * lower) / (total + s);
          likelihood[choice++] += static_cast<double>(entry.count) * std::log(std::max(probability, 1e-12));
        }
      }
    }
  });
  const auto best =
      static_cast<std::size_t>(std::max_element(likelihood.begin(), likelihood.end()) - likelihood.begin());
  smoothing_[level] = {kDiscounts[best / kStrengths.size()], kStrengths[best % kStrengths.size()]};
}

void SmoothedTable::distribution(std::uint64_t key, std::uint32_t level, std::span<float> probability) const {
  for (std::uint16_t expert = 0; expert < table_.experts(); ++expert) probability[expert] = table_.share(expert);
  for (std::uint32_t j = 1; j <= level; ++j) {
    const ContextTable::Row row = table_.find(key, j);
    if (row.level != j) return;
    const auto [discount, strength] = smoothing_[j];
    const float scale = 1.0F / (row.total + strength);
    const float lower = (strength + discount * static_cast<float>(row.entries.size())) * scale;
    for (float& value : probability) value *= lower;
    for (const ContextTable::Entry& entry : row.entries) {
      probability[entry.expert] += (entry.count - discount) * scale;
    }
  }
}

std::size_t SmoothedTable::rank(std::uint64_t key, std::uint32_t level, std::span<RankedExpert> out,
                                std::span<float> scratch) const {
  if (rankings_.covers(out.size())) return rankings_.copy(table_.find_row(key, level), out);
  distribution(key, level, scratch);
  return rank_distribution(scratch, out);
}

std::size_t rank_distribution(std::span<const float> probability, std::span<RankedExpert> out) {
  const std::size_t wanted = std::min(out.size(), probability.size());
  std::size_t kept = 0;
  for (std::uint16_t expert = 0; expert < probability.size(); ++expert) {
    const float value = probability[expert];
    if (kept == wanted && (kept == 0 || !(value > out[kept - 1].probability))) continue;
    std::size_t place = kept < wanted ? kept++ : kept - 1;
    for (; place > 0 && out[place - 1].probability < value; --place) out[place] = out[place - 1];
    out[place] = {expert, value};
  }
  return wanted;
}

}  // namespace flame::routing
