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
/// Errors of forecasts fall to half their weight after about 3,500 experts looked at.
constexpr double kForget = 0.9998;

}  // namespace

Outlook::Outlook(const ExpertGrid& grid, std::span<const float> popularity)
    : grid_(grid),
      usage_(grid.size(), 1.0 / std::max(1U, grid.experts)),
      latest_(grid.layers()),
      used_now_(grid.experts),
      coming_(grid.layers()),
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
  look_around();
}

void Outlook::begin_example() {
  if (visits_ > 0) expected_visits_ += (static_cast<double>(visits_) - expected_visits_) / 4.0;
  visits_ = 0;
  position_ = -1;
  latest_.assign(grid_.layers(), 0);
  for (std::vector<std::uint8_t>& made : made_) made.assign(grid_.layers(), 0);
  look_around();
}

void Outlook::visit(LayerIndex layer, std::span<const ExpertIndex> used) {
  const bool decoder = layer >= grid_.encoder_layers;
  position_ = layer;
  if (decoder) ++visits_;
  std::fill(used_now_.begin(), used_now_.end(), std::uint8_t{0});
  for (const ExpertIndex expert : used) used_now_[grid_.number_of(expert)] = 1;
  double* const usage = usage_.data() + grid_.expert(layer, 0);
  for (std::uint32_t depth = 0; depth < kDepths; ++depth) {
    if (made_[depth][layer] == 0) continue;
    const float* const forecast = forecast_[depth].data() + grid_.expert(layer, 0);
    for (std::uint32_t number = 0; depth == 0 && number < grid_.experts; ++number) {
      const double truth = used_now_[number];
      const double error = calibration_[0].corrected(forecast[number]) - truth;
      forecast_error_ = forecast_error_ * kForget + error * error;
      const double usage_error = usage_calibration_.corrected(usage[number]) - truth;
      usage_error_ = usage_error_ * kForget + usage_error * usage_error;
    }
    for (std::uint32_t number = 0; number < grid_.experts; ++number) {
      calibration_[depth].observe(forecast[number], used_now_[number] != 0);
    }
    calibration_[depth].settle();
    made_[depth][layer] = 0;
  }
  const double rate = decoder ? kDecoderUsageRate : kEncoderUsageRate;
  for (std::uint32_t number = 0; number < grid_.experts; ++number) {
    if (decoder) usage_calibration_.observe(usage[number], used_now_[number] != 0);
    usage[number] += (static_cast<double>(used_now_[number]) - usage[number]) * rate;
  }
  usage_calibration_.settle();
  latest_[layer] = 0;
  look_around();
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

std::uint32_t Outlook::distance_from_here(LayerIndex layer) const {
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

void Outlook::look_around() {
  for (LayerIndex layer = 0; layer < grid_.layers(); ++layer) {
    const double period = layer >= grid_.encoder_layers ? static_cast<double>(grid_.decoder_layers)
                                                        : expected_visits_ + grid_.encoder_layers;
    Coming& coming = coming_[layer];
    coming.distance = distance_from_here(layer);
    const double first = coming.distance;
    coming.first = 1.0 / first;
    coming.second = 1.0 / (first + period);
  }
}

}  // namespace flame::experts
