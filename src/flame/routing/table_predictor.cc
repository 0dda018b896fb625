// The predictors that look one context up in a table: CEPR, incremental prediction, EdgeMoE's dictionary, popularity.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "flame/routing/context_table.h"
#include "flame/routing/history.h"
#include "flame/routing/predictor_parts.h"

namespace flame::routing {
namespace {

enum class Kind : std::uint8_t { kCepr, kIncremental, kEdgeMoe, kPopularity };

class TablePredictor final : public Predictor {
 public:
  TablePredictor(Kind kind, std::uint32_t order, std::uint32_t depth, const Profile& profile)
      : kind_(kind),
        order_(order),
        layers_(profile.layers()),
        bits_(profile.expert_bits()),
        experts_(profile.experts()),
        histories_(profile.layers(), profile.expert_bits()) {
    for (std::uint32_t d = 1; d <= depth; ++d) {
      for (std::uint32_t layer = 0; layer < layers_; ++layer) {
        tables_.push_back(kind == Kind::kEdgeMoe ? edgemoe_table(profile, layer, d)
                                                 : history_table(profile, layer, order, d));
        tables_.back().work_out_rankings();
      }
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
    const std::uint32_t depth = histories_.depth(row, layer);
    const std::size_t table = std::size_t{depth - 1} * layers_ + layer;
    if (table >= tables_.size()) return tables_[layer].rank(0, 0, out);
    return tables_[table].rank(row.path, level(row, layer), out);
  }

  [[nodiscard]] PredictorCost cost(std::size_t k) const override {
    double contexts = 0.0;
    double seen_bits = 0.0;
    for (std::uint32_t layer = 0; layer < layers_; ++layer) {
      const std::uint32_t order = longest(layer);
      contexts += std::pow(experts_, order);
      for (std::uint32_t level = 0; level <= std::min(order, tables_[layer].levels() - 1); ++level) {
        const std::uint32_t key_bits = tables_[layer].width(level);
        seen_bits += static_cast<double>(tables_[layer].seen(level)) * static_cast<double>(key_bits + k * bits_);
      }
    }
    return {dense_bytes(contexts, k, bits_), static_cast<std::size_t>(std::ceil(seen_bits / 8)), 1.0};
  }

  [[nodiscard]] std::string name() const override {
    switch (kind_) {
      case Kind::kCepr:
        return fmt::format("cepr({})", order_);
      case Kind::kIncremental:
        return fmt::format("incremental({})", order_);
      case Kind::kEdgeMoe:
        return "edgemoe";
      case Kind::kPopularity:
        break;
    }
    return "popularity";
  }

 private:
  /// Contexts of exactly two experts: levels 0 and 1, without the order 1 that cepr would back off to.
  static ContextTable edgemoe_table(const Profile& profile, std::uint32_t layer, std::uint32_t depth) {
    const std::vector<ContextCount> levels[] = {profile.contexts(layer, 0), profile.contexts(layer, 2, depth)};
    return {profile.experts(), {0, 2 * profile.expert_bits()}, levels};
  }

  /// The longest context that `layer` can have.
  [[nodiscard]] std::uint32_t longest(std::uint32_t layer) const {
    switch (kind_) {
      case Kind::kCepr:
        return order_;
      case Kind::kIncremental:
        return std::min(order_, layer);
      case Kind::kEdgeMoe:
        return layer < 2 ? 0 : 2;
      case Kind::kPopularity:
        break;
    }
    return 0;
  }

  /// The table level of the longest context that is known.
  [[nodiscard]] std::uint32_t level(const RowHistory& row, std::uint32_t layer) const {
    switch (kind_) {
      case Kind::kCepr:
        return std::min(order_, row.known);
      case Kind::kIncremental:
        return std::min(order_, Histories::known_of_token(row, layer));
      case Kind::kEdgeMoe:
        return Histories::known_of_token(row, layer) >= 2 ? 1 : 0;
      case Kind::kPopularity:
        break;
    }
    return 0;
  }

  Kind kind_;
  std::uint32_t order_;
  std::uint32_t layers_;
  std::uint32_t bits_;
  std::uint32_t experts_;
  Histories histories_;
  std::vector<ContextTable> tables_;  ///< [depth, layers]
};

}  // namespace

std::unique_ptr<Predictor> make_table_predictor(std::string_view name, const PredictorOptions& options,
                                                const Profile& profile) {
  if (name == "cepr") {
    return std::make_unique<TablePredictor>(Kind::kCepr, options.context, options.depth, profile);
  }
  if (name == "incremental") {
    return std::make_unique<TablePredictor>(Kind::kIncremental, options.context, options.depth, profile);
  }
  if (name == "edgemoe") return std::make_unique<TablePredictor>(Kind::kEdgeMoe, 2U, options.depth, profile);
  return std::make_unique<TablePredictor>(Kind::kPopularity, 0U, 1U, profile);
}

}  // namespace flame::routing
