#pragma once

#include <string>
#include <variant>
#include <vector>

#include "flame/base/json.h"
#include "flame/text/charsmap.h"

namespace flame::text {

/// The steps that bring text into the form the vocabulary was made from, in the order of a tokenizer.json's
/// "normalizer". Immutable. Of the kinds of tokenizers 0.23: Sequence, Precompiled, NFC, NFD, NFKC, NFKD, Lowercase,
/// Strip, Prepend, and Replace of a text or of runs of spaces (" {2,}").
class Normalizer {
 public:
  /// Changes nothing.
  Normalizer() = default;
  /// A SentencePiece model's own map.
  explicit Normalizer(Charsmap charsmap) { steps_.emplace_back(std::move(charsmap)); }
  /// Throws FormatError; ModelError for a kind that FLAME does not have, by its name.
  explicit Normalizer(const JsonView& description) { add(description); }

  [[nodiscard]] std::string normalize(std::string_view text) const;

 private:
  struct UnicodeForm {
    int options;  // of utf8proc_map
  };
  struct Lowercase {};
  struct Strip {
    bool left, right;
  };
  struct Prepend {
    std::string text;
  };
  struct Replace {
    std::string pattern, content;
  };
  struct ReplaceSpaces {  // runs of two or more
    std::string content;
  };
  using Step = std::variant<Charsmap, UnicodeForm, Lowercase, Strip, Prepend, Replace, ReplaceSpaces>;

  void add(const JsonView& description);
  static std::string apply(const Charsmap& step, std::string_view text) { return step.normalize(text); }
  static std::string apply(const UnicodeForm& step, std::string_view text);
  static std::string apply(const Lowercase& step, std::string_view text);
  static std::string apply(const Strip& step, std::string_view text);
  static std::string apply(const Prepend& step, std::string_view text);
  static std::string apply(const Replace& step, std::string_view text);
  static std::string apply(const ReplaceSpaces& step, std::string_view text);

  std::vector<Step> steps_;
};

}  // namespace flame::text
