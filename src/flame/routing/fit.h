#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "flame/routing/fitted.h"
#include "flame/routing/profile.h"
#include "flame/routing/trace.h"

namespace flame::model {
struct DenseWeights;
}

namespace flame::routing {

/// Linear maps from the states of layer l to the experts of the layers up to `depth` positions on: ridge regression to
/// one-hot experts, refined by multinomial logistic regression (which ranks far better where experts are many to one
/// direction, and whose probabilities can be believed). Empty when the trace has no such states.
/// `approach`: from the input of each MoE layer's block, to that very layer and those after it; otherwise from the
/// routers' inputs, to the layers after.
[[nodiscard]] std::vector<LinearMap> fit_maps(const Trace& trace, bool approach, std::uint32_t depth);

/// The routers of the decoder's MoE layers, as maps to be applied to the states one to `depth` layers before.
[[nodiscard]] std::vector<LinearMap> router_maps(const model::DenseWeights& weights, std::uint32_t depth);

/// Weights of a mixture of `parts` under which the held-out examples are most likely (a conditional logit: convex,
/// solved by Newton's method), one set for every layer and depth. The profile must not have counted those examples.
[[nodiscard]] Mixture fit_mixture(std::string name, std::vector<std::string> parts, std::uint32_t context,
                                  std::uint32_t depth, const Profile& profile, const Trace& held_out);

/// The same maps for states of `width` numbers, of which those beyond the maps' own are zeros. Throws UsageError for
/// less than the maps' own width.
void widen_maps(Fitted& fitted, std::size_t width);

/// The order of the mixtures' parts where none is asked for: longer contexts tell little more, and tables that are
/// looked up by the context grow by E an order.
[[nodiscard]] inline std::uint32_t fitted_context(const ProfileOptions& options) {
  return options.max_order < 4 ? options.max_order : 4;
}

/// Everything that can be fitted to a trace: maps where it has hidden states, and both mixtures. The weights of
/// mixtures are fitted on every fifth example, with tables and maps made of the others; the maps that are kept are of
/// all. `context`: the order of the mixtures' parts. `routers`: what next-router is to apply, where at hand.
[[nodiscard]] Fitted fit(const Trace& trace, const ProfileOptions& options, std::uint32_t context,
                         std::vector<LinearMap> routers);

}  // namespace flame::routing
