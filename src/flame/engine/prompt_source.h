#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "flame/engine/tracing.h"
#include "flame/io/json_lines.h"

namespace flame::engine {

/// The texts, numbered from 0.
[[nodiscard]] PromptSource prompts_of(std::vector<std::string> texts);

/// The text under `field` of each line of a JSON-lines file ("-": standard input). A prompt's index is its line's
/// number, from 0. Bad lines are treated as `options` says.
[[nodiscard]] PromptSource text_lines(const std::filesystem::path& file, const std::string& field,
                                      const io::JsonLinesOptions& options);

/// The same of lines such as {"tokens": [71, 3, 1]}.
[[nodiscard]] PromptSource token_lines(const std::filesystem::path& file, const io::JsonLinesOptions& options);

/// Prompts with the references for teacher forcing, both texts of the same line.
[[nodiscard]] TracePromptSource reference_lines(const std::filesystem::path& file, const std::string& field,
                                                const std::string& reference, const io::JsonLinesOptions& options);

/// `source` without its first `skip` prompts and with at most `limit` after them.
template <typename Item>
[[nodiscard]] std::function<std::optional<Item>()> part_of(std::function<std::optional<Item>()> source,
                                                           std::size_t skip, std::optional<std::size_t> limit) {
  return [source = std::move(source), skip, limit, seen = std::size_t{0}]() mutable -> std::optional<Item> {
    for (; skip > 0; --skip) {
      if (!source()) return std::nullopt;
    }
    if (limit && seen >= *limit) return std::nullopt;
    std::optional<Item> item = source();
    if (item) ++seen;
    return item;
  };
}

}  // namespace flame::engine
