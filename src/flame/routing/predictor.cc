#include "flame/routing/predictor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "flame/base/error.h"
#include "flame/routing/predictor_parts.h"
#include "flame/routing/profile.h"

namespace flame::routing {
namespace {

using Factory = std::unique_ptr<Predictor> (*)(std::string_view, const PredictorOptions&, const Profile&);

/// What a predictor is, and how it is made.
struct Entry {
  std::string_view name;
  Factory make;
  bool causal = true;         ///< else a bound, which knows the future
  bool ordered = false;       ///< goes by PredictorOptions::context
  bool probabilities = true;  ///< Predictor::has_probabilities
  bool counts_ahead = true;   ///< what it says of a layer depends on how far ahead it is
  bool states = false;        ///< may need hidden states
  bool mixture = false;       ///< of others
};

constexpr std::array<Entry, 19> kPredictors = {{
    {.name = "cepr", .make = make_table_predictor, .ordered = true},
    {.name = "incremental", .make = make_table_predictor, .ordered = true},
    {.name = "popularity", .make = make_table_predictor, .counts_ahead = false},
    {.name = "random", .make = make_plain_predictor, .counts_ahead = false},
    {.name = "previous-token", .make = make_plain_predictor, .counts_ahead = false},
    {.name = "edgemoe", .make = make_table_predictor},
    {.name = "lru", .make = make_reuse_predictor, .probabilities = false, .counts_ahead = false},
    {.name = "lifo", .make = make_reuse_predictor, .probabilities = false, .counts_ahead = false},
    {.name = "oracle", .make = make_reuse_predictor, .causal = false},
    {.name = "belady", .make = make_reuse_predictor, .causal = false, .probabilities = false, .counts_ahead = false},
    {.name = "backoff", .make = make_backoff_predictor, .ordered = true},
    {.name = "token", .make = make_token_predictor},
    {.name = "token-path", .make = make_token_predictor},
    {.name = "online", .make = make_backoff_predictor, .ordered = true},
    {.name = "next-router", .make = make_linear_predictor, .states = true},
    {.name = "lookahead", .make = make_linear_predictor, .states = true},
    {.name = "pre-attention", .make = make_linear_predictor, .states = true},
    {.name = "mix", .make = make_mix_predictor, .mixture = true},
    {.name = "mix-hidden", .make = make_mix_predictor, .states = true, .mixture = true},
}};

/// Null for a name that is none of theirs.
const Entry* find(std::string_view name) {
  const auto* const entry = std::find_if(kPredictors.begin(), kPredictors.end(),
                                         [&](const Entry& candidate) { return candidate.name == name; });
  return entry == kPredictors.end() ? nullptr : entry;
}

bool is(std::string_view name, bool Entry::*what) {
  const Entry* const entry = find(name);
  return entry != nullptr && entry->*what;
}

constexpr auto kNames = [] {
  std::array<std::string_view, kPredictors.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kPredictors[i].name;
  return names;
}();

}  // namespace

void Predictor::feed(std::span<const std::int32_t> /*tokens*/) {}
void Predictor::approach(std::uint32_t /*layer*/, MatrixView<const float> /*hidden*/) {}
void Predictor::hidden(std::uint32_t /*layer*/, MatrixView<const float> /*hidden*/) {}
std::optional<std::uint64_t> Predictor::grounds(std::size_t /*sequence*/, std::uint32_t /*layer*/) const {
  return std::nullopt;
}
void Predictor::foresee(std::size_t /*sequence*/, std::span<const std::uint16_t> /*future*/) {}

std::span<const std::string_view> predictor_names() { return kNames; }

std::vector<std::string_view> causal_predictor_names() {
  std::vector<std::string_view> names;
  for (const std::string_view name : kNames) {
    if (is_causal(name)) names.push_back(name);
  }
  return names;
}

bool is_mixture(std::string_view name) { return is(name, &Entry::mixture); }
bool is_causal(std::string_view name) { return is(name, &Entry::causal); }
bool has_order(std::string_view name) { return is(name, &Entry::ordered); }
bool counts_layers_ahead(std::string_view name) { return is(name, &Entry::counts_ahead); }
bool may_need_states(std::string_view name) { return is(name, &Entry::states); }
bool says_probabilities(std::string_view name) { return is_causal(name) && is(name, &Entry::probabilities); }

namespace {

/// As far as maps of states reach, whose nearest is `nearest` layers from the state's own. Without maps as far as there
/// could be any: what is missing is said when the predictor is made.
std::uint32_t farthest_of(const std::vector<LinearMap>& maps, std::uint32_t nearest) {
  std::uint32_t farthest = 0;
  for (const LinearMap& map : maps) farthest = std::max(farthest, map.depth + 1 - nearest);
  return maps.empty() ? kFittedDepth : farthest;
}

/// As far as the part that reaches farthest.
std::uint32_t farthest_of(const Mixture& mixture, const Profile& profile) {
  std::uint32_t farthest = 1;
  for (const std::string& part : mixture.parts) {
    if (!is_mixture(part)) farthest = std::max(farthest, farthest_depth(part, profile));
  }
  return farthest;
}

}  // namespace

std::uint32_t farthest_depth(std::string_view name, const Profile& profile) {
  const Fitted& fitted = profile.fitted();
  if (name == "token" || name == "token-path" || name == "oracle") return kFittedDepth;
  if (name == "next-router") return farthest_of(fitted.router, 1);
  if (name == "lookahead") return farthest_of(fitted.maps, 1);
  if (name == "pre-attention") return farthest_of(fitted.approach, 0);
  if (!is_mixture(name)) return profile.options().max_depth;
  const auto mixture = std::find_if(fitted.mixtures.begin(), fitted.mixtures.end(),
                                    [&](const Mixture& candidate) { return candidate.name == name; });
  return mixture == fitted.mixtures.end() ? kFittedDepth : farthest_of(*mixture, profile);
}

std::size_t dense_bytes(double contexts, std::size_t k, std::uint32_t expert_bits) {
  return static_cast<std::size_t>(std::ceil(contexts * static_cast<double>(k * expert_bits) / 8));
}

std::unique_ptr<Predictor> make_predictor(std::string_view name, const PredictorOptions& options,
                                          const Profile& profile) {
  const Entry* const entry = find(name);
  if (entry == nullptr) {
    throw UsageError(fmt::format("unknown predictor \"{}\"; there are {}", name, fmt::join(kNames, ", ")));
  }
  const ProfileOptions& counted = profile.options();
  if (has_order(name) && options.context > counted.max_order) {
    throw UsageError(fmt::format("{}: a context of {} experts is asked for, the profile counted contexts up to {}",
                                 name, options.context, counted.max_order));
  }
  if (name == "edgemoe" && counted.max_order < 2) {
    throw UsageError("edgemoe: it looks at two layers, the profile counted contexts of one");
  }
  const std::uint32_t farthest = farthest_depth(name, profile);
  if (options.depth == 0 || options.depth > farthest) {
    throw UsageError(fmt::format("{}: layers 1 to {} ahead can be predicted with this profile, not {}", name, farthest,
                                 options.depth));
  }
  return entry->make(name, options, profile);
}

}  // namespace flame::routing
