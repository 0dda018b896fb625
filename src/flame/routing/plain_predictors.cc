// The predictors that need no table of contexts: the expert of the token before, and chance.
#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "flame/base/random.h"
#include "flame/routing/context_table.h"
#include "flame/routing/history.h"
#include "flame/routing/predictor_parts.h"

namespace flame::routing {
namespace {

/// The expert this layer took for the last token, then the others by popularity.
class PreviousTokenPredictor final : public Predictor {
 public:
  explicit PreviousTokenPredictor(const Profile& profile) : layers_(profile.layers()), bits_(profile.expert_bits()) {
    for (std::uint32_t layer = 0; layer < layers_; ++layer) {
      popularity_.push_back(history_table(profile, layer, 0, 1));
      std::uint64_t repeated = 0;
      std::uint64_t all = 0;
      const std::span<const std::uint64_t> counts = profile.previous_token(layer);
      for (std::size_t i = 0; i < counts.size(); ++i) {
        all += counts[i];
        if (i / profile.experts() == i % profile.experts()) repeated += counts[i];
      }
      repeat_.push_back((static_cast<float>(repeated) + 1.0F) / (static_cast<float>(all) + 2.0F));
    }
  }

  void begin(std::size_t sequences) override { last_.assign(sequences * layers_, kUnknown); }

  void reorder(std::span<const std::uint32_t> parents) override {
    spare_.clear();
    for (const std::uint32_t parent : parents) {
      const auto first = last_.begin() + static_cast<std::ptrdiff_t>(std::size_t{parent} * layers_);
      spare_.insert(spare_.end(), first, first + static_cast<std::ptrdiff_t>(layers_));
    }
    last_.swap(spare_);
  }

  void observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) override {
    last_[sequence * layers_ + layer] = expert;
  }

  std::size_t rank(std::size_t sequence, std::uint32_t layer, std::span<RankedExpert> out) override {
    const ContextTable& table = popularity_[layer];
    const std::int32_t last = last_[sequence * layers_ + layer];
    if (last == kUnknown || out.empty()) return table.rank(0, 0, out);
    const auto expert = static_cast<std::uint16_t>(last);
    const float others = (1.0F - repeat_[layer]) / std::max(1.0F - table.share(expert), 1e-6F);
    const std::size_t wanted = std::min<std::size_t>(out.size(), table.experts());
    out[0] = {expert, table.experts() == 1 ? 1.0F : repeat_[layer]};
    std::size_t written = 1;
    for (const RankedExpert& candidate : table.popularity()) {
      if (written == wanted) break;
      if (candidate.expert != expert) out[written++] = {candidate.expert, candidate.probability * others};
    }
    return wanted;
  }

  [[nodiscard]] std::optional<std::uint64_t> grounds(std::size_t sequence, std::uint32_t layer) const override {
    return static_cast<std::uint64_t>(last_[sequence * layers_ + layer] - kUnknown);
  }

  [[nodiscard]] PredictorCost cost(std::size_t k) const override {
    // The layers' experts of the last token, and the popular ones that fill the ranking up.
    const std::size_t bytes = dense_bytes(layers_, k, bits_);
    return {bytes, bytes, 1.0};
  }
  [[nodiscard]] std::string name() const override { return "previous-token"; }

 private:
  static constexpr std::int32_t kUnknown = -1;

  std::uint32_t layers_;
  std::uint32_t bits_;
  std::vector<ContextTable> popularity_;  ///< [layers]
  std::vector<float> repeat_;             ///< [layers]: how often the expert stays
  std::vector<std::int32_t> last_;        ///< [rows, layers]
  std::vector<std::int32_t> spare_;
};

/// A new uniform ranking for every position; the same seed gives the same ones.
class RandomPredictor final : public Predictor {
 public:
  RandomPredictor(const Profile& profile, std::uint64_t seed)
      : layers_(profile.layers()), experts_(profile.experts()), seed_(seed), order_(experts_) {}

  void begin(std::size_t sequences) override {
    ++batch_;
    rows_.assign(sequences, {});
    for (std::size_t row = 0; row < sequences; ++row) rows_[row].stream = batch_ << 20 | row;
  }
  void reorder(std::span<const std::uint32_t> parents) override {
    spare_.clear();
    for (const std::uint32_t parent : parents) spare_.push_back(rows_[parent]);
    rows_.swap(spare_);
  }
  void observe(std::size_t sequence, std::uint32_t /*layer*/, std::uint16_t /*expert*/) override {
    ++rows_[sequence].position;
  }

  std::size_t rank(std::size_t sequence, std::uint32_t layer, std::span<RankedExpert> out) override {
    const Row& row = rows_[sequence];
    Random random(seed_, row.stream);
    random.seek((row.position * layers_ + layer) * experts_);
    std::iota(order_.begin(), order_.end(), std::uint16_t{0});
    const std::size_t wanted = std::min(out.size(), order_.size());
    for (std::size_t i = 0; i < wanted; ++i) {
      // Multiply-shift instead of next_below: one value each, so that positions do not run into each other.
      const std::uint64_t draw = ((random.next_bits() >> 32) * (order_.size() - i)) >> 32;
      std::swap(order_[i], order_[i + draw]);
      out[i] = {order_[i], 1.0F / static_cast<float>(experts_)};
    }
    return wanted;
  }

  [[nodiscard]] PredictorCost cost(std::size_t /*k*/) const override { return {0, 0, 1.0}; }
  [[nodiscard]] std::string name() const override { return "random"; }

 private:
  struct Row {
    std::uint64_t stream = 0;
    std::uint64_t position = 0;
  };

  std::uint64_t layers_;
  std::uint64_t experts_;
  std::uint64_t seed_;
  std::uint64_t batch_ = 0;
  std::vector<std::uint16_t> order_;  ///< [E]: scratch of rank
  std::vector<Row> rows_;
  std::vector<Row> spare_;
};

}  // namespace

std::unique_ptr<Predictor> make_plain_predictor(std::string_view name, const PredictorOptions& options,
                                                const Profile& profile) {
  if (name == "random") return std::make_unique<RandomPredictor>(profile, options.seed);
  return std::make_unique<PreviousTokenPredictor>(profile);
}

}  // namespace flame::routing
