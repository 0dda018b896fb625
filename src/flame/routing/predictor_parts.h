#pragma once

// What make_predictor chooses among; one function a kind of predictor, defined in the file of its name.
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "flame/routing/predictor.h"
#include "flame/routing/profile.h"
#include "flame/routing/smoothed_table.h"

namespace flame::routing {

/// Tables that predictors of one profile may go by together: [depth, layers], smoothed counts of contexts of up to
/// `order` experts.
class SharedTables {
 public:
  using Tables = std::shared_ptr<const std::vector<SmoothedTable>>;
  /// Of the same order, depth and profile as in the call before: the same tables.
  [[nodiscard]] Tables get(std::uint32_t order, std::uint32_t depth, const Profile& profile);

 private:
  std::uint32_t order_ = 0;
  std::uint32_t depth_ = 0;
  const Profile* profile_ = nullptr;
  Tables tables_;
};

/// cepr, incremental, edgemoe and popularity (table_predictor.cc).
[[nodiscard]] std::unique_ptr<Predictor> make_table_predictor(std::string_view name, const PredictorOptions& options,
                                                              const Profile& profile);
/// previous-token and random (plain_predictors.cc).
[[nodiscard]] std::unique_ptr<Predictor> make_plain_predictor(std::string_view name, const PredictorOptions& options,
                                                              const Profile& profile);
/// lru, lifo, belady and oracle (reuse_predictors.cc).
[[nodiscard]] std::unique_ptr<Predictor> make_reuse_predictor(std::string_view name, const PredictorOptions& options,
                                                              const Profile& profile);
/// token and token-path (token_predictor.cc).
[[nodiscard]] std::unique_ptr<Predictor> make_token_predictor(std::string_view name, const PredictorOptions& options,
                                                              const Profile& profile);
/// backoff and online (backoff_predictor.cc).
[[nodiscard]] std::unique_ptr<Predictor> make_backoff_predictor(std::string_view name, const PredictorOptions& options,
                                                                const Profile& profile);
/// lookahead, next-router and pre-attention (linear_predictor.cc).
[[nodiscard]] std::unique_ptr<Predictor> make_linear_predictor(std::string_view name, const PredictorOptions& options,
                                                               const Profile& profile);
/// mix and mix-hidden (mix_predictor.cc).
[[nodiscard]] std::unique_ptr<Predictor> make_mix_predictor(std::string_view name, const PredictorOptions& options,
                                                            const Profile& profile);

/// Bytes of a dense table: `contexts` of `k` entries of `expert_bits` bits each.
[[nodiscard]] std::size_t dense_bytes(double contexts, std::size_t k, std::uint32_t expert_bits);

}  // namespace flame::routing
