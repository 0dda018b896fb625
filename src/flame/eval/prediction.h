#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "flame/base/json.h"
#include "flame/eval/bootstrap.h"
#include "flame/routing/predictor.h"
#include "flame/routing/profile.h"
#include "flame/routing/trace.h"

namespace flame::eval {

/// What to measure. Empty lists: every predictor the profile and the trace have data for, m = 1 … the profile's
/// largest.
struct PredictionRequest {
  std::vector<std::string> predictors;
  std::vector<std::uint32_t> orders;        ///< m, of predictors that have one
  std::vector<std::uint32_t> depths = {1};  ///< layers ahead
  std::vector<std::uint32_t> ranks;         ///< k; empty: 1 … E
  std::vector<std::size_t> budgets;         ///< bytes; `token` is also measured within each
  bool skip_overlapping = false;            ///< leave out examples that the profile counted, instead of refusing
  Bootstrap bootstrap{.samples = 1000};     ///< samples 0: no intervals
};

/// Accuracy of one predictor at one m, depth and k.
struct PredictionResult {
  std::string predictor;
  std::uint32_t m = 0;  ///< 0 for predictors without an order
  std::uint32_t depth = 1;
  std::uint32_t k = 1;
  std::size_t budget = 0;       ///< bytes it was held to; 0: no limit
  std::uint64_t positions = 0;  ///< predictions made: those whose layer is `depth` ahead of a point of the same example
  std::uint64_t correct = 0;    ///< whose expert was among the first k
  std::vector<std::uint64_t> layer_positions;  ///< [L]
  std::vector<std::uint64_t> layer_correct;    ///< [L]
  Interval accuracy;                           ///< correct / positions, with its interval over redrawn examples
  double promised = 0.0;                       ///< mean probability given to the first k; 0 without probabilities
  double log_loss = 0.0;  ///< mean of -ln P(true expert); the same for every k; 0 without probabilities
  bool has_probabilities = true;
  bool needs_states = false;    ///< reads hidden states; its bytes are weights then, not only tables
  routing::PredictorCost cost;  ///< for this k
};

/// A predictor that cannot tell so many layers ahead apart: scored, it would be popularity under its name.
struct BeyondReach {
  std::string predictor;
  std::uint32_t depth = 0;     ///< asked for
  std::uint32_t farthest = 0;  ///< that it has, with this profile and model
};

struct PredictionReport {
  std::vector<PredictionResult> results;
  std::vector<BeyondReach> beyond;  ///< left out of the results
  std::size_t examples = 0;         ///< scored
  std::size_t overlapping = 0;      ///< left out, because the profile counted them
  std::uint64_t steps = 0;
};

/// Replays the decoder trace through each predictor, as far ahead as it tells layers apart. Throws UsageError when the
/// trace is of another model than the profile, when the profile counted examples of the trace (unless
/// skip_overlapping), when no predictor looks as far as any of the depths, and as make_predictor.
/// `progress` is told the share that is done.
[[nodiscard]] PredictionReport evaluate_prediction(const routing::Trace& trace, const routing::Profile& profile,
                                                   const PredictionRequest& request,
                                                   const std::function<void(double done)>& progress = {});

/// The predictors that can be built and fed: those whose fitted part the profile has and whose states the trace has.
[[nodiscard]] std::vector<std::string> available_predictors(const routing::Trace& trace,
                                                            const routing::Profile& profile);

/// True for predictors that PredictionRequest::budgets hold to a size, beside measuring them without a limit.
[[nodiscard]] bool takes_budget(std::string_view name);

/// The best of a kind within a number of bytes.
struct StorageRow {
  std::size_t bytes = 0;
  std::uint32_t k = 1;
  const PredictionResult* cepr = nullptr;  ///< null: none that small
  const PredictionResult* incremental = nullptr;
  const PredictionResult* table = nullptr;  ///< of all that need no hidden states
  const PredictionResult* best = nullptr;   ///< of all that may run while decoding
};

/// "Accuracy at equal index storage", at depth 1: for each of `bytes` and k the best that fits, by its dense table or
/// by its seen contexts, whichever is smaller. Pointers into `report`.
[[nodiscard]] std::vector<StorageRow> equal_storage(const PredictionReport& report,
                                                    const std::vector<std::size_t>& bytes,
                                                    const std::vector<std::uint32_t>& ranks);

/// The report for people: accuracy by k for every predictor, at each of `depths`; with `layers`, also by layer at k
/// = 1.
[[nodiscard]] std::string prediction_table(const PredictionReport& report, const std::vector<std::uint32_t>& depths,
                                           bool layers);
/// equal_storage() for people, at k = 1 and 2.
[[nodiscard]] std::string storage_table(const PredictionReport& report, const std::vector<std::size_t>& bytes);

/// {"results": [{"predictor", "m", "k", "depth", "positions", "correct", "accuracy", "per_layer", …}],
/// "beyond_reach": [{"predictor", "depth", "farthest"}], …}
[[nodiscard]] Json to_json(const PredictionReport& report);

}  // namespace flame::eval
