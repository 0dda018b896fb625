#include "flame/sparsity/pattern.h"

#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <utility>
#include <vector>

#include "flame/base/error.h"
#include "flame/model/tensor_names.h"

namespace flame::sparsity {
namespace {

/// Reads all of `text` as a decimal number; nothing when it is not one.
std::optional<std::uint32_t> parse_number(std::string_view text) {
  std::uint32_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end) return std::nullopt;
  return value;
}

std::optional<model::Stack> parse_stack(std::string_view name) {
  for (const model::Stack stack : {model::Stack::kEncoder, model::Stack::kDecoder}) {
    if (name == name_of(stack)) return stack;
  }
  return std::nullopt;
}

}  // namespace

std::size_t Pattern::index_bits() const { return dense() ? 0 : static_cast<std::size_t>(std::bit_width(m - 1U)); }

std::string Pattern::to_string() const { return fmt::format("{}:{}", n, m); }

Pattern parse_pattern(std::string_view text) {
  if (text == "dense") return Pattern{1, 1};
  const std::size_t colon = text.find(':');
  const auto n = parse_number(text.substr(0, colon));
  const auto m = colon == std::string_view::npos ? std::nullopt : parse_number(text.substr(colon + 1));
  if (!n || !m) {
    throw UsageError(fmt::format("pattern \"{}\": expected N:M, for example 2:4, or dense", text));
  }
  if (*n < 1 || *n > *m || *m > 16) {
    throw UsageError(fmt::format("pattern \"{}\": N of every M weights are kept, so 1 <= N <= M <= 16", text));
  }
  return Pattern{static_cast<std::uint8_t>(*n), static_cast<std::uint8_t>(*m)};
}

LayerPatterns LayerPatterns::parse(std::string_view text) {
  LayerPatterns patterns;
  std::size_t begin = 0;
  while (true) {
    const std::size_t comma = text.find(',', begin);
    const std::string_view entry = text.substr(begin, comma == std::string_view::npos ? comma : comma - begin);
    const std::size_t equals = entry.find('=');
    bool first = true;
    if (equals == std::string_view::npos) {
      first = !patterns.all_.has_value();
      patterns.all_ = parse_pattern(entry);
    } else {
      const std::string_view place = entry.substr(0, equals);
      const Pattern pattern = parse_pattern(entry.substr(equals + 1));
      const std::size_t dot = place.find('.');
      const auto stack = parse_stack(place.substr(0, dot));
      const auto layer = dot == std::string_view::npos ? std::nullopt : parse_number(place.substr(dot + 1));
      if (!stack || (dot != std::string_view::npos && !layer)) {
        throw UsageError(
            fmt::format("pattern \"{}\": expected encoder, decoder, encoder.L or decoder.L before '=', where "
                        "L counts the stack's MoE layers from 0",
                        entry));
      }
      first = layer ? patterns.layers_.emplace(std::pair(*stack, *layer), pattern).second
                    : patterns.stacks_.emplace(*stack, pattern).second;
    }
    if (!first) throw UsageError(fmt::format("pattern \"{}\": \"{}\" sets the same layers a second time", text, entry));
    if (comma == std::string_view::npos) return patterns;
    begin = comma + 1;
  }
}

std::optional<Pattern> LayerPatterns::of(model::MoeLayer layer) const {
  if (const auto own = layers_.find({layer.stack, layer.index}); own != layers_.end()) return own->second;
  return outside_layers(layer.stack);
}

std::optional<Pattern> LayerPatterns::outside_layers(std::optional<model::Stack> stack) const {
  if (stack) {
    if (const auto own = stacks_.find(*stack); own != stacks_.end()) return own->second;
  }
  return all_;
}

void LayerPatterns::check(std::size_t encoder_layers, std::size_t decoder_layers) const {
  for (const auto& [place, pattern] : layers_) {
    const std::size_t count = place.first == model::Stack::kEncoder ? encoder_layers : decoder_layers;
    if (place.second >= count) {
      throw UsageError(fmt::format("pattern \"{0}.{1}={2}\": the model's {0} has {3} MoE layers, counted from 0",
                                   name_of(place.first), place.second, pattern.to_string(), count));
    }
  }
}

std::string LayerPatterns::to_string() const {
  std::vector<std::string> entries;
  if (all_) entries.push_back(all_->to_string());
  for (const auto& [stack, pattern] : stacks_) {
    entries.push_back(fmt::format("{}={}", name_of(stack), pattern.to_string()));
  }
  for (const auto& [place, pattern] : layers_) {
    entries.push_back(fmt::format("{}.{}={}", name_of(place.first), place.second, pattern.to_string()));
  }
  return fmt::format("{}", fmt::join(entries, ","));
}

}  // namespace flame::sparsity
