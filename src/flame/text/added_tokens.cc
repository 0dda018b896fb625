#include "flame/text/added_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "flame/base/error.h"
#include "flame/text/text_operations.h"

namespace flame::text {

AddedToken read_added_token(const JsonView& entry, TokenId id) {
  const auto flag = [&](std::string_view key) {
    const auto member = entry.find(key);
    return member && member->as_bool();
  };
  if (flag("single_word")) {
    throw ModelError(fmt::format("{}: {}: FLAME does not have added tokens with single_word", entry.source().string(),
                                 entry.location()));
  }
  AddedToken token;
  token.content = entry.at("content").as_string();
  if (token.content.empty()) entry.fail("an added token without content");
  const auto own_id = entry.find("id");
  token.id = own_id ? static_cast<TokenId>(own_id->as_integer(0, 1 << 30)) : id;
  token.special = flag("special");
  token.normalized = flag("normalized");
  token.strip_left = flag("lstrip");
  token.strip_right = flag("rstrip");
  return token;
}

void AddedTokens::add(AddedToken token) {
  const auto [place, added] = by_content_.emplace(token.content, tokens_.size());
  if (added) {
    tokens_.push_back(std::move(token));
  } else {
    by_id_.erase(tokens_[place->second].id);
    tokens_[place->second] = std::move(token);
  }
  by_id_[tokens_[place->second].id] = place->second;
}

void AddedTokens::prepare(const Normalizer& normalizer) {
  raw_ = {};
  normalized_ = {};
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    std::string pattern = tokens_[i].normalized ? normalizer.normalize(tokens_[i].content) : tokens_[i].content;
    if (pattern.empty()) continue;  // a token that normalizes to nothing is never found
    Patterns& patterns = tokens_[i].normalized ? normalized_ : raw_;
    patterns.of_byte[static_cast<unsigned char>(pattern.front())].emplace_back(std::move(pattern), i);
  }
  for (Patterns* patterns : {&raw_, &normalized_}) {
    for (auto& list : patterns->of_byte) {
      std::stable_sort(list.begin(), list.end(),
                       [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
    }
  }
}

std::vector<AddedTokens::Match> AddedTokens::matches(std::string_view text, const Patterns& patterns) const {
  std::vector<Match> found;
  std::size_t free_from = 0;  // end of the last match with the white space it took
  for (std::size_t position = 0; position < text.size();) {
    const auto& candidates = patterns.of_byte[static_cast<unsigned char>(text[position])];
    const auto hit = std::find_if(candidates.begin(), candidates.end(), [&](const auto& candidate) {
      return text.substr(position).starts_with(candidate.first);
    });
    if (hit == candidates.end()) {
      ++position;
      continue;
    }
    Match match{position, position + hit->first.size(), &tokens_[hit->second]};
    position = match.end;
    if (match.token->strip_left) {
      match.begin = std::max(free_from, match.begin - trailing_white_space(text.substr(0, match.begin)));
    }
    if (match.token->strip_right) match.end += leading_white_space(text.substr(match.end));
    match.begin = std::max(match.begin, free_from);
    free_from = match.end;
    found.push_back(match);
  }
  return found;
}

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text, const Normalizer& normalizer) const {
  std::vector<Part> parts;
  // Calls on_text for each stretch between matches, on_token for each match, in order.
  const auto walk = [&](std::string_view whole, const Patterns& patterns, bool at_beginning, const auto& on_text) {
    std::size_t position = 0;
    for (const Match& match : matches(whole, patterns)) {
      if (match.begin > position) {
        on_text(whole.substr(position, match.begin - position), at_beginning && position == 0);
      }
      parts.push_back({match.token->id, {}, at_beginning && match.begin == 0});
      position = match.end;
    }
    if (position < whole.size()) on_text(whole.substr(position), at_beginning && position == 0);
  };
  walk(text, raw_, true, [&](std::string_view raw, bool at_beginning) {
    const std::string normal = normalizer.normalize(raw);
    walk(normal, normalized_, at_beginning, [&](std::string_view part, bool part_at_beginning) {
      parts.push_back({std::nullopt, std::string(part), part_at_beginning});
    });
  });
  return parts;
}

const AddedToken* AddedTokens::find(TokenId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

}  // namespace flame::text
