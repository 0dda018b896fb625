#include "flame/experts/outlook.h"

#include <algorithm>
#include <array>
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
/// Promises to one expert fall to half their weight after about 140 visits of its layer; it is believed until what it
/// was promised in vain amounts to some uses.
constexpr double kForgetKept = 0.995;
constexpr double kTrustInExpert = 4.0;
/// Visits after the next one that are looked at for when an expert is used.
constexpr std::size_t kLaterVisits = 8;
/// Errors of forecasts fall to half their weight after about 3,500 experts looked at.
constexpr double kForget = 0.9998;

}  // namespace

Outlook::Outlook(const ExpertGrid& grid, std::span<const float> popularity)
    : grid_(grid),
      layer_of_(grid.size()),
      usage_(grid.size(), 1.0 / std::max(1U, grid.experts)),
      latest_(grid.layers()),
      kept_(grid.size()),
      used_now_(grid.experts),
      distance_(grid.layers()),
      worth_(grid.size()),
      looked_at_(grid.layers()),
      expected_visits_(kExpectedSteps * grid.decoder_layers) {
  for (ExpertIndex expert = 0; expert < grid.size(); ++expert) layer_of_[expert] = grid.layer_of(expert);
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
      const double promised = calibration_[0].corrected(forecast[number]);
      Kept& kept = kept_[grid_.expert(layer, number)];
      const double error = promised * kept.ratio - truth;
      kept.promised = kept.promised * kForgetKept + promised;
      kept.used = kept.used * kForgetKept + truth;
      kept.ratio = std::min(1.0, (kept.used + kTrustInExpert) / (kept.promised + kTrustInExpert));
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

std::span<float> Outlook::forecast(LayerIndex layer) {
  const std::uint32_t ahead = std::min(distance(layer), kDepths);
  made_[ahead - 1][layer] = 1;
  latest_[layer] = static_cast<std::uint8_t>(ahead);
  looked_at_[layer] = 0;
  return std::span(forecast_[ahead - 1]).subspan(grid_.expert(layer, 0), grid_.experts);
}

void Outlook::put_together(LayerIndex layer) const {
  looked_at_[layer] = 1;
  const ExpertIndex first = grid_.expert(layer, 0);
  const double* const usage = usage_.data() + first;
  const double distance = distance_[layer];
  const double period = layer >= grid_.encoder_layers ? static_cast<double>(grid_.decoder_layers)
                                                      : expected_visits_ + grid_.encoder_layers;
  const double first_visit = 1.0 / distance;
  std::array<double, kLaterVisits> later_visit = {};
  for (std::size_t visit = 0; visit < kLaterVisits; ++visit) {
    later_visit[visit] = 1.0 / (distance + static_cast<double>(visit + 1) * period);
  }
  Worth* const worth = worth_.data() + first;
  const auto put = [&](const auto& probability) {
    for (std::uint32_t number = 0; number < grid_.experts; ++number) {
      const double used = probability(number);
      // At the layer's next visit, else at one after it. An expert that is not used next is used some time: one that is
      // looked no farther for seems worth less than those of the encoder, though it is used sooner.
      double rate = used * first_visit;
      double left = 1.0 - used;
      for (const double visit : later_visit) {
        rate += left * usage[number] * visit;
        left *= 1.0 - usage[number];
      }
      worth[number] = {used, rate};
    }
  };
  const std::uint32_t ahead = latest_[layer];
  if (layer < grid_.encoder_layers) {
    put([&](std::uint32_t number) { return usage[number]; });
  } else if (ahead == 0 || !believes_forecasts()) {
    put([&](std::uint32_t number) { return usage_calibration_.corrected(usage[number]); });
  } else {
    const Calibration& calibration = calibration_[ahead - 1];
    const float* const forecast = forecast_[ahead - 1].data() + first;
    const Kept* const kept = kept_.data() + first;
    put([&](std::uint32_t number) { return calibration.corrected(forecast[number]) * kept[number].ratio; });
  }
}

double Outlook::remaining_decoder_visits() const {
  // An example that has outlived the mean goes on for some while yet: a quarter of it, by experience with summaries.
  return std::max(expected_visits_ - static_cast<double>(visits_), expected_visits_ / 4.0);
}

LayerIndex Outlook::layer_ahead(std::uint32_t ahead) const {
  auto next = static_cast<LayerIndex>(position_ + static_cast<std::int64_t>(ahead));
  const std::uint32_t around = grid_.decoder_layers > 0 ? grid_.decoder_layers : std::max(1U, grid_.layers());
  while (next >= grid_.layers()) next -= around;
  return next;
}

void Outlook::look_around() {
  forget_worth();
  const auto encoder = static_cast<std::int64_t>(grid_.encoder_layers);
  // An encoder layer that has passed: next used in the next example.
  const double rest = remaining_decoder_visits() + static_cast<double>(std::max<std::int64_t>(0, encoder - position_));
  const std::int64_t next_example = std::lround(rest) + 1;
  for (LayerIndex layer = 0; layer < grid_.layers(); ++layer) {
    std::int64_t visits = static_cast<std::int64_t>(layer) - position_;
    if (visits <= 0) {
      // The same decoder layer at the next token, or one before it.
      visits = layer >= grid_.encoder_layers ? visits + static_cast<std::int64_t>(grid_.decoder_layers)
                                             : next_example + static_cast<std::int64_t>(layer);
    }
    distance_[layer] = static_cast<std::uint32_t>(visits);
  }
}

}  // namespace flame::experts
