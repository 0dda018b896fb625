#include "flame/routing/context_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "flame/routing/smoothed_table.h"
#include "routing/synthetic_trace.h"

namespace flame::routing {
namespace {

/// The ways a table finds its contexts: arrays of all contexts, arrays of each context's continuations, hashing.
struct Shape {
  std::uint32_t experts = 0;
  std::uint32_t order = 0;
  std::string name;
};

class ContextTables : public testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    const Shape& shape = GetParam();
    // Half of the experts follow from the one before: some contexts are frequent, most are rare or never seen.
    std::mt19937_64 random(7);
    const Trace trace = test::synthetic_trace(
        shape.experts, 2, 30, 40, 3, [&](const std::vector<std::uint16_t>& path, std::uint32_t layer, std::int32_t) {
          const bool free = path.empty() || random() % 2 == 0;
          return static_cast<std::uint16_t>((free ? random() : path.back() * 3ULL + layer) % shape.experts);
        });
    profile_ = std::make_unique<Profile>(trace.info, ProfileOptions{.max_order = shape.order, .max_depth = 1});
    profile_->add(trace);
    for (std::uint32_t level = 0; level <= shape.order; ++level) {
      for (const ContextCount& row : profile_->contexts(1, level)) {
        counts_[level][row.context][row.expert] = row.count;
        if (level == shape.order) keys_.push_back(row.context);
      }
    }
    const std::uint32_t bits = profile_->expert_bits() * shape.order;
    for (int i = 0; i < 500; ++i) {
      const std::uint64_t seen = keys_[random() % keys_.size()];
      keys_.push_back(seen ^ (random() % shape.experts) << (bits - profile_->expert_bits()));
      keys_.push_back(random() & ((std::uint64_t{1} << bits) - 1));
    }
  }

  /// The ranking by its definition: counts of the longest context seen, then popularity, then the id.
  [[nodiscard]] std::vector<RankedExpert> expected(std::uint64_t key, std::uint32_t level) const {
    const std::map<std::uint16_t, std::uint64_t>* found = nullptr;
    for (; found == nullptr; --level) {
      const std::uint32_t bits = profile_->expert_bits() * level;
      const auto context = counts_.at(level).find(key & ((std::uint64_t{1} << bits) - 1));
      if (context != counts_.at(level).end()) found = &context->second;
    }
    const std::vector<std::uint64_t> popular = profile_->popularity(1);
    std::uint64_t all = 0;
    for (const std::uint64_t count : popular) all += count;
    std::uint64_t total = 0;
    for (const auto& [expert, count] : *found) total += count;
    std::vector<std::tuple<std::uint64_t, std::uint64_t, std::uint16_t>> order;
    for (std::uint16_t expert = 0; expert < popular.size(); ++expert) {
      const auto seen = found->find(expert);
      order.emplace_back(seen == found->end() ? 0 : seen->second, popular[expert], expert);
    }
    std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
      return std::tuple(std::get<0>(b), std::get<1>(b), std::get<2>(a)) <
             std::tuple(std::get<0>(a), std::get<1>(a), std::get<2>(b));
    });
    std::vector<RankedExpert> ranked;
    for (const auto& [count, popularity, expert] : order) {
      const double share = static_cast<double>(popularity + 1) / static_cast<double>(all + popular.size());
      ranked.push_back(
          {expert, static_cast<float>((static_cast<double>(count) + share) / (static_cast<double>(total) + 1))});
    }
    return ranked;
  }

  std::unique_ptr<Profile> profile_;
  std::map<std::uint32_t, std::map<std::uint64_t, std::map<std::uint16_t, std::uint64_t>>> counts_;
  std::vector<std::uint64_t> keys_;  ///< seen, almost seen, and random ones
};

TEST_P(ContextTables, RankTheLongestContextSeenWhetherWorkedOutBeforehandOrNot) {
  ContextTable table = history_table(*profile_, 1, GetParam().order, 1);
  ContextTable prepared = history_table(*profile_, 1, GetParam().order, 1);
  prepared.work_out_rankings();
  for (const std::uint64_t key : keys_) {
    for (std::uint32_t level = 0; level <= GetParam().order; ++level) {
      const std::vector<RankedExpert> want = expected(key, level);
      for (const std::size_t k : {std::size_t{1}, std::size_t{2}, std::size_t{8}, want.size(), want.size() + 1}) {
        std::vector<RankedExpert> plain(k);
        std::vector<RankedExpert> quick(k);
        const std::size_t written = std::min(k, want.size());
        ASSERT_EQ(table.rank(key, level, plain), written);
        ASSERT_EQ(prepared.rank(key, level, quick), written);
        ASSERT_EQ(plain, quick) << "key " << key << ", level " << level << ", k " << k;
        for (std::size_t i = 0; i < written; ++i) {
          ASSERT_EQ(plain[i].expert, want[i].expert) << "key " << key << ", level " << level << ", place " << i;
          ASSERT_NEAR(plain[i].probability, want[i].probability, 1e-6F);
        }
      }
    }
  }
}

TEST_P(ContextTables, SmoothedRankTheirDistribution) {
  const SmoothedTable table(history_table(*profile_, 1, GetParam().order, 1));
  std::vector<float> probability(GetParam().experts);
  std::vector<float> scratch(GetParam().experts);
  for (const std::uint64_t key : keys_) {
    for (std::uint32_t level = 0; level <= GetParam().order; ++level) {
      table.distribution(key, level, probability);
      for (const std::size_t k : {std::size_t{1}, std::size_t{8}, probability.size()}) {
        std::vector<RankedExpert> want(k);
        std::vector<RankedExpert> ranked(k);
        ASSERT_EQ(table.rank(key, level, ranked, scratch), rank_distribution(probability, want));
        ASSERT_EQ(ranked, want) << "key " << key << ", level " << level << ", k " << k;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(OfEveryKind, ContextTables,
                         testing::Values(Shape{8, 4, "Arrays"}, Shape{3, 3, "ThreeExperts"},
                                         Shape{12, 6, "Continuations"}, Shape{40, 4, "Hashed"}),
                         [](const auto& shape) { return shape.param.name; });

}  // namespace
}  // namespace flame::routing
