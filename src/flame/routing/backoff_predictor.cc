// The predictors that interpolate orders: backoff, and online, which goes on counting while it decodes.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "flame/routing/history.h"
#include "flame/routing/predictor_parts.h"
#include "flame/routing/smoothed_table.h"

namespace flame::routing {
namespace {

class BackoffPredictor final : public Predictor {
 public:
  /// `tables`: of that order.
  BackoffPredictor(std::uint32_t order, SharedTables::Tables tables, const Profile& profile)
      : order_(order),
        layers_(profile.layers()),
        bits_(profile.expert_bits()),
        histories_(profile.layers(), profile.expert_bits()),
        tables_(std::move(tables)),
        probability_(profile.experts()) {}

  void begin(std::size_t sequences) override { histories_.begin(sequences); }
  void reorder(std::span<const std::uint32_t> parents) override { histories_.reorder(parents); }
  void feed(std::span<const std::int32_t> tokens) override { histories_.feed(tokens); }
  void observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) override {
    histories_.observe(sequence, layer, expert);
  }

  std::size_t rank(std::size_t sequence, std::uint32_t layer, std::span<RankedExpert> out) override {
    const RowHistory& row = histories_.row(sequence);
    const std::size_t table = std::size_t{histories_.depth(row, layer) - 1} * layers_ + layer;
    if (table >= tables_->size()) return (*tables_)[layer].table().rank(0, 0, out);
    return (*tables_)[table].rank(row.path, std::min(order_, row.known), out, probability_);
  }

  [[nodiscard]] std::optional<std::uint64_t> grounds(std::size_t sequence, std::uint32_t layer) const override {
    // Every expert changes the contexts that are counted; further layers go by popularity.
    const bool counted = histories_.depth(histories_.row(sequence), layer) * layers_ <= tables_->size();
    return counted ? std::nullopt : std::optional<std::uint64_t>(0);
  }

  [[nodiscard]] PredictorCost cost(std::size_t k) const override {
    // A device stores what the interpolation comes to, one ranking a context, exactly as for cepr.
    double seen_bits = 0.0;
    for (std::uint32_t layer = 0; layer < layers_; ++layer) {
      const ContextTable& table = (*tables_)[layer].table();
      for (std::uint32_t level = 0; level < table.levels(); ++level) {
        seen_bits += static_cast<double>(table.seen(level)) * static_cast<double>(table.width(level) + k * bits_);
      }
    }
    const double contexts = static_cast<double>(layers_) * std::pow(probability_.size(), order_);
    return {dense_bytes(contexts, k, bits_), static_cast<std::size_t>(std::ceil(seen_bits / 8)),
            static_cast<double>(order_ * probability_.size())};
  }
  [[nodiscard]] std::string name() const override { return fmt::format("backoff({})", order_); }

 private:
  std::uint32_t order_;
  std::uint32_t layers_;
  std::uint32_t bits_;
  Histories histories_;
  SharedTables::Tables tables_;
  std::vector<float> probability_;  ///< [E]: scratch of rank
};

/// Another predictor's estimate, corrected by what the example at hand has shown so far in the same layer after the
/// same expert: P(e) = (n + s P_base(e)) / (N + s), n and N counted in this example alone.
class OnlinePredictor final : public Predictor {
 public:
  OnlinePredictor(std::unique_ptr<Predictor> base, std::uint32_t depth, const Profile& profile)
      : base_(std::move(base)),
        layers_(profile.layers()),
        experts_(profile.experts()),
        contexts_(profile.experts() <= kLargestJoined ? profile.experts() : 1),
        depth_(depth),
        bits_(profile.expert_bits()),
        histories_(profile.layers(), profile.expert_bits()),
        ranked_(profile.experts()) {}

  void begin(std::size_t sequences) override {
    base_->begin(sequences);
    histories_.begin(sequences);
    counts_.assign(sequences * row_size(), 0);
  }
  void reorder(std::span<const std::uint32_t> parents) override {
    base_->reorder(parents);
    histories_.reorder(parents);
    spare_.clear();
    for (const std::uint32_t parent : parents) {
      const auto first = counts_.begin() + static_cast<std::ptrdiff_t>(parent * row_size());
      spare_.insert(spare_.end(), first, first + static_cast<std::ptrdiff_t>(row_size()));
    }
    counts_.swap(spare_);
  }
  void feed(std::span<const std::int32_t> tokens) override {
    base_->feed(tokens);
    histories_.feed(tokens);
  }
  void observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) override {
    const RowHistory& row = histories_.row(sequence);
    for (std::uint32_t d = 1; d <= depth_; ++d) {
      if (row.known < d) break;
      std::uint16_t& count = context(sequence, row.path >> ((d - 1) * bits_), layer, d)[expert];
      if (count < 65535) ++count;
    }
    base_->observe(sequence, layer, expert);
    histories_.observe(sequence, layer, expert);
  }

  std::size_t rank(std::size_t sequence, std::uint32_t layer, std::span<RankedExpert> out) override {
    const RowHistory& row = histories_.row(sequence);
    const std::uint32_t depth = histories_.depth(row, layer);
    if (depth > depth_ || row.known == 0) return base_->rank(sequence, layer, out);
    const std::span<const std::uint16_t> counts = context(sequence, row.path, layer, depth);
    std::uint32_t total = 0;
    for (const std::uint16_t count : counts) total += count;
    if (total == 0) return base_->rank(sequence, layer, out);
    base_->rank(sequence, layer, ranked_);
    const float scale = 1.0F / (static_cast<float>(total) + kStrength);
    const std::size_t wanted = std::min(out.size(), ranked_.size());
    std::size_t kept = 0;
    for (const RankedExpert& candidate : ranked_) {  // few counts: nearly in order already
      const float value = (static_cast<float>(counts[candidate.expert]) + kStrength * candidate.probability) * scale;
      const auto before = [&](const RankedExpert& other) {
        return value > other.probability || (value == other.probability && candidate.expert < other.expert);
      };
      if (kept == wanted && (kept == 0 || !before(out[kept - 1]))) continue;
      std::size_t place = kept < wanted ? kept++ : kept - 1;
      for (; place > 0 && before(out[place - 1]); --place) out[place] = out[place - 1];
      out[place] = {candidate.expert, value};
    }
    return wanted;
  }

  [[nodiscard]] std::optional<std::uint64_t> grounds(std::size_t sequence, std::uint32_t layer) const override {
    if (histories_.depth(histories_.row(sequence), layer) <= depth_) return std::nullopt;
    return base_->grounds(sequence, layer);
  }

  [[nodiscard]] PredictorCost cost(std::size_t k) const override {
    PredictorCost cost = base_->cost(k);
    cost.device_bytes += row_size();  // one-byte counters, halved when one is full
    cost.seen_bytes += row_size();
    cost.operations += 2.0 * experts_;
    return cost;
  }
  [[nodiscard]] std::string name() const override { return fmt::format("online:{}", base_->name()); }

 private:
  /// Above so many experts a table of pairs a row is too much to copy for every beam: counts without context then.
  static constexpr std::uint32_t kLargestJoined = 32;
  /// How many counts of the example weigh as much as the profile does.
  static constexpr float kStrength = 32.0F;

  [[nodiscard]] std::size_t row_size() const { return std::size_t{depth_} * layers_ * contexts_ * experts_; }
  [[nodiscard]] std::span<std::uint16_t> context(std::size_t sequence, std::uint64_t path, std::uint32_t layer,
                                                 std::uint32_t depth) {
    const std::uint64_t last = contexts_ == 1 ? 0 : path & ((std::uint64_t{1} << bits_) - 1);
    const std::size_t place = ((std::size_t{depth - 1} * layers_ + layer) * contexts_ + last) * experts_;
    return std::span(counts_).subspan(sequence * row_size() + place, experts_);
  }

  std::unique_ptr<Predictor> base_;
  std::uint32_t layers_;
  std::uint32_t experts_;
  std::uint32_t contexts_;
  std::uint32_t depth_;
  std::uint32_t bits_;
  Histories histories_;
  std::vector<std::uint16_t> counts_;  ///< [rows, depth, layers, contexts, E]
  std::vector<std::uint16_t> spare_;
  std::vector<RankedExpert> ranked_;  ///< [E]: scratch of rank
};

}  // namespace

SharedTables::Tables SharedTables::get(std::uint32_t order, std::uint32_t depth, const Profile& profile) {
  if (tables_ != nullptr && order == order_ && depth == depth_ && profile_ == &profile) return tables_;
  std::vector<SmoothedTable> tables;
  for (std::uint32_t d = 1; d <= depth; ++d) {
    for (std::uint32_t layer = 0; layer < profile.layers(); ++layer) {
      tables.emplace_back(history_table(profile, layer, order, d));
    }
  }
  order_ = order;
  depth_ = depth;
  profile_ = &profile;
  return tables_ = std::make_shared<const std::vector<SmoothedTable>>(std::move(tables));
}

std::unique_ptr<Predictor> make_backoff_predictor(std::string_view name, const PredictorOptions& options,
                                                  const Profile& profile) {
  SharedTables own;
  SharedTables& shared = options.shared != nullptr ? *options.shared : own;
  auto backoff =
      std::make_unique<BackoffPredictor>(options.context, shared.get(options.context, options.depth, profile), profile);
  if (name == "backoff") return backoff;
  return std::make_unique<OnlinePredictor>(std::move(backoff), options.depth, profile);
}

}  // namespace flame::routing
