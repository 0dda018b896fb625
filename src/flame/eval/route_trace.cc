#include "flame/eval/route_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "flame/base/error.h"
#include "flame/experts/predictor_choice.h"
#include "flame/routing/fit.h"
#include "flame/routing/predictor.h"

namespace flame::eval {
namespace {

bool has_states(const routing::Trace& trace) {
  return !trace.decoder.hidden.empty() || !trace.decoder.approach.empty();
}

/// Throws UsageError when a predictor of hidden states cannot be shown them: `lacking`, or wider than the model's.
void require_visible(const std::string& predictor, bool lacking, const routing::Trace& trace,
                     const routing::TraceInfo& model) {
  if (lacking) {
    throw UsageError(
        fmt::format("--predictor {}: looks at hidden states, which the routing trace does not have: make it with "
                    "flame trace --hidden, or name mix or cepr",
                    predictor));
  }
  if (trace.info.d_model > model.d_model) {
    throw UsageError(
        fmt::format("--predictor {}: the routing trace's hidden states are of {} numbers, which cannot be shown as "
                    "states of {}, of {}: name mix or cepr, or give a trace of a model that is no wider",
                    predictor, trace.info.d_model, model.model, model.d_model));
  }
}

/// The same for a predictor whose profile is given.
void require_visible(const std::string& asked, const routing::Profile& profile, const routing::Trace& trace,
                     const routing::TraceInfo& model) {
  const std::string name = experts::choose_predictor(asked, experts::Replacement::kNextUse, &profile).predictor;
  if (!looks_at_states(name)) return;
  const auto predictor = routing::make_predictor(name, {.context = 1, .depth = 1}, profile);
  const bool lacking = (predictor->needs_hidden() && trace.decoder.hidden.empty()) ||
                       (predictor->needs_approach() && trace.decoder.approach.empty());
  require_visible(asked == name ? name : fmt::format("{} (here {})", asked, name), lacking, trace, model);
}

/// What the predictor asks for, fitted to `counted`: a mapped trace whose states are as wide as the trace's, `own`.
routing::Fitted fit_for(const std::string& predictor, routing::Trace counted, std::uint32_t own,
                        const routing::Profile& profile) {
  const std::uint32_t width = profile.model().d_model;
  if (own > width) counted.decoder.hidden = counted.decoder.approach = {};
  counted.info.d_model = own;
  const std::uint32_t depth = std::min(routing::kFittedDepth, counted.info.decoder_layers);
  routing::Fitted fitted;
  if (predictor == "lookahead") {
    fitted.maps = routing::fit_maps(counted, false, depth);
  } else if (predictor == "pre-attention") {
    fitted.approach = routing::fit_maps(counted, true, depth);
  } else if (predictor == "auto" || routing::is_mixture(predictor)) {
    fitted = routing::fit(counted, profile.options(), routing::fitted_context(profile.options()), {});
  }
  routing::widen_maps(fitted, width);
  return fitted;
}

}  // namespace

bool looks_at_states(std::string_view predictor) { return predictor == "auto" || routing::may_need_states(predictor); }

RoutedRun route_as(const routing::Trace& trace, const RouteRequest& request) {
  const std::size_t examples = routing::examples_of(trace.decoder).size();
  if (examples < 2) throw UsageError("--route-trace: half of the examples is profiled, so two are needed");
  routing::TraceInfo model = request.model;
  model.model = fmt::format("{}{}{}", model.model, kRoutedAs, trace.info.model);
  model.checksum.clear();
  model.data = trace.info.data;
  model.decoding = trace.info.decoding;
  RoutedRun routed;
  if (request.profile != nullptr) {
    require_visible(request.predictor, *request.profile, trace, request.model);
  } else if (request.predictor == "next-router") {
    throw UsageError(
        "--predictor next-router: applies the routers of the model that is traced, which a trace does not hold: name "
        "lookahead, whose maps are fitted to the same states, or, where the trace is this model's own, give --profile "
        "of flame profile --fit --model");
  } else {
    const std::string& name = request.predictor;
    if (name == "lookahead") require_visible(name, trace.decoder.hidden.empty(), trace, request.model);
    if (name == "pre-attention") require_visible(name, trace.decoder.approach.empty(), trace, request.model);
    if (name == "mix-hidden") require_visible(name, !has_states(trace), trace, request.model);
    if (name == "auto" && has_states(trace) && trace.info.d_model > model.d_model) {
      routed.warnings.push_back(
          fmt::format("--route-trace: the trace's hidden states are of {} numbers, those of {} of {}: they are not "
                      "shown, and --predictor auto is mix",
                      trace.info.d_model, request.model.model, model.d_model));
    }
    const routing::Trace counted = map_trace(trace, model, 0, examples / 2);
    routed.profile.emplace(model, routing::fitting_options({}, model.experts));
    routed.profile->add(counted);
    routed.profile->set_fitted(fit_for(name, counted, trace.info.d_model, *routed.profile));
  }
  routed.run = std::make_shared<const routing::Trace>(map_trace(trace, model, examples / 2, examples));
  return routed;
}

routing::Trace map_trace(const routing::Trace& trace, const routing::TraceInfo& model, std::size_t first,
                         std::size_t end) {
  routing::Trace mapped;
  mapped.info = model;
  const auto map_stack = [&](const routing::StackTrace& from, std::uint32_t layers, routing::StackTrace& to) {
    to.layers = layers;
    const std::size_t width = trace.info.d_model;
    const auto copy_state = [&](const std::vector<BFloat16>& states, std::size_t at, std::vector<BFloat16>& copy) {
      if (states.empty()) return;
      const auto state = states.begin() + static_cast<std::ptrdiff_t>(at * width);
      copy.insert(copy.end(), state, state + static_cast<std::ptrdiff_t>(width));
    };
    const std::vector<routing::StepRange> examples = routing::examples_of(from);
    for (std::size_t example = first; example < std::min(end, examples.size()); ++example) {
      for (std::size_t step = examples[example].first; step < examples[example].end; ++step) {
        to.token.push_back(static_cast<std::int32_t>(static_cast<std::uint32_t>(from.token[step]) % model.vocabulary));
        to.example.push_back(static_cast<std::int32_t>(example - first));
        for (std::uint32_t layer = 0; layer < layers; ++layer) {
          const std::size_t at = step * from.layers + std::size_t{layer} * from.layers / layers;
          to.experts.push_back(static_cast<std::uint16_t>(from.experts[at] % model.experts));
          to.probability.push_back(from.probability[at]);
          if (!from.dropped.empty()) to.dropped.push_back(from.dropped[at]);
          copy_state(from.hidden, at, to.hidden);
          copy_state(from.approach, at, to.approach);
        }
      }
    }
  };
  map_stack(trace.encoder, model.encoder_layers, mapped.encoder);
  map_stack(trace.decoder, model.decoder_layers, mapped.decoder);
  return mapped;
}

}  // namespace flame::eval
