// Log-linear mixtures of other predictors, with weights by layer and depth from held-out examples.
#include "flame/routing/mix_predictor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "flame/base/error.h"
#include "flame/routing/predictor_parts.h"
#include "flame/routing/smoothed_table.h"

namespace flame::routing {

MixPredictor::MixPredictor(std::string name, std::vector<std::unique_ptr<Predictor>> parts,
                           const std::vector<MixWeights>& weights, std::uint32_t depth, const Profile& profile)
    : name_(std::move(name)),
      parts_(std::move(parts)),
      layers_(profile.layers()),
      depth_(depth),
      histories_(profile.layers(), profile.expert_bits()),
      weights_(std::size_t{depth} * layers_ * parts_.size(), 1.0F / static_cast<float>(parts_.size())),
      score_(profile.experts()),
      ranked_(profile.experts()) {
  const std::size_t row = std::size_t{layers_} * parts_.size();
  for (std::uint32_t d = 1; d <= depth; ++d) {
    const auto place = weights_.begin() + static_cast<std::ptrdiff_t>((d - 1) * row);
    if (d > 1) std::copy_n(place - static_cast<std::ptrdiff_t>(row), row, place);
    for (const MixWeights& entry : weights) {
      if (entry.depth != d) continue;
      std::copy(entry.weight.begin(), entry.weight.end(),
                place + static_cast<std::ptrdiff_t>(entry.layer * parts_.size()));
    }
  }
}

void MixPredictor::forget_rows(std::size_t rows) {
  known_.assign(rows * layers_ * parts_.size(), 0);
  grounds_.assign(known_.size(), std::nullopt);
  features_.resize(known_.size() * score_.size());
}

void MixPredictor::forget_those_that(bool (Predictor::*listen)() const) {
  for (std::size_t part = 0; part < parts_.size(); ++part) {
    if (!(*parts_[part].*listen)()) continue;
    for (std::size_t i = part; i < known_.size(); i += parts_.size()) known_[i] = 0;
  }
}

void MixPredictor::begin(std::size_t sequences) {
  forget_rows(sequences);
  histories_.begin(sequences);
  for (const auto& part : parts_) part->begin(sequences);
}

void MixPredictor::reorder(std::span<const std::uint32_t> parents) {
  forget_rows(parents.size());
  histories_.reorder(parents);
  for (const auto& part : parts_) part->reorder(parents);
}

void MixPredictor::feed(std::span<const std::int32_t> tokens) {
  std::fill(known_.begin(), known_.end(), std::uint8_t{0});
  histories_.feed(tokens);
  for (const auto& part : parts_) part->feed(tokens);
}

void MixPredictor::approach(std::uint32_t layer, MatrixView<const float> hidden) {
  for (const auto& part : parts_) part->approach(layer, hidden);
  forget_those_that(&Predictor::needs_approach);
}

void MixPredictor::hidden(std::uint32_t layer, MatrixView<const float> hidden) {
  for (const auto& part : parts_) part->hidden(layer, hidden);
  forget_those_that(&Predictor::needs_hidden);
}

void MixPredictor::observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) {
  histories_.observe(sequence, layer, expert);
  for (const auto& part : parts_) part->observe(sequence, layer, expert);
  const std::size_t each = layers_ * parts_.size();
  std::fill_n(known_.begin() + static_cast<std::ptrdiff_t>(sequence * each), each, std::uint8_t{0});
}

std::span<const float> MixPredictor::features(std::size_t sequence, std::uint32_t layer) {
  const std::size_t experts = score_.size();
  const std::size_t first = (sequence * layers_ + layer) * parts_.size();
  const std::span<float> features = std::span(features_).subspan(first * experts, parts_.size() * experts);
  for (std::size_t part = 0; part < parts_.size(); ++part) {
    if (known_[first + part] != 0) continue;
    known_[first + part] = 1;
    const std::optional<std::uint64_t> grounds = parts_[part]->grounds(sequence, layer);
    const bool same = grounds && grounds == grounds_[first + part];
    grounds_[first + part] = grounds;
    if (same) continue;
    parts_[part]->rank(sequence, layer, ranked_);
    for (const RankedExpert& candidate : ranked_) {
      features[part * experts + candidate.expert] = std::log(std::max(candidate.probability, kSmallest));
    }
  }
  return features;
}

std::size_t MixPredictor::rank(std::size_t sequence, std::uint32_t layer, std::span<RankedExpert> out) {
  const std::uint32_t depth = std::min(histories_.depth(histories_.row(sequence), layer), depth_);
  const float* const weight = weights_.data() + (std::size_t{depth - 1} * layers_ + layer) * parts_.size();
  const std::span<const float> feature = features(sequence, layer);
  const std::size_t experts = score_.size();
  std::fill(score_.begin(), score_.end(), 0.0F);
  for (std::size_t part = 0; part < parts_.size(); ++part) {
    for (std::size_t expert = 0; expert < experts; ++expert) {
      score_[expert] += weight[part] * feature[part * experts + expert];
    }
  }
  const float highest = *std::max_element(score_.begin(), score_.end());
  float sum = 0.0F;
  for (float& value : score_) sum += value = std::exp(value - highest);
  for (float& value : score_) value /= sum;
  return rank_distribution(score_, out);
}

bool MixPredictor::needs_approach() const {
  return std::any_of(parts_.begin(), parts_.end(), [](const auto& part) { return part->needs_approach(); });
}

bool MixPredictor::needs_hidden() const {
  return std::any_of(parts_.begin(), parts_.end(), [](const auto& part) { return part->needs_hidden(); });
}

PredictorCost MixPredictor::cost(std::size_t /*k*/) const {
  PredictorCost cost{weights_.size() * 2, weights_.size() * 2, 0.0};
  for (const auto& part : parts_) {
    // The mixture needs each part's whole distribution: all experts, and a byte for each probability.
    const PredictorCost one = part->cost(score_.size());
    cost.device_bytes += one.device_bytes;
    cost.seen_bytes += one.seen_bytes;
    cost.operations += one.operations + static_cast<double>(score_.size());
  }
  return cost;
}

std::vector<std::unique_ptr<Predictor>> make_parts(std::span<const std::string> names, std::uint32_t context,
                                                   std::uint32_t depth, const Profile& profile) {
  std::vector<std::unique_ptr<Predictor>> parts;
  SharedTables shared;
  for (const std::string& part : names) {
    if (is_mixture(part)) throw UsageError("a mixture cannot be a part of a mixture");
    const std::uint32_t part_depth = std::min(depth, farthest_depth(part, profile));
    parts.push_back(make_predictor(part, {.context = context, .depth = part_depth, .shared = &shared}, profile));
  }
  return parts;
}

namespace {

/// The mixture's weights for up to `depth` layers ahead. Beyond those that were fitted a layer's deepest hold, but only
/// for parts that reach so far (the others say what is popular, of which nobody has weighed anything), and these count
/// for all.
std::vector<MixWeights> weights_to(std::uint32_t depth, const Mixture& mixture, const Profile& profile) {
  std::vector<MixWeights> weights = mixture.weights;
  for (std::uint32_t layer = 0; layer < profile.layers(); ++layer) {
    // Without any weights all parts count alike, as they do for MixPredictor.
    const std::size_t parts = mixture.parts.size();
    MixWeights deepest{layer, 0, std::vector<float>(parts, 1.0F / static_cast<float>(parts))};
    for (const MixWeights& entry : mixture.weights) {
      if (entry.layer == layer && entry.depth >= deepest.depth) deepest = entry;
    }
    for (std::uint32_t d = deepest.depth + 1; d <= depth; ++d) {
      MixWeights further{layer, d, deepest.weight};
      float all = 0.0F;
      float left = 0.0F;
      for (std::size_t part = 0; part < parts; ++part) {
        all += std::abs(further.weight[part]);
        if (farthest_depth(mixture.parts[part], profile) < d) further.weight[part] = 0.0F;
        left += std::abs(further.weight[part]);
      }
      if (left == 0.0F) break;
      for (float& weight : further.weight) weight *= all / left;
      weights.push_back(std::move(further));
    }
  }
  return weights;
}

}  // namespace

std::unique_ptr<Predictor> make_mix_predictor(std::string_view name, const PredictorOptions& options,
                                              const Profile& profile) {
  for (const Mixture& mixture : profile.fitted().mixtures) {
    if (mixture.name != name || mixture.parts.empty()) continue;
    return std::make_unique<MixPredictor>(mixture.name,
                                          make_parts(mixture.parts, mixture.context, options.depth, profile),
                                          weights_to(options.depth, mixture, profile), options.depth, profile);
  }
  throw UsageError(fmt::format("{}: the profile has no weights for it; run flame profile --fit{}", name,
                               name == "mix-hidden" ? " on traces made with --hidden" : ""));
}

}  // namespace flame::routing
