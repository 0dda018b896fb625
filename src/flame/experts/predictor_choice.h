#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "flame/experts/buffer_options.h"
#include "flame/experts/expert_grid.h"
#include "flame/experts/forecaster.h"
#include "flame/routing/profile.h"

namespace flame::experts {

/// What the name of a predictor stands for in a buffer.
struct PredictorChoice {
  std::string predictor;  ///< a name of routing::make_predictor; empty: nothing is predicted
  Replacement replacement = Replacement::kNextUse;
};

/// "auto" is the best that `profile` has the data for: mix-hidden or mix where they were fitted, else cepr; nothing
/// where there is no profile (null). "none" is nothing; "lru" and "lifo" are those replacements with nothing predicted.
[[nodiscard]] PredictorChoice choose_predictor(const std::string& name, Replacement replacement,
                                               const routing::Profile* profile);

/// [experts of the grid]: the share of its layer's tokens that took each expert while profiling.
[[nodiscard]] std::vector<float> popularity_of(const routing::Profile& profile, const ExpertGrid& grid);

/// `asked` (BufferOptions::context) itself, be it more than the profile counted; not given: 3, or what it counted.
[[nodiscard]] std::uint32_t context_of(std::optional<std::uint32_t> asked, const routing::Profile& profile);

/// A predictor that tells three layers ahead apart, or as many as the profile counted.
/// Throws UsageError as routing::make_predictor does. `context`: as BufferOptions.
[[nodiscard]] std::shared_ptr<routing::Predictor> make_predictor(const std::string& name,
                                                                 std::optional<std::uint32_t> context,
                                                                 std::uint64_t seed, const routing::Profile& profile);
/// The forecaster that asks such a predictor, as far ahead as it has more to say than usage does.
[[nodiscard]] std::unique_ptr<Forecaster> make_forecaster(std::shared_ptr<routing::Predictor> predictor,
                                                          const routing::Profile& profile, const ExpertGrid& grid);

}  // namespace flame::experts
