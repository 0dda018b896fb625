#include "flame/eval/porter_stemmer.h"

#include <array>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace flame::eval {
namespace {

// NLTK's table of irregular forms.
constexpr std::array<std::pair<std::string_view, std::string_view>, 16> kIrregular = {{{"sky", "sky"},
                                                                                       {"skies", "sky"},
                                                                                       {"dying", "die"},
                                                                                       {"lying", "lie"},
                                                                                       {"tying", "tie"},
                                                                                       {"news", "news"},
                                                                                       {"innings", "inning"},
                                                                                       {"inning", "inning"},
                                                                                       {"outings", "outing"},
                                                                                       {"outing", "outing"},
                                                                                       {"cannings", "canning"},
                                                                                       {"canning", "canning"},
                                                                                       {"howe", "howe"},
                                                                                       {"proceed", "proceed"},
                                                                                       {"exceed", "exceed"},
                                                                                       {"succeed", "succeed"}}};

struct Rule {
  std::string_view suffix;
  std::string_view replacement;
};

bool is_vowel_letter(char letter) {
  return letter == 'a' || letter == 'e' || letter == 'i' || letter == 'o' || letter == 'u';
}

/// Which letters of a word are consonants: all but a, e, i, o, u, and y after a consonant.
std::vector<bool> consonants(std::string_view word) {
  std::vector<bool> flags(word.size());
  for (std::size_t i = 0; i < word.size(); ++i) {
    flags[i] = word[i] == 'y' ? i == 0 || !flags[i - 1] : !is_vowel_letter(word[i]);
  }
  return flags;
}

/// Porter's m: how many times a vowel is followed by a consonant.
std::size_t measure(std::string_view stem) {
  const std::vector<bool> flags = consonants(stem);
  std::size_t count = 0;
  for (std::size_t i = 1; i < flags.size(); ++i) {
    if (!flags[i - 1] && flags[i]) ++count;
  }
  return count;
}

bool has_vowel(std::string_view stem) {
  for (const bool consonant : consonants(stem)) {
    if (!consonant) return true;
  }
  return false;
}

/// Porter's *d.
bool ends_in_double_consonant(std::string_view word) {
  return word.size() >= 2 && word.back() == word[word.size() - 2] && consonants(word).back();
}

/// Porter's *o (consonant, vowel, consonant other than w, x, y), or NLTK's two-letter form of it.
bool ends_in_cvc(std::string_view word) {
  const std::vector<bool> flags = consonants(word);
  const std::size_t size = word.size();
  if (size == 2) return !flags[0] && flags[1];
  if (size < 3) return false;
  const char last = word.back();
  return flags[size - 3] && !flags[size - 2] && flags[size - 1] && last != 'w' && last != 'x' && last != 'y';
}

std::string_view without(std::string_view word, std::string_view suffix) {
  return word.substr(0, word.size() - suffix.size());
}

std::string joined(std::string_view stem, std::string_view suffix) {
  std::string word(stem);
  word += suffix;
  return word;
}

/// The first rule whose suffix the word has decides: it applies when the stem's measure is above `least`.
std::string apply_first(std::string_view word, std::span<const Rule> rules, std::size_t least) {
  for (const Rule& rule : rules) {
    if (!word.ends_with(rule.suffix)) continue;
    const std::string_view stem = without(word, rule.suffix);
    return measure(stem) > least ? joined(stem, rule.replacement) : std::string(word);
  }
  return std::string(word);
}

std::string step_1a(std::string_view word) {
  if (word.size() == 4 && word.ends_with("ies")) return joined(without(word, "ies"), "ie");
  if (word.ends_with("sses")) return joined(without(word, "sses"), "ss");
  if (word.ends_with("ies")) return joined(without(word, "ies"), "i");
  if (word.ends_with("s") && !word.ends_with("ss")) return std::string(without(word, "s"));
  return std::string(word);
}

/// What follows the removal of -ed or -ing: -at, -bl and -iz get their e back, a double consonant loses one.
std::string restore_ending(std::string_view stem) {
  if (stem.ends_with("at") || stem.ends_with("bl") || stem.ends_with("iz")) return joined(stem, "e");
  if (ends_in_double_consonant(stem)) {
    const char last = stem.back();
    if (last == 'l' || last == 's' || last == 'z') return std::string(stem);
    return std::string(stem.substr(0, stem.size() - 1));
  }
  if (measure(stem) == 1 && ends_in_cvc(stem)) return joined(stem, "e");
  return std::string(stem);
}

std::string step_1b(std::string_view word) {
  if (word.ends_with("ied")) return joined(without(word, "ied"), word.size() == 4 ? "ie" : "i");
  if (word.ends_with("eed")) {
    const std::string_view stem = without(word, "eed");
    return measure(stem) > 0 ? joined(stem, "ee") : std::string(word);
  }
  for (const std::string_view suffix : {"ed", "ing"}) {
    if (word.ends_with(suffix) && has_vowel(without(word, suffix))) return restore_ending(without(word, suffix));
  }
  return std::string(word);
}

std::string step_1c(std::string_view word) {
  if (!word.ends_with("y")) return std::string(word);
  const std::string_view stem = without(word, "y");
  return stem.size() > 1 && consonants(stem).back() ? joined(stem, "i") : std::string(word);
}

std::string step_2(std::string_view word) {
  static constexpr std::array<Rule, 21> kRules = {
      {{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"}, {"izer", "ize"},
       {"bli", "ble"},     {"alli", "al"},     {"entli", "ent"}, {"eli", "e"},     {"ousli", "ous"},
       {"ization", "ize"}, {"ation", "ate"},   {"ator", "ate"},  {"alism", "al"},  {"iveness", "ive"},
       {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},  {"iviti", "ive"}, {"biliti", "ble"},
       {"fulli", "ful"}}};
  if (word.ends_with("alli") && measure(without(word, "alli")) > 0) return step_2(joined(without(word, "alli"), "al"));
  if (word.ends_with("logi")) {
    // NLTK counts the l as part of the stem, so that "geologi" is measured as "geol".
    return measure(without(word, "ogi")) > 0 ? std::string(without(word, "i")) : std::string(word);
  }
  return apply_first(word, kRules, 0);
}

std::string step_3(std::string_view word) {
  static constexpr std::array<Rule, 7> kRules = {
      {{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"}, {"ical", "ic"}, {"ful", ""}, {"ness", ""}}};
  return apply_first(word, kRules, 0);
}

std::string step_4(std::string_view word) {
  static constexpr std::array<Rule, 18> kRules = {{{"al", ""},
                                                   {"ance", ""},
                                                   {"ence", ""},
                                                   {"er", ""},
                                                   {"ic", ""},
                                                   {"able", ""},
                                                   {"ible", ""},
                                                   {"ant", ""},
                                                   {"ement", ""},
                                                   {"ment", ""},
                                                   {"ent", ""},
                                                   {"ou", ""},
                                                   {"ism", ""},
                                                   {"ate", ""},
                                                   {"iti", ""},
                                                   {"ous", ""},
                                                   {"ive", ""},
                                                   {"ize", ""}}};
  if (word.ends_with("ion")) {
    const std::string_view stem = without(word, "ion");
    const bool removed = measure(stem) > 1 && (stem.back() == 's' || stem.back() == 't');
    return std::string(removed ? stem : word);
  }
  return apply_first(word, kRules, 1);
}

std::string step_5a(std::string_view word) {
  if (!word.ends_with("e")) return std::string(word);
  const std::string_view stem = without(word, "e");
  const std::size_t m = measure(stem);
  return std::string(m > 1 || (m == 1 && !ends_in_cvc(stem)) ? stem : word);
}

std::string step_5b(std::string_view word) {
  const bool removed = word.ends_with("ll") && measure(word.substr(0, word.size() - 1)) > 1;
  return std::string(removed ? word.substr(0, word.size() - 1) : word);
}

}  // namespace

std::string porter_stem(std::string_view word) {
  for (const auto& [form, stem] : kIrregular) {
    if (word == form) return std::string(stem);
  }
  if (word.size() <= 2) return std::string(word);
  std::string stem = step_1a(word);
  stem = step_1b(stem);
  stem = step_1c(stem);
  stem = step_2(stem);
  stem = step_3(stem);
  stem = step_4(stem);
  stem = step_5a(stem);
  return step_5b(stem);
}

}  // namespace flame::eval
