#include "flame/experts/predictor_choice.h"

#include <algorithm>
#include <utility>

namespace flame::experts {
PredictorChoice choose_predictor(const std::string& name, Replacement replacement, const routing::Profile* profile) {
  if (name == "auto" && profile == nullptr) return {"", replacement};
  if (name == "auto") {
    for (const char* best : {"mix-hidden", "mix"}) {
      for (const routing::Mixture& mixture : profile->fitted().mixtures) {
        if (mixture.name == best && !mixture.parts.empty()) return {best, replacement};
      }
    }
    return {"cepr", replacement};
  }
  if (name == "none") return {"", replacement};
  if (name == "lru") return {"", Replacement::kLru};
  if (name == "lifo") return {"", Replacement::kLifo};
  return {name, replacement};
}

std::vector<float> popularity_of(const routing::Profile& profile, const ExpertGrid& grid) {
  std::vector<float> popularity(grid.size());
  for (LayerIndex layer = 0; layer < grid.layers(); ++layer) {
    std::vector<std::uint64_t> counts;
    if (layer < grid.encoder_layers) {
      const std::span<const std::uint64_t> encoder = profile.encoder_popularity(layer);
      counts.assign(encoder.begin(), encoder.end());
    } else {
      counts = profile.popularity(layer - grid.encoder_layers);
    }
    double total = 0.0;
    for (const std::uint64_t count : counts) total += static_cast<double>(count);
    for (std::uint32_t number = 0; number < grid.experts; ++number) {
      const double share = total > 0.0 ? static_cast<double>(counts[number]) / total : 1.0 / grid.experts;
      popularity[grid.expert(layer, number)] = static_cast<float>(share);
    }
  }
  return popularity;
}

std::uint32_t context_of(std::optional<std::uint32_t> asked, const routing::Profile& profile) {
  return asked ? *asked : std::min(routing::PredictorOptions{}.context, profile.options().max_order);
}

std::shared_ptr<routing::Predictor> make_predictor(const std::string& name, std::optional<std::uint32_t> context,
                                                   std::uint64_t seed, const routing::Profile& profile) {
  routing::PredictorOptions options;
  options.context = context_of(context, profile);
  options.depth = routing::farthest_depth(name, profile);
  options.seed = seed;
  return routing::make_predictor(name, options, profile);
}

std::unique_ptr<Forecaster> make_forecaster(std::shared_ptr<routing::Predictor> predictor,
                                            const routing::Profile& profile, const ExpertGrid& grid) {
  const std::uint32_t depth = std::min(Outlook::kDepths, routing::farthest_depth(predictor->name(), profile));
  return std::make_unique<Forecaster>(std::move(predictor), grid, depth);
}

}  // namespace flame::experts
