// What the fed token says: known before layer 0, where every other table has only the last token's experts to go by.
#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
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

/// Small numbers for the tokens that a profile knows, so that tables of tokens are arrays.
class TokenNumbers {
 public:
  /// A number for each token of the profile and one for all others; or with `buckets` above 0 as many in all, shared.
  TokenNumbers(const Profile& profile, std::uint32_t buckets) : buckets_(buckets) {
    if (buckets > 0) {
      others_ = buckets - 1;
      return;
    }
    for (const TokenCount& row : profile.tokens(0, 0)) {  // every layer has seen the same tokens
      const auto token = static_cast<std::uint32_t>(row.token);
      if (numbers_.count(token) == 0) numbers_.add(token, numbers_.size() + 1);
    }
    others_ = static_cast<std::uint32_t>(numbers_.size());
  }

  [[nodiscard]] std::uint32_t number(std::int32_t token) const {
    if (buckets_ > 0) return bucket_of(token, buckets_);
    const std::uint64_t found = numbers_.count(static_cast<std::uint32_t>(token));
    return found > 0 ? static_cast<std::uint32_t>(found - 1) : others_;
  }
  [[nodiscard]] std::uint32_t bits() const { return std::max(1U, static_cast<std::uint32_t>(std::bit_width(others_))); }

 private:
  std::uint32_t buckets_;
  std::uint32_t others_ = 0;  ///< the highest number
  FlatCounter numbers_;       ///< token: its number + 1
};

/// Level 1: the fed token's number; level 2 (where `order` is 1): that and, above it, the expert before.
ContextTable token_table(const Profile& profile, std::uint32_t layer, std::uint32_t order,
                         const TokenNumbers& numbers) {
  std::vector<std::uint32_t> widths = {0};
  std::vector<std::vector<ContextCount>> levels = {profile.contexts(layer, 0)};
  for (std::uint32_t level = 0; level <= order; ++level) {
    std::vector<ContextCount> rows;
    for (const TokenCount& row : profile.tokens(layer, level)) {
      rows.push_back({row.context << numbers.bits() | numbers.number(row.token), row.expert, row.count});
    }
    std::sort(rows.begin(), rows.end(), [](const ContextCount& a, const ContextCount& b) {
      return std::pair(a.context, a.expert) < std::pair(b.context, b.expert);
    });
    std::vector<ContextCount> pooled;  // tokens that share a number
    for (const ContextCount& row : rows) {
      if (!pooled.empty() && pooled.back().context == row.context && pooled.back().expert == row.expert) {
        pooled.back().count += row.count;
      } else {
        pooled.push_back(row);
      }
    }
    widths.push_back(numbers.bits() + level * profile.expert_bits());
    levels.push_back(std::move(pooled));
  }
  return {profile.experts(), std::move(widths), levels};
}

/// Numbers that `bytes` have room for, with `entries` experts a number and layer; 0 where bytes is: no limit.
std::uint32_t buckets_in(std::size_t bytes, std::size_t entries, const Profile& profile) {
  if (bytes == 0) return 0;
  const std::size_t bits = profile.layers() * entries * profile.expert_bits();
  return static_cast<std::uint32_t>(std::clamp<std::size_t>(bytes * 8 / bits, 1, 1U << 20));
}

/// token: the fed token alone, tokens that share a bucket pooled. token-path: joined with the expert before.
class TokenPredictor final : public Predictor {
 public:
  TokenPredictor(bool path, const PredictorOptions& options, const Profile& profile)
      : path_(path),
        layers_(profile.layers()),
        bits_(profile.expert_bits()),
        vocabulary_(profile.model().vocabulary),
        buckets_(path ? 0 : buckets_in(options.bytes, options.entries, profile)),
        numbers_(profile, buckets_),
        histories_(profile.layers(), profile.expert_bits()),
        probability_(profile.experts()) {
    for (std::uint32_t layer = 0; layer < layers_; ++layer) {
      if (path) {
        smoothed_.emplace_back(token_table(profile, layer, profile.options().token_order, numbers_));
      } else {
        tables_.push_back(token_table(profile, layer, 0, numbers_));
        tables_.back().work_out_rankings();
      }
    }
  }

  void begin(std::size_t sequences) override {
    histories_.begin(sequences);
    fed_.resize(sequences);
  }
  void reorder(std::span<const std::uint32_t> parents) override {
    histories_.reorder(parents);
    fed_.resize(parents.size());
  }
  void feed(std::span<const std::int32_t> tokens) override {
    for (std::size_t row = 0; row < tokens.size(); ++row) {
      fed_[row] = static_cast<std::int32_t>(numbers_.number(tokens[row]));
    }
    histories_.feed(fed_);
  }
  void observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) override {
    histories_.observe(sequence, layer, expert);
  }

  std::size_t rank(std::size_t sequence, std::uint32_t layer, std::span<RankedExpert> out) override {
    const RowHistory& row = histories_.row(sequence);
    if (!Histories::token_known(row, layer)) return table(layer).rank(0, 0, out);
    const std::uint64_t token = static_cast<std::uint32_t>(row.token);
    if (!path_) return tables_[layer].rank(token, 1, out);
    const bool joined = this->joined(row, layer);
    const std::uint64_t key = joined ? row.path << numbers_.bits() | token : token;
    return smoothed_[layer].rank(key, joined ? table(layer).levels() - 1 : 1, out, probability_);
  }

  [[nodiscard]] std::optional<std::uint64_t> grounds(std::size_t sequence, std::uint32_t layer) const override {
    const RowHistory& row = histories_.row(sequence);
    if (!Histories::token_known(row, layer)) return 0;
    if (path_ && joined(row, layer)) return std::nullopt;
    return 1ULL + static_cast<std::uint32_t>(row.token);
  }

  [[nodiscard]] PredictorCost cost(std::size_t k) const override {
    // A trace from elsewhere may not say how large the vocabulary is: at least the tokens seen.
    const double vocabulary = std::max<double>(vocabulary_, static_cast<double>(table(0).seen(1)));
    const double tokens = buckets_ > 0 ? buckets_ : vocabulary;
    const double joined = path_ ? static_cast<double>(probability_.size()) : 1.0;
    const double token_bits = std::ceil(std::log2(std::max(tokens, 2.0)));
    double seen_bits = 0.0;
    for (std::uint32_t layer = 0; layer < layers_; ++layer) {
      for (std::uint32_t level = 0; level < table(layer).levels(); ++level) {
        const double key_bits = level == 0 ? 0.0 : token_bits + (level - 1) * bits_;
        seen_bits += static_cast<double>(table(layer).seen(level)) * (key_bits + static_cast<double>(k * bits_));
      }
    }
    return {dense_bytes(tokens * joined * layers_, k, bits_), static_cast<std::size_t>(std::ceil(seen_bits / 8)), 1.0};
  }
  [[nodiscard]] std::string name() const override { return path_ ? "token-path" : "token"; }

 private:
  /// The expert before the layer is known as well.
  [[nodiscard]] bool joined(const RowHistory& row, std::uint32_t layer) const {
    return row.known > 0 && histories_.depth(row, layer) == 1;
  }
  [[nodiscard]] const ContextTable& table(std::uint32_t layer) const {
    return path_ ? smoothed_[layer].table() : tables_[layer];
  }

  bool path_;
  std::uint32_t layers_;
  std::uint32_t bits_;
  std::uint32_t vocabulary_;
  std::uint32_t buckets_;  ///< numbers that tokens share; 0: one a token
  TokenNumbers numbers_;
  Histories histories_;                  ///< of token numbers
  std::vector<std::int32_t> fed_;        ///< [rows]: scratch of feed
  std::vector<ContextTable> tables_;     ///< [layers], of `token`
  std::vector<SmoothedTable> smoothed_;  ///< [layers], of `token-path`
  std::vector<float> probability_;       ///< [E]: scratch of rank
};

}  // namespace

std::unique_ptr<Predictor> make_token_predictor(std::string_view name, const PredictorOptions& options,
                                                const Profile& profile) {
  return std::make_unique<TokenPredictor>(name == "token-path", options, profile);
}

}  // namespace flame::routing
