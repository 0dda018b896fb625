#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "flame/base/json.h"
#include "flame/text/normalizer.h"
#include "flame/text/token_id.h"

namespace flame::text {

/// A token that text is searched for as a whole, before the vocabulary's model sees it.
struct AddedToken {
  std::string content;
  TokenId id = 0;
  bool special = false;     ///< left out by decode(skip_special_tokens)
  bool normalized = false;  ///< searched for in the normalized text instead of the text as given
  bool strip_left = false;  ///< takes the white space before it along
  bool strip_right = false;
};

/// Reads an entry of "added_tokens" or "added_tokens_decoder"; `id` is the entry's own where it does not state one.
[[nodiscard]] AddedToken read_added_token(const JsonView& entry, TokenId id);

/// The added tokens of a tokenizer, found as tokenizers finds them: from left to right, the longest at each place.
class AddedTokens {
 public:
  /// A token of the same content replaces what was there before.
  void add(AddedToken token);
  /// After the last add(): makes ready for find.
  void prepare(const Normalizer& normalizer);

  struct Part {
    std::optional<TokenId> token;  ///< the token found; nothing for text between tokens
    std::string text;              ///< normalized text, not empty; unused for a token
    bool at_beginning = false;     ///< the input begins with this part
  };
  /// Cuts the input at its added tokens and normalizes what lies between.
  [[nodiscard]] std::vector<Part> split(std::string_view text, const Normalizer& normalizer) const;

  [[nodiscard]] const std::vector<AddedToken>& tokens() const { return tokens_; }
  /// Null when there is none of that id, or of that content.
  [[nodiscard]] const AddedToken* find(TokenId id) const;
  [[nodiscard]] const AddedToken* find(std::string_view content) const;

 private:
  struct Match {
    std::size_t begin, end;
    const AddedToken* token;
  };
  /// Patterns that begin with the same byte, longest first.
  struct Patterns {
    std::vector<std::pair<std::string, std::size_t>> of_byte[256];  // text, index in tokens_
  };
  [[nodiscard]] std::vector<Match> matches(std::string_view text, const Patterns& patterns) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string, std::size_t> by_content_;
  std::unordered_map<TokenId, std::size_t> by_id_;
  Patterns raw_;
  Patterns normalized_;
};

}  // namespace flame::text
