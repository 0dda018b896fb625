#include "flame/text/normalizer.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/utf8.h"
#include "flame/text/text_operations.h"

namespace flame::text {
namespace {

std::string map_with_utf8proc(std::string_view text, int options) {
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &mapped, static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(mapped, &std::free);
  if (length < 0) throw Error(fmt::format("cannot normalize the text: {}", utf8proc_errmsg(length)));
  return {reinterpret_cast<const char*>(mapped), static_cast<std::size_t>(length)};
}

}  // namespace

void Normalizer::add(const JsonView& description) {
  const std::string type = description.at("type").as_string();
  if (type == "Sequence") {
    const JsonView parts = description.at("normalizers");
    for (std::size_t i = 0; i < parts.size(); ++i) add(parts.element(i));
  } else if (type == "Precompiled") {
    const JsonView map = description.at("precompiled_charsmap");
    std::string bytes;
    if (!decode_base64(map.as_string(), bytes)) map.fail("expected base64");
    if (!bytes.empty()) steps_.emplace_back(Charsmap(bytes, description.source()));
  } else if (type == "NFC") {
    steps_.emplace_back(UnicodeForm{UTF8PROC_STABLE | UTF8PROC_COMPOSE});
  } else if (type == "NFD") {
    steps_.emplace_back(UnicodeForm{UTF8PROC_STABLE | UTF8PROC_DECOMPOSE});
  } else if (type == "NFKC") {
    steps_.emplace_back(UnicodeForm{UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT});
  } else if (type == "NFKD") {
    steps_.emplace_back(UnicodeForm{UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT});
  } else if (type == "Lowercase") {
    steps_.emplace_back(Lowercase{});
  } else if (type == "Strip") {
    steps_.emplace_back(Strip{description.at("strip_left").as_bool(), description.at("strip_right").as_bool()});
  } else if (type == "Prepend") {
    steps_.emplace_back(Prepend{description.at("prepend").as_string()});
  } else if (type == "Replace") {
    const JsonView pattern = description.at("pattern");
    std::string content = description.at("content").as_string();
    if (const auto text = pattern.find("String")) {
      steps_.emplace_back(Replace{text->as_string(), std::move(content)});
    } else if (const auto regex = pattern.find("Regex"); regex && regex->as_string() == " {2,}") {
      steps_.emplace_back(ReplaceSpaces{std::move(content)});
    } else {
      throw ModelError(fmt::format("{}: {}: FLAME does not have the pattern {}", description.source().string(),
                                   pattern.location(), to_text(pattern.value())));
    }
  } else {
    throw ModelError(fmt::format("{}: {}: FLAME does not have the normalizer \"{}\"", description.source().string(),
                                 description.location(), type));
  }
}

std::string Normalizer::normalize(std::string_view text) const {
  std::string result(text);
  for (const Step& step : steps_) {
    result = std::visit([&](const auto& kind) { return apply(kind, result); }, step);
    check_growth(text.size(), result.size());
  }
  return result;
}

std::string Normalizer::apply(const UnicodeForm& step, std::string_view text) {
  return map_with_utf8proc(text, step.options);
}

std::string Normalizer::apply(const Lowercase& /*step*/, std::string_view text) {
  std::string result;
  for (std::size_t position = 0; position < text.size();) {
    const auto code_point = static_cast<utf8proc_int32_t>(next_code_point(text, position));
    result += utf8_of(static_cast<char32_t>(utf8proc_tolower(code_point)));
  }
  return result;
}

std::string Normalizer::apply(const Strip& step, std::string_view text) {
  if (step.left) text.remove_prefix(leading_white_space(text));
  if (step.right) text.remove_suffix(trailing_white_space(text));
  return std::string(text);
}

std::string Normalizer::apply(const Prepend& step, std::string_view text) {
  return text.empty() ? std::string() : step.text + std::string(text);
}

std::string Normalizer::apply(const Replace& step, std::string_view text) {
  return replace_all(text, step.pattern, step.content);
}

std::string Normalizer::apply(const ReplaceSpaces& step, std::string_view text) {
  std::string result;
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t end = std::min(text.find_first_not_of(' ', position), text.size());
    if (end - position >= 2) {
      result += step.content;
      position = end;
    } else {
      result += text[position++];
    }
  }
  return result;
}

}  // namespace flame::text
