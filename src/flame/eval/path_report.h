#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>

#include "flame/base/json.h"
#include "flame/routing/profile.h"

namespace flame::eval {

/// Decoder MoE layers, the conditioning one first.
using LayerPair = std::pair<std::uint32_t, std::uint32_t>;

/// What `flame profile --show` prints: the path statistics, each layer's popularity, and the heat map of `pair`
/// (default: the first two layers, where there are two). Throws UsageError for a pair that does not exist.
[[nodiscard]] std::string path_report_text(const routing::Profile& profile, std::optional<LayerPair> pair);
[[nodiscard]] Json path_report_json(const routing::Profile& profile, std::optional<LayerPair> pair);

}  // namespace flame::eval
