#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flame/routing/profile.h"
#include "flame/routing/trace.h"

namespace flame::eval {

/// Stands in the name of a profile's model between that of the model and that of the trace's.
inline constexpr std::string_view kRoutedAs = " routed as ";

/// A model that is to be routed as a trace's model was (routing::ForcedRouting has the rule), and what is to predict
/// it.
struct RouteRequest {
  routing::TraceInfo model;  ///< its name and sizes; checksum, data and decoding are not looked at
  std::string predictor;     ///< as BufferOptions names it
  /// A profile of the model that is given; null: one is made of the trace.
  const routing::Profile* profile = nullptr;
};

/// What a run that is routed so needs.
struct RoutedRun {
  std::shared_ptr<const routing::Trace> run;  ///< the second half of the trace's examples, mapped to the model
  /// Counted over the first half, fitted as far as the predictor asks; none where one is given.
  std::optional<routing::Profile> profile;
  std::vector<std::string> warnings;
};

/// True for the predictors that are, or may be, shown the trace's hidden states: it has to be read with them.
[[nodiscard]] bool looks_at_states(std::string_view predictor);

/// Throws UsageError when the trace has fewer than two examples, or not the hidden states that the predictor looks at,
/// or wider ones than the model's, which it cannot be shown; and for next-router without a profile, as a trace does not
/// hold the routers that it applies. "auto" is fitted without states that the trace does not have, or has too wide
/// (with a warning); a profile that is given has settled what it is already, and that is held to the same as by its own
/// name.
[[nodiscard]] RoutedRun route_as(const routing::Trace& trace, const RouteRequest& request);

/// A trace as ForcedRouting maps it onto a model of these sizes: what to profile for forced runs. Examples [first,
/// end). Hidden states stay as wide as the trace's.
[[nodiscard]] routing::Trace map_trace(const routing::Trace& trace, const routing::TraceInfo& model, std::size_t first,
                                       std::size_t end);

}  // namespace flame::eval
