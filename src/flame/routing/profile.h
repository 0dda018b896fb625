#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "flame/routing/fitted.h"
#include "flame/routing/flat_counter.h"
#include "flame/routing/trace.h"

namespace flame::routing {

/// What a profile counts. Profiles merge only when these are equal.
struct ProfileOptions {
  std::uint32_t max_order = 6;    ///< longest context m of cepr and incremental
  std::uint32_t max_depth = 3;    ///< furthest layer ahead
  std::uint32_t token_order = 1;  ///< experts of history that are joined to the fed token in a context: 0 or 1
  friend bool operator==(const ProfileOptions&, const ProfileOptions&) = default;
};

/// The options nearest to `wanted` that a context key of 64 bits has room for, with `experts` in each layer.
[[nodiscard]] ProfileOptions fitting_options(ProfileOptions wanted, std::uint32_t experts);

/// `count` times `expert` followed `context`: the experts before it, ceil(log2 E) bits each, the nearest in the lowest.
struct ContextCount {
  std::uint64_t context = 0;
  std::uint16_t expert = 0;
  std::uint64_t count = 0;
  friend bool operator==(const ContextCount&, const ContextCount&) = default;
};

/// `count` times `expert` was activated while `token` was fed, after `context` (0 at order 0).
struct TokenCount {
  std::int32_t token = 0;
  std::uint64_t context = 0;
  std::uint16_t expert = 0;
  std::uint64_t count = 0;
  friend bool operator==(const TokenCount&, const TokenCount&) = default;
};

/// Counts of a set of traced examples: all that any predictor's tables and the path statistics are made from. Only
/// counts are kept, and only of the longest contexts: shorter ones are sums of them. So profiles of parts add up to
/// exactly the profile of the whole, in any order. Memory is bounded by the contexts seen.
class Profile {
 public:
  /// Most pairs of experts, E * E in each decoder layer, that are counted: 512 MiB.
  static constexpr std::uint64_t kMaximumPairs = std::uint64_t{1} << 26;

  /// An empty profile for traces of the model that `model` describes (data and decoding are not looked at).
  /// Throws UsageError when the options do not fit 64-bit keys, or the model has more than kMaximumPairs.
  Profile(const TraceInfo& model, const ProfileOptions& options);

  /// Counts every example of the trace. Throws UsageError when it comes from another model, or when all
  /// its examples have been counted or it has all that were.
  void add(const Trace& trace);

  /// Adds the counts of `other`, and forgets fitted(), which belongs to the parts. Throws UsageError when the models or
  /// the options differ, or when all examples of one are in the other already.
  void merge(const Profile& other);

  /// Versioned JSON, checked (docs/routing.md). Throws FileError or FormatError.
  [[nodiscard]] static Profile read(const std::filesystem::path& path);
  [[nodiscard]] static Profile parse(const std::string& text, const std::filesystem::path& name);
  [[nodiscard]] std::string to_json() const;
  /// Writes to a temporary name and renames.
  void write(const std::filesystem::path& path) const;

  /// Throws UsageError when the profile was made from another model: another shape, or other weights. An empty checksum
  /// on either side compares shapes only.
  void require_model(const TraceInfo& model) const;

  /// How many of the examples are among the profile's own.
  [[nodiscard]] std::size_t overlap(std::span<const std::uint64_t> fingerprints) const;
  [[nodiscard]] bool contains(std::uint64_t fingerprint) const;

  [[nodiscard]] const TraceInfo& model() const { return model_; }
  [[nodiscard]] const ProfileOptions& options() const { return options_; }
  [[nodiscard]] std::uint32_t experts() const { return model_.experts; }
  [[nodiscard]] std::uint32_t layers() const { return model_.decoder_layers; }
  [[nodiscard]] std::uint32_t expert_bits() const { return bits_; }  ///< ceil(log2 E)
  [[nodiscard]] std::uint64_t steps() const { return steps_; }       ///< decoder steps counted
  [[nodiscard]] std::size_t examples() const { return fingerprints_.size(); }

  /// [E]: how often each expert of a decoder (encoder) layer was activated.
  [[nodiscard]] std::vector<std::uint64_t> popularity(std::uint32_t layer) const;
  [[nodiscard]] std::span<const std::uint64_t> encoder_popularity(std::uint32_t layer) const;

  /// How often an expert of `layer` followed each context of `order` experts that ends `depth` positions before it on
  /// the circular path; sorted by context, then expert. Positions with a shorter history are not counted. order <=
  /// max_order, 1 <= depth <= max_depth.
  [[nodiscard]] std::vector<ContextCount> contexts(std::uint32_t layer, std::uint32_t order,
                                                   std::uint32_t depth = 1) const;

  /// The same with the fed token joined to the context; order <= token_order, depth 1.
  [[nodiscard]] std::vector<TokenCount> tokens(std::uint32_t layer, std::uint32_t order) const;

  /// [E, E]: how often the row's expert was followed by the column's at the next token in the same layer.
  [[nodiscard]] std::span<const std::uint64_t> previous_token(std::uint32_t layer) const;

  /// The per-token paths, [L] experts each, and how many tokens took them.
  [[nodiscard]] const std::map<std::vector<std::uint16_t>, std::uint64_t>& paths() const { return paths_; }

  /// What has been learned beyond counting, if anything has.
  [[nodiscard]] const Fitted& fitted() const { return fitted_; }
  void set_fitted(Fitted fitted) { fitted_ = std::move(fitted); }

 private:
  friend class ProfileJson;

  void add_fingerprints(const std::vector<std::uint64_t>& sorted);
  void add_example(const StackTrace& stack, StepRange steps);

  TraceInfo model_;
  ProfileOptions options_;
  std::uint32_t bits_ = 0;
  std::uint32_t history_ = 0;  ///< longest context kept: max_order + max_depth - 1
  std::uint64_t steps_ = 0;
  std::vector<std::uint64_t> fingerprints_;  ///< sorted, an example that came twice is in it twice
  std::vector<FlatCounter> contexts_;        ///< [layers, history + 1 lengths]: context << bits | expert
  std::vector<FlatCounter> tokens_;          ///< [layers, token_order + 1 lengths]: token, context, expert
  std::vector<std::uint64_t> previous_;      ///< [layers, E, E]
  std::vector<std::uint64_t> encoder_;       ///< [encoder layers, E]
  std::map<std::vector<std::uint16_t>, std::uint64_t> paths_;
  Fitted fitted_;
};

}  // namespace flame::routing
