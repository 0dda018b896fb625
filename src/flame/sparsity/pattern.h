#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "flame/model/moe_device.h"

namespace flame::sparsity {

/// N:M sparsity of a weight matrix W[out][in]: of every m consecutive weights of one row, n are kept.
/// Valid when 1 <= n <= m <= 16. n == m keeps everything: a dense matrix.
struct Pattern {
  std::uint8_t n = 1;
  std::uint8_t m = 1;

  [[nodiscard]] constexpr bool dense() const { return n == m; }
  /// The share of the weights that is removed, for example 0.75 for 1:4.
  [[nodiscard]] constexpr double sparsity() const { return 1.0 - static_cast<double>(n) / static_cast<double>(m); }
  /// ceil(log2 m): bits of the position of one kept weight within its group. 0 when dense: nothing is to be said then.
  [[nodiscard]] std::size_t index_bits() const;
  /// "2:4"; a dense pattern is "1:1", "4:4", ….
  [[nodiscard]] std::string to_string() const;

  friend constexpr bool operator==(Pattern, Pattern) = default;
};

/// Reads "N:M", or "dense" for 1:1. UsageError quoting `text` when it is neither, or not 1 <= N <= M <= 16.
[[nodiscard]] Pattern parse_pattern(std::string_view text);

/// Which pattern each MoE layer gets. A layer's own entry wins over its stack's, and that over the one for all.
class LayerPatterns {
 public:
  LayerPatterns() = default;
  /// Every layer of both stacks gets `pattern`.
  explicit LayerPatterns(Pattern pattern) : all_(pattern) {}

  /// Reads a comma-separated list of entries "N:M" (every layer), "encoder=N:M" or "decoder=N:M" (every MoE layer of a
  /// stack) and "decoder.L=N:M" (MoE layer L of a stack, counted from 0 over its sparse layers, not over its blocks).
  /// UsageError naming the entry that cannot be read or comes twice.
  [[nodiscard]] static LayerPatterns parse(std::string_view text);

  /// Nothing when the list does not speak of this layer: it stays as it is.
  [[nodiscard]] std::optional<Pattern> of(model::MoeLayer layer) const;

  /// The same for what is in no MoE layer: a tensor of a stack, or (nothing) of neither.
  [[nodiscard]] std::optional<Pattern> outside_layers(std::optional<model::Stack> stack) const;

  /// Throws UsageError when an entry names a MoE layer that a model with these numbers of MoE layers does not have.
  void check(std::size_t encoder_layers, std::size_t decoder_layers) const;

  /// The list in canonical form, which parse() reads back: "2:4,decoder=1:4,decoder.3=2:8".
  [[nodiscard]] std::string to_string() const;

  friend bool operator==(const LayerPatterns&, const LayerPatterns&) = default;

 private:
  std::optional<Pattern> all_;
  std::map<model::Stack, Pattern> stacks_;
  std::map<std::pair<model::Stack, std::uint32_t>, Pattern> layers_;
};

}  // namespace flame::sparsity
