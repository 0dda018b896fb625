#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "flame/routing/fitted.h"
#include "flame/routing/history.h"
#include "flame/routing/predictor.h"
#include "flame/routing/profile.h"

namespace flame::routing {

/// log P(e) = sum over parts of weight[layer][depth][part] * log P_part(e), normalised.
class MixPredictor final : public Predictor {
 public:
  /// Layers without an entry in `weights` take all parts alike, depths without one those of the depth before.
  MixPredictor(std::string name, std::vector<std::unique_ptr<Predictor>> parts, const std::vector<MixWeights>& weights,
               std::uint32_t depth, const Profile& profile);

  void begin(std::size_t sequences) override;
  void reorder(std::span<const std::uint32_t> parents) override;
  void feed(std::span<const std::int32_t> tokens) override;
  void approach(std::uint32_t layer, MatrixView<const float> hidden) override;
  void hidden(std::uint32_t layer, MatrixView<const float> hidden) override;
  void observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) override;
  std::size_t rank(std::size_t sequence, std::uint32_t layer, std::span<RankedExpert> out) override;
  [[nodiscard]] bool needs_approach() const override;
  [[nodiscard]] bool needs_hidden() const override;
  [[nodiscard]] PredictorCost cost(std::size_t k) const override;
  [[nodiscard]] std::string name() const override { return name_; }

  /// [parts, E]: log P_part(e), what the weights are fitted to. Lives until the next call of another method.
  [[nodiscard]] std::span<const float> features(std::size_t sequence, std::uint32_t layer);

 private:
  static constexpr float kSmallest = 1e-6F;  ///< probabilities below it count as it: no part can rule an expert out

  /// Parts are asked again only for what they have heard of since (a block's input changes nothing for those that go by
  /// tokens and experts), and only where they go by something else then.
  void forget_rows(std::size_t rows);
  void forget_those_that(bool (Predictor::*listen)() const);

  std::string name_;
  std::vector<std::unique_ptr<Predictor>> parts_;
  std::uint32_t layers_;
  std::uint32_t depth_;
  Histories histories_;
  std::vector<float> weights_;                         ///< [depth, layers, parts]
  std::vector<float> features_;                        ///< [rows, layers, parts, E]
  std::vector<std::uint8_t> known_;                    ///< [rows, layers, parts]: its features are up to date
  std::vector<std::optional<std::uint64_t>> grounds_;  ///< [rows, layers, parts]: of its features
  std::vector<float> score_;                           ///< [E]: scratch
  std::vector<RankedExpert> ranked_;                   ///< [E]: scratch
};

/// The predictors of those names with contexts of order `context`.
[[nodiscard]] std::vector<std::unique_ptr<Predictor>> make_parts(std::span<const std::string> names,
                                                                 std::uint32_t context, std::uint32_t depth,
                                                                 const Profile& profile);

}  // namespace flame::routing
