#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "flame/base/json.h"

namespace flame::text {

/// Cuts normalized text into the words that the vocabulary's model sees one by one: WhitespaceSplit and Metaspace of
/// tokenizers 0.23, alone or in a Sequence. Immutable.
class PreTokenizer {
 public:
  /// T5's: words between white space, each with the space mark in front.
  PreTokenizer();
  /// Throws FormatError; ModelError for a kind that FLAME does not have, by its name.
  explicit PreTokenizer(const JsonView& description) { add(description); }

  /// `at_beginning`: nothing of the whole input stands before `text`. Words are never empty.
  [[nodiscard]] std::vector<std::string> split(std::string_view text, bool at_beginning) const;

 private:
  struct WhitespaceSplit {};
  enum class Prefix : std::uint8_t { kAlways, kFirst, kNever };
  struct Metaspace {
    std::string mark;
    Prefix prefix;
    bool split;
  };
  struct Word {
    std::string text;
    bool at_beginning;
  };
  using Step = std::variant<WhitespaceSplit, Metaspace>;

  void add(const JsonView& description);
  static void apply(const WhitespaceSplit& step, const Word& word, std::vector<Word>& words);
  static void apply(const Metaspace& step, const Word& word, std::vector<Word>& words);

  std::vector<Step> steps_;
};

}  // namespace flame::text
