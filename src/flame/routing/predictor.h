#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flame/base/matrix_view.h"

namespace flame::routing {

class Profile;
class SharedTables;

/// One expert of a ranking: how likely the router is to choose it.
struct RankedExpert {
  std::uint16_t expert = 0;
  float probability = 0.0F;
  friend bool operator==(const RankedExpert&, const RankedExpert&) = default;
};

/// What a predictor costs a device that carries it.
struct PredictorCost {
  std::size_t device_bytes = 0;  ///< index storage as a whole table (docs/routing.md, "Index storage")
  std::size_t seen_bytes = 0;    ///< the same predictions stored for the contexts seen only, each with its key
  double operations = 0.0;       ///< table look-ups, additions and multiplications for one prediction
};

/// Predicts which experts the decoder's coming MoE layers activate. Every batch row (sequence, beam) has a history of
/// its own. Layers are the decoder's MoE layers counted from 0; the last is followed by layer 0 of the next token.
///
/// Call order: begin; then for every decode step feed, and for every layer in order [approach] [hidden] observe (one
/// call a sequence). rank may be called at any time between. Any call may be left out for a predictor that says by its
/// needs_…() that it does not listen. One thread drives a predictor. No call but begin allocates (reorder only when
/// rows become more than ever before).
class Predictor {
 public:
  virtual ~Predictor() = default;

  /// `sequences` new examples start: all histories are empty.
  virtual void begin(std::size_t sequences) = 0;

  /// Row i goes on from what was row parents[i]. parents.size() is the new number of rows.
  virtual void reorder(std::span<const std::uint32_t> parents) = 0;

  /// The decoder's input tokens of the coming step, one a row.
  virtual void feed(std::span<const std::int32_t> tokens);

  /// [rows, d_model]: the residual stream at the input of the block that holds `layer`, before its attention.
  virtual void approach(std::uint32_t layer, MatrixView<const float> hidden);

  /// [rows, d_model]: the normed input of `layer`'s router.
  virtual void hidden(std::uint32_t layer, MatrixView<const float> hidden);

  /// The router of `layer` chose `expert` for row `sequence`.
  virtual void observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) = 0;

  /// The experts that `layer`, the next of its number to come, will most likely activate for row `sequence`: the first
  /// out.size() of the ranking, best first. How far ahead that is follows from what has been observed; as many layers
  /// as PredictorOptions::depth says are told apart, further ones are ranked by popularity. Returns the number written:
  /// less than out.size() only when that is above the number of experts, or for predictors of mere reuse (lru, lifo,
  /// belady), which name only experts they have met. Probabilities of a full ranking sum to 1.
  /// Never allocates. Logically const.
  virtual std::size_t rank(std::size_t sequence, std::uint32_t layer, std::span<RankedExpert> out) = 0;

  /// A number for what rank() goes by for that row and layer: as long as it is the same, since begin or reorder, rank()
  /// says the same. None where whoever keeps rankings has to ask anew after each call of another method.
  [[nodiscard]] virtual std::optional<std::uint64_t> grounds(std::size_t sequence, std::uint32_t layer) const;

  /// For the bounds `oracle` and `belady`: the experts that row `sequence` will observe from now on, in order.
  /// The span must live until the next begin.
  virtual void foresee(std::size_t sequence, std::span<const std::uint16_t> future);

  /// False where RankedExpert::probability is 0 because there is no estimate (lru, lifo, belady).
  [[nodiscard]] virtual bool has_probabilities() const { return true; }

  [[nodiscard]] virtual bool needs_approach() const { return false; }
  [[nodiscard]] virtual bool needs_hidden() const { return false; }
  [[nodiscard]] virtual bool needs_future() const { return false; }

  /// Cost of a device that is to be told the k best experts of the next layer.
  [[nodiscard]] virtual PredictorCost cost(std::size_t k) const = 0;

  /// The name make_predictor knows it by, with its order where it has one: "cepr(3)".
  [[nodiscard]] virtual std::string name() const = 0;
};

struct PredictorOptions {
  std::uint32_t context = 3;  ///< m: experts of history looked at (those that has_order)
  std::uint32_t depth = 3;    ///< the furthest layer ahead that is told apart, 1 to farthest_depth()
  std::size_t bytes = 0;      ///< room for the tables of `token`; 0: no limit
  std::uint32_t entries = 2;  ///< k: experts kept a context, where `bytes` limits how many contexts there are
  std::uint64_t seed = 1;     ///< of `random`
  /// Of the parts of a mixture, which need not keep the same tables twice; null: each predictor has its own.
  SharedTables* shared = nullptr;
};

/// Every name that make_predictor takes, the paper's first.
[[nodiscard]] std::span<const std::string_view> predictor_names();

/// Those of them that is_causal.
[[nodiscard]] std::vector<std::string_view> causal_predictor_names();

/// What follows is false for names that make_predictor does not take.
///
/// True for the predictors that a program may use while decoding; false for the bounds `oracle` and `belady`.
[[nodiscard]] bool is_causal(std::string_view name);

/// True for those whose accuracy depends on PredictorOptions::context.
[[nodiscard]] bool has_order(std::string_view name);

/// True for the log-linear mixtures of others: mix and mix-hidden.
[[nodiscard]] bool is_mixture(std::string_view name);

/// True for those that may run while decoding and say how likely each expert is (Predictor::has_probabilities).
[[nodiscard]] bool says_probabilities(std::string_view name);

/// True for those that need hidden states with some profile (Predictor::needs_approach, needs_hidden).
[[nodiscard]] bool may_need_states(std::string_view name);

/// False for those that rank a layer alike however far ahead it is asked for: popularity, random, previous-token, lru,
/// lifo and belady.
[[nodiscard]] bool counts_layers_ahead(std::string_view name);

/// The furthest layer ahead that predictor `name` can tell apart: as far as contexts are counted, for those that go by
/// them; as far as maps of hidden states were fitted, for those that apply them; for those that go by the token or the
/// future, kFittedDepth; for mixtures, as far as any of their parts.
[[nodiscard]] std::uint32_t farthest_depth(std::string_view name, const Profile& profile);

/// Builds predictor `name` from a profile. The profile is only read here, not kept.
/// Throws UsageError for an unknown name, an order or depth beyond what the profile counted, or a predictor whose
/// fitted part (lookahead, pre-attention, mix) the profile does not have, saying which command adds it.
[[nodiscard]] std::unique_ptr<Predictor> make_predictor(std::string_view name, const PredictorOptions& options,
                                                        const Profile& profile);

}  // namespace flame::routing
