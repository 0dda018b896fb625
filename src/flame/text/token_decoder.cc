#include "flame/text/token_decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/utf8.h"
#include "flame/text/text_operations.h"
#include "flame/text/token_id.h"

namespace flame::text {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

/// The byte that a token like "<0x0A>" stands for.
std::optional<char> byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return std::nullopt;
  unsigned byte = 0;
  const auto [stop, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  if (error != std::errc() || stop != token.data() + 5) return std::nullopt;
  return static_cast<char>(byte);
}

std::string clean_up(std::string text) {
  // transformers 5.24, PreTrainedTokenizerBase.clean_up_tokenization, in its order.
  constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kReplacements = {{{" .", "."},
                                                                                            {" ?", "?"},
                                                                                            {" !", "!"},
                                                                                            {" ,", ","},
                                                                                            {" ' ", "'"},
                                                                                            {" n't", "n't"},
                                                                                            {" 'm", "'m"},
                                                                                            {" 's", "'s"},
                                                                                            {" 've", "'ve"},
                                                                                            {" 're", "'re"}}};
  for (const auto& [pattern, content] : kReplacements) text = replace_all(text, pattern, content);
  return text;
}

}  // namespace

TokenDecoder::TokenDecoder() : steps_{Metaspace{std::string(kSpaceMark), /*strip_first=*/true}} {}

void TokenDecoder::add(const JsonView& description) {
  const std::string type = description.at("type").as_string();
  const auto refuse = [&](const std::string& what) {
    throw ModelError(fmt::format("{}: {}: FLAME does not have the decoder {}", description.source().string(),
                                 description.location(), what));
  };
  if (type == "Sequence") {
    const JsonView parts = description.at("decoders");
    for (std::size_t i = 0; i < parts.size(); ++i) add(parts.element(i));
  } else if (type == "Metaspace") {
    Metaspace step{description.at("replacement").as_string(), true};
    if (const auto scheme = description.find("prepend_scheme")) {
      step.strip_first = scheme->as_string() != "never";
    } else if (const auto add_space = description.find("add_prefix_space")) {
      step.strip_first = add_space->as_bool();
    }
    steps_.emplace_back(std::move(step));
  } else if (type == "Replace") {
    const auto pattern = description.at("pattern").find("String");
    if (!pattern) refuse("\"Replace\" with a regular expression");
    steps_.emplace_back(Replace{pattern->as_string(), description.at("content").as_string()});
  } else if (type == "ByteFallback") {
    byte_fallback_ = true;
    steps_.emplace_back(ByteFallback{});
  } else if (type == "Fuse") {
    steps_.emplace_back(Fuse{});
  } else if (type == "Strip") {
    if (description.at("stop").as_integer() != 0) refuse("\"Strip\" from the right");
    steps_.emplace_back(Strip{description.at("content").as_string(), description.at("start").as_unsigned(1 << 20)});
  } else {
    refuse(fmt::format("\"{}\"", type));
  }
}

std::string TokenDecoder::joined(std::vector<std::string> tokens) const {
  const auto bytes_of = [](const std::vector<std::string>& list) {
    std::size_t bytes = 0;
    for (const std::string& token : list) bytes += token.size();
    return bytes;
  };
  const std::size_t before = bytes_of(tokens);
  for (const Step& step : steps_) {
    std::visit([&](const auto& kind) { apply(kind, tokens); }, step);
    check_growth(before, bytes_of(tokens));
  }
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

std::string TokenDecoder::decode(std::vector<std::string> tokens) const {
  std::string text = joined(std::move(tokens));
  return clean_up_ ? clean_up(std::move(text)) : text;
}

std::size_t TokenDecoder::certain_bytes(const std::vector<std::string>& tokens) const {
  std::vector<std::string> certain = tokens;
  // A run of byte tokens may still become a character, or its replacement marks.
  while (byte_fallback_ && !certain.empty() && byte_of(certain.back())) certain.pop_back();
  std::string text = joined(std::move(certain));
  if (!clean_up_) return text.size();
  // Cut in front of a space that no replacement can join to what stands before it: not the second one of " ' ", not one
  // whose own replacement leaves an apostrophe behind a space or behind " n" (" n ' t" becomes "n't" in two steps).
  for (std::size_t space = text.rfind(' '); space != std::string::npos; space = text.rfind(' ', space - 1)) {
    const std::string_view before = std::string_view(text).substr(0, space);
    if (!before.ends_with(' ') && !before.ends_with(" '") && !before.ends_with(" n")) {
      return clean_up(std::string(before)).size();
    }
    if (space == 0) break;
  }
  return 0;
}

void TokenDecoder::apply(const Metaspace& step, std::vector<std::string>& tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const bool strip = i == 0 && step.strip_first && tokens[i].starts_with(step.mark);
    tokens[i] = replace_all(std::string_view(tokens[i]).substr(strip ? step.mark.size() : 0), step.mark, " ");
  }
}

void TokenDecoder::apply(const Replace& step, std::vector<std::string>& tokens) {
  for (std::string& token : tokens) token = replace_all(token, step.pattern, step.content);
}

void TokenDecoder::apply(const ByteFallback& /*step*/, std::vector<std::string>& tokens) {
  std::vector<std::string> result;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (!first_invalid_utf8(bytes)) {
      result.push_back(bytes);
    } else {
      // As tokenizers does: when a run of bytes is not text as a whole, each of its bytes is marked.
      for (std::size_t i = 0; i < bytes.size(); ++i) result.emplace_back(kReplacement);
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const auto byte = byte_of(token)) {
      bytes += *byte;
    } else {
      flush();
      result.push_back(std::move(token));
    }
  }
  flush();
  tokens = std::move(result);
}

void TokenDecoder::apply(const Fuse& /*step*/, std::vector<std::string>& tokens) {
  std::string all;
  for (const std::string& token : tokens) all += token;
  tokens.assign(1, std::move(all));
}

void TokenDecoder::apply(const Strip& step, std::vector<std::string>& tokens) {
  for (std::string& token : tokens) {
    for (std::size_t i = 0; i < step.start && !step.content.empty() && token.starts_with(step.content); ++i) {
      token.erase(0, step.content.size());
    }
  }
}

}  // namespace flame::text
