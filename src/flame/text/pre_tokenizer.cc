#include "flame/text/pre_tokenizer.h"

#include <fmt/format.h>

#include <cstddef>
#include <nlohmann/json.hpp>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/utf8.h"
#include "flame/text/text_operations.h"
#include "flame/text/token_id.h"

namespace flame::text {

PreTokenizer::PreTokenizer()
    : steps_{WhitespaceSplit{}, Metaspace{std::string(kSpaceMark), Prefix::kAlways, /*split=*/true}} {}

void PreTokenizer::add(const JsonView& description) {
  const std::string type = description.at("type").as_string();
  if (type == "Sequence") {
    const JsonView parts = description.at("pretokenizers");
    for (std::size_t i = 0; i < parts.size(); ++i) add(parts.element(i));
  } else if (type == "WhitespaceSplit") {
    steps_.emplace_back(WhitespaceSplit{});
  } else if (type == "Metaspace") {
    Metaspace step{description.at("replacement").as_string(), Prefix::kAlways, true};
    if (const auto scheme = description.find("prepend_scheme")) {
      const std::string name = scheme->as_string();
      if (name != "always" && name != "first" && name != "never") {
        scheme->fail(fmt::format("expected always, first or never, found \"{}\"", name));
      }
      step.prefix = name == "always" ? Prefix::kAlways : name == "first" ? Prefix::kFirst : Prefix::kNever;
    } else if (const auto add_space = description.find("add_prefix_space"); add_space && !add_space->as_bool()) {
      step.prefix = Prefix::kNever;  // how files before tokenizers 0.15 say it
    }
    if (const auto split = description.find("split")) step.split = split->as_bool();
    steps_.emplace_back(std::move(step));
  } else {
    throw ModelError(fmt::format("{}: {}: FLAME does not have the pre-tokenizer \"{}\"", description.source().string(),
                                 description.location(), type));
  }
}

std::vector<std::string> PreTokenizer::split(std::string_view text, bool at_beginning) const {
  std::vector<Word> words;
  if (!text.empty()) words.push_back({std::string(text), at_beginning});
  for (const Step& step : steps_) {
    std::vector<Word> cut;
    for (const Word& word : words) {
      std::visit([&](const auto& kind) { apply(kind, word, cut); }, step);
    }
    words = std::move(cut);
    std::size_t bytes = 0;
    for (const Word& word : words) bytes += word.text.size();
    check_growth(text.size(), bytes);
  }
  std::vector<std::string> result;
  result.reserve(words.size());
  for (Word& word : words) result.push_back(std::move(word.text));
  return result;
}

void PreTokenizer::apply(const WhitespaceSplit& /*step*/, const Word& word, std::vector<Word>& words) {
  const std::string_view text = word.text;
  std::size_t begin = 0;
  const auto finish = [&](std::size_t end) {
    if (end > begin) words.push_back({std::string(text.substr(begin, end - begin)), word.at_beginning && begin == 0});
  };
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t here = position;
    if (!is_white_space(next_code_point(text, position))) continue;
    finish(here);
    begin = position;
  }
  finish(text.size());
}

void PreTokenizer::apply(const Metaspace& step, const Word& word, std::vector<Word>& words) {
  std::string text = replace_all(word.text, " ", step.mark);
  const bool wanted = step.prefix == Prefix::kAlways || (step.prefix == Prefix::kFirst && word.at_beginning);
  if (wanted && !text.starts_with(step.mark)) text.insert(0, step.mark);
  if (!step.split || step.mark.empty()) {
    words.push_back({std::move(text), word.at_beginning});
    return;
  }
  // Each mark begins a word.
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(step.mark, begin + 1), text.size());
    words.push_back({text.substr(begin, end - begin), word.at_beginning && begin == 0});
    begin = end;
  }
}

}  // namespace flame::text
