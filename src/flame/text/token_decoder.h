#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "flame/base/json.h"

namespace flame::text {

/// Joins tokens to text: Metaspace, Replace, ByteFallback, Fuse and Strip (from the left) of tokenizers 0.23, alone or
/// in a Sequence, and transformers' clean_up_tokenization_spaces behind them. Immutable.
class TokenDecoder {
 public:
  /// T5's: the space mark becomes a space, except at the beginning of the first token.
  TokenDecoder();
  /// Throws FormatError; ModelError for a kind that FLAME does not have, by its name.
  explicit TokenDecoder(const JsonView& description) { add(description); }

  /// Takes spaces before punctuation and English contractions away, as transformers' clean_up_tokenization.
  void set_clean_up(bool clean_up) { clean_up_ = clean_up; }

  [[nodiscard]] std::string decode(std::vector<std::string> tokens) const;

  /// How much of decode(tokens) no further tokens can change, in bytes.
  [[nodiscard]] std::size_t certain_bytes(const std::vector<std::string>& tokens) const;

 private:
  struct Metaspace {
    std::string mark;
    bool strip_first;
  };
  struct Replace {
    std::string pattern, content;
  };
  struct ByteFallback {};
  struct Fuse {};
  struct Strip {
    std::string content;  // one character
    std::size_t start;    // at most so many, from the left of each token
  };
  using Step = std::variant<Metaspace, Replace, ByteFallback, Fuse, Strip>;

  void add(const JsonView& description);
  [[nodiscard]] std::string joined(std::vector<std::string> tokens) const;
  static void apply(const Metaspace& step, std::vector<std::string>& tokens);
  static void apply(const Replace& step, std::vector<std::string>& tokens);
  static void apply(const ByteFallback& step, std::vector<std::string>& tokens);
  static void apply(const Fuse& step, std::vector<std::string>& tokens);
  static void apply(const Strip& step, std::vector<std::string>& tokens);

  std::vector<Step> steps_;
  bool byte_fallback_ = false;
  bool clean_up_ = false;
};

}  // namespace flame::text
