// What the fed token says: known before layer 0, where every other table has only the last token's experts to go by.
#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>
#include <vector>

#include "flame/routing/history.h"
#include "flame/routing/predictor_parts.h"
#include "flame/routing/smoothed_table.h"

namespace flame::routing {
namespace {

/// Spreads token ids over `buckets` (Fibonacci hashing: the ids of one word's forms lie side by side).
std::uint32_t bucket_of(std::int32_t token, std::uint32_t buckets) {
  const std::uint64_t mixed = static_cast<std::uint32_t>(token) * 0x9E3779B97F4A7C15ULL >> 32;
  return static_cast<std::uint32_t>(mixed * buckets >> 32);
}

/// token: the fed token alone, tokens that share a bucket pooled. token-path: joined with the expert before.
class TokenPredictor final : public Predictor {
 public:
  TokenPredictor(bool path, const PredictorOptions& options, const Profile& profile)
      : path_(path),
        layers_(profile.layers()),
        bits_(profile.expert_bits()),
        vocabulary_(profile.model().vocabulary),
        histories_(profile.layers(), profile.expert_bits()),
        probability_(profile.experts()) {
    if (options.bytes > 0 && !path) {
      const std::size_t bucket_bits = std::size_t{layers_} * options.entries * bits_;
      buckets_ = static_cast<std::uint32_t>(std::clamp<std::size_t>(options.bytes * 8 / bucket_bits, 1, 1U << 20));
    }
    for (std::uint32_t layer = 0; layer < layers_; ++layer) {
      tables_.emplace_back(buckets_ > 0 ? pooled_table(profile, layer)
                                        : token_table(profile, layer, path ? profile.options().token_order : 0));
    }
  }

  void begin(std::size_t sequences) override { histories_.begin(sequences); }
  void reorder(std::span<const std::uint32_t> parents) override { histories_.reorder(parents); }
  void feed(std::span<const std::int32_t> tokens) override { histories_.feed(tokens); }
  void observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) override {
    histories_.observe(sequence, layer, expert);
  }

  std::size_t rank(std::size_t sequence, std::uint32_t layer, std::span<RankedExpert> out) override {
    const RowHistory& row = histories_.row(sequence);
    const SmoothedTable& table = tables_[layer];
    if (!Histories::token_known(row, layer)) return table.table().rank(0, 0, out);
    const bool joined = path_ && row.known > 0 && histories_.depth(row, layer) == 1;
    const std::uint64_t token = buckets_ > 0 ? bucket_of(row.token, buckets_) : static_cast<std::uint32_t>(row.token);
    const std::uint64_t key = joined ? row.path << kTokenWidth | token : token;
    if (!path_) return table.table().rank(key, 1, out);
    table.distribution(key, joined ? table.table().levels() - 1 : 1, probability_);
    return rank_distribution(probability_, out);
  }

  [[nodiscard]] PredictorCost cost(std::size_t k) const override {
    // A trace from elsewhere may not say how large the vocabulary is: at least the tokens seen.
    const double vocabulary = std::max<double>(vocabulary_, static_cast<double>(tables_[0].table().seen(1)));
    const double tokens = buckets_ > 0 ? buckets_ : vocabulary;
    const double joined = path_ ? static_cast<double>(probability_.size()) : 1.0;
    const double token_bits = std::ceil(std::log2(std::max(tokens, 2.0)));
    double seen_bits = 0.0;
    for (const SmoothedTable& table : tables_) {
      for (std::uint32_t level = 0; level < table.table().levels(); ++level) {
        const double key_bits = level == 0 ? 0.0 : token_bits + (level - 1) * bits_;
        seen_bits += static_cast<double>(table.table().seen(level)) * (key_bits + static_cast<double>(k * bits_));
      }
    }
    return {dense_bytes(tokens * joined * layers_, k, bits_), static_cast<std::size_t>(std::ceil(seen_bits / 8)), 1.0};
  }
  [[nodiscard]] std::string name() const override { return path_ ? "token-path" : "token"; }

 private:
  [[nodiscard]] ContextTable pooled_table(const Profile& profile, std::uint32_t layer) const {
    std::vector<ContextCount> pooled;
    for (const TokenCount& row : profile.tokens(layer, 0)) {
      pooled.push_back({bucket_of(row.token, buckets_), row.expert, row.count});
    }
    std::sort(pooled.begin(), pooled.end(), [](const ContextCount& a, const ContextCount& b) {
      return std::pair(a.context, a.expert) < std::pair(b.context, b.expert);
    });
    std::vector<ContextCount> levels[] = {profile.contexts(layer, 0), {}};
    for (const ContextCount& row : pooled) {
      std::vector<ContextCount>& merged = levels[1];
      if (!merged.empty() && merged.back().context == row.context && merged.back().expert == row.expert) {
        merged.back().count += row.count;
      } else {
        merged.push_back(row);
      }
    }
    return {profile.experts(), {0, std::max(1U, static_cast<std::uint32_t>(std::bit_width(buckets_ - 1)))}, levels};
  }

  bool path_;
  std::uint32_t layers_;
  std::uint32_t bits_;
  std::uint32_t vocabulary_;
  std::uint32_t buckets_ = 0;  ///< 0: one a token
  Histories histories_;
  std::vector<SmoothedTable> tables_;  ///< [layers]
  std::vector<float> probability_;     ///< [E]: scratch of rank
};

}  // namespace

std::unique_ptr<Predictor> make_token_predictor(std::string_view name, const PredictorOptions& options,
                                                const Profile& profile) {
  return std::make_unique<TokenPredictor>(name == "token-path", options, profile);
}

}  // namespace flame::routing
