#include "flame/engine/prompt_source.h"

#include <fmt/format.h>

#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/json.h"

namespace flame::engine {
namespace {

/// Throws FormatError.
std::vector<std::int32_t> tokens_of(const Json& line, const std::filesystem::path& path, std::uint64_t number) {
  const JsonView view(line, fmt::format("{}: line {}", path.string(), number));
  const JsonView ids = view.at("tokens");
  std::vector<std::int32_t> tokens;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    tokens.push_back(static_cast<std::int32_t>(ids.element(i).as_integer(0, std::numeric_limits<std::int32_t>::max())));
  }
  if (tokens.empty()) ids.fail("expected at least one token id");
  return tokens;
}

/// A reader's message without the file and line, which report_bad_line() puts before it.
std::string without_place(const std::string& message, const std::filesystem::path& path, std::uint64_t number) {
  const std::string place = fmt::format("{}: line {}: ", path.string(), number);
  return message.starts_with(place) ? message.substr(place.size()) : message;
}

}  // namespace

PromptSource prompts_of(std::vector<std::string> texts) {
  return [texts = std::move(texts), next = std::size_t{0}]() mutable -> std::optional<Prompt> {
    if (next == texts.size()) return std::nullopt;
    const std::size_t index = next++;
    return Prompt{.index = index, .text = texts[index], .tokens = {}};
  };
}

PromptSource text_lines(const std::filesystem::path& file, const std::string& field,
                        const io::JsonLinesOptions& options) {
  auto reader = std::make_shared<io::JsonLinesReader>(file, options);
  return [reader, field]() -> std::optional<Prompt> {
    std::optional<std::string> text = reader->next_text(field);
    if (!text) return std::nullopt;
    return Prompt{.index = reader->line() - 1, .text = std::move(*text), .tokens = {}};
  };
}

PromptSource token_lines(const std::filesystem::path& file, const io::JsonLinesOptions& options) {
  auto reader = std::make_shared<io::JsonLinesReader>(file, options);
  return [reader, file]() -> std::optional<Prompt> {
    while (std::optional<Json> line = reader->next()) {
      try {
        return Prompt{.index = reader->line() - 1, .text = {}, .tokens = tokens_of(*line, file, reader->line())};
      } catch (const FormatError& error) {
        reader->report_bad_line(without_place(error.what(), file, reader->line()));
      }
    }
    return std::nullopt;
  };
}

TracePromptSource reference_lines(const std::filesystem::path& file, const std::string& field,
                                  const std::string& reference, const io::JsonLinesOptions& options) {
  auto reader = std::make_shared<io::JsonLinesReader>(file, options);
  return [reader, field, reference]() -> std::optional<TracePrompt> {
    while (const std::optional<Json> line = reader->next()) {
      const auto text = line->find(field);
      const auto wanted = line->find(reference);
      if (text == line->end() || !text->is_string() || wanted == line->end() || !wanted->is_string()) {
        reader->report_bad_line(fmt::format("expected texts under \"{}\" and \"{}\"", field, reference));
        continue;
      }
      TracePrompt traced;
      traced.prompt.index = reader->line() - 1;
      traced.prompt.text = text->get<std::string>();
      traced.reference = wanted->get<std::string>();
      return traced;
    }
    return std::nullopt;
  };
}

}  // namespace flame::engine
