#include "flame/experts/outlook.h"

#include <algorithm>
#include <cmath>

namespace flame::experts {
namespace {

/// A pass counts so much in an expert's usage. A decoder layer is passed at every token, an encoder layer once a text.
constexpr double kDecoderUsageRate = 1.0 / 128.0;
constexpr double kEncoderUsageRate = 1.0 / 4.0;
/// Tokens that a first encoder pass is taken to have.
constexpr double kExpectedTokens = 64.0;
/// Before the first example has ended, examples are taken to have so many decoder steps.
constexpr double kExpectedSteps = 32.0;
constexpr double kLeastUsage = 1e-6;
/// Errors of forecasts fall to half their weight after about 3,500 experts looked at.
constexpr double kForget = 0.9998;

}  // namespace

Outlook::Outlook(const ExpertGrid& grid, std::span<const float> popularity)
    : grid_(grid),
      usage_(grid.size(), 1.0 / std::max(1U, grid.experts)),
      latest_(grid.layers()),
      used_now_(grid.experts),
      expected_visits_(kExpectedSteps * grid.decoder_layers) {
  assert(popularity.empty() || popularity.size() == usage_.size());
  std::copy(popularity.begin(), popularity.end(), usage_.begin());
  for (std::uint32_t depth = 0; depth < kDepths; ++depth) {
    forecast_[depth].resize(grid.size());
    made_[depth].resize(grid.layers());
  }
  // Popularity is the share of tokens; an encoder pass has many, and wants an expert when one of them does.
  const std::size_t encoder_experts = std::size_t{grid.encoder_layers} * grid.experts;
  for (std::size_t i = 0; i < encoder_experts; ++i) {
    usage_[i] = 1.0 - std::pow(1.0 - std::clamp(usage_[i], 0.0, 1.0), kExpectedTokens);
  }
}

void Outlook::begin_example() {
  if (visits_ > 0) expected_visits_ += (static_cast<double>(visits_) - expected_visits_) / 4.0;
  visits_ = 0;
  position_ = -1;
  latest_.assign(grid_.layers(), 0);
  for (std::vector<std::uint8_t>& made : made_) made.assign(grid_.layers(), 0);
}

void Outlook::visit(LayerIndex layer, std::span<const ExpertIndex> used) {
  position_ = layer;
  if (layer >= grid_.encoder_layers) ++visits_;
  const double rate = layer >= grid_.encoder_layers ? kDecoderUsageRate : kEncoderUsageRate;
  used_now_.assign(grid_.experts, false);
  for (const ExpertIndex expert : used) used_now_[grid_.number_of(expert)] = true;
  for (std::uint32_t number = 0; number < grid_.experts; ++number) {
    const ExpertIndex expert = grid_.expert(layer, number);
    const double truth = used_now_[number] ? 1.0 : 0.0;
    if (made_[0][layer] != 0) {
      const double forecast = calibration_[0].corrected(forecast_[0][expert]);
      forecast_error_ = forecast_error_ * kForget + (forecast - truth) * (forecast - truth);
      const double usage = usage_calibration_.corrected(usage_[expert]);
      usage_error_ = usage_error_ * kForget + (usage - truth) * (usage - truth);
    }
    if (layer >= grid_.encoder_layers) usage_calibration_.observe(usage_[expert], used_now_[number]);
    for (std::uint32_t depth = 0; depth < kDepths; ++depth) {
      if (made_[depth][layer] != 0) calibration_[depth].observe(forecast_[depth][expert], used_now_[number]);
    }
    usage_[expert] += (truth - usage_[expert]) * rate;
  }
  latest_[layer] = 0;
  for (std::vector<std::uint8_t>& made : made_) made[layer] = 0;
}

void Outlook::forecast(LayerIndex layer, std::span<const float> probabilities) {
  const std::uint32_t ahead = std::min(distance(layer), kDepths);
  std::copy(probabilities.begin(), probabilities.end(),
            forecast_[ahead - 1].begin() + static_cast<std::ptrdiff_t>(grid_.expert(layer, 0)));
  made_[ahead - 1][layer] = 1;
  latest_[layer] = static_cast<std::uint8_t>(ahead);
}

double Outlook::remaining_decoder_visits() const {
  // An example that has outlived the mean goes on for some while yet: a quarter of it, by experience with summaries.
  return std::max(expected_visits_ - static_cast<double>(visits_), expected_visits_ / 4.0);
}

std::uint32_t Outlook::distance(LayerIndex layer) const {
  const auto encoder = static_cast<std::int64_t>(grid_.encoder_layers);
  const auto decoder = static_cast<std::int64_t>(grid_.decoder_layers);
  const auto target = static_cast<std::int64_t>(layer);
  if (target > position_) return static_cast<std::uint32_t>(target - position_);
  if (target >= encoder) {  // the same decoder layer at the next token, or one before it
    return static_cast<std::uint32_t>(target - position_ + decoder);
  }
  // An encoder layer that has passed: next used in the next example.
  const double rest = remaining_decoder_visits() + static_cast<double>(std::max<std::int64_t>(0, encoder - position_));
  return static_cast<std::uint32_t>(std::lround(rest) + target + 1);
}

LayerIndex Outlook::layer_ahead(std::uint32_t ahead) const {
  const std::int64_t next = position_ + static_cast<std::int64_t>(ahead);
  if (next < static_cast<std::int64_t>(grid_.layers())) return static_cast<LayerIndex>(next);
  if (grid_.decoder_layers == 0) return static_cast<LayerIndex>(next % std::max(1U, grid_.layers()));
  return grid_.encoder_layers + static_cast<LayerIndex>((next - grid_.encoder_layers) % grid_.decoder_layers);
}

double Outlook::probability(ExpertIndex expert) const {
  const LayerIndex layer = grid_.layer_of(expert);
  const std::uint8_t ahead = latest_[layer];
  if (layer < grid_.encoder_layers) return usage_[expert];
  if (ahead == 0 || !believes_forecasts()) return usage_calibration_.corrected(usage_[expert]);
  return calibration_[ahead - 1].corrected(forecast_[ahead - 1][expert]);
}

double Outlook::next_use(ExpertIndex expert) const {
  const LayerIndex layer = grid_.layer_of(expert);
  const double first = distance(layer);
  const double period = layer >= grid_.encoder_layers ? static_cast<double>(grid_.decoder_layers)
                                                      : expected_visits_ + grid_.encoder_layers;
  // Uses a visit that the slot is held: at the layer's next visit, else at the one after it. Its inverse is a time.
  const double used = probability(expert);
  const double rate = used / first + (1.0 - used) * usage_[expert] / (first + period);
  return 1.0 / std::max(rate, kLeastUsage);
}

}  // namespace flame::experts
