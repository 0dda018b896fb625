#include "flame/eval/rouge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "flame/base/matrix_view.h"
#include "flame/eval/porter_stemmer.h"

namespace flame::eval {
namespace {

using WordId = std::uint32_t;
using Words = std::vector<WordId>;

/// Numbers words, so that comparing two is comparing integers.
class Vocabulary {
 public:
  Words number(std::string_view text, bool stem) {
    Words words;
    for (std::string& word : rouge_words(text, stem)) {
      words.push_back(ids_.emplace(std::move(word), static_cast<WordId>(ids_.size())).first->second);
    }
    return words;
  }
  [[nodiscard]] std::size_t size() const { return ids_.size(); }

 private:
  std::unordered_map<std::string, WordId> ids_;
};

RougeScore score_of(std::size_t hits, std::size_t reference_size, std::size_t prediction_size) {
  RougeScore score;
  score.precision = static_cast<double>(hits) / static_cast<double>(std::max<std::size_t>(prediction_size, 1));
  score.recall = static_cast<double>(hits) / static_cast<double>(std::max<std::size_t>(reference_size, 1));
  if (hits > 0) score.f = 2.0 * score.precision * score.recall / (score.precision + score.recall);
  return score;
}

std::vector<std::uint64_t> sorted_ngrams(const Words& words, std::size_t n) {
  std::vector<std::uint64_t> ngrams;
  for (std::size_t i = 0; i + n <= words.size(); ++i) {
    std::uint64_t ngram = 0;
    for (std::size_t j = 0; j < n; ++j) ngram = (ngram << 32) | words[i + j];
    ngrams.push_back(ngram);
  }
  std::sort(ngrams.begin(), ngrams.end());
  return ngrams;
}

/// Overlap of n-grams (n = 1 or 2), each counted as often as it occurs in both.
RougeScore score_ngrams(const Words& reference, const Words& prediction, std::size_t n) {
  const std::vector<std::uint64_t> expected = sorted_ngrams(reference, n);
  const std::vector<std::uint64_t> found = sorted_ngrams(prediction, n);
  std::vector<std::uint64_t> common;
  std::set_intersection(expected.begin(), expected.end(), found.begin(), found.end(), std::back_inserter(common));
  return score_of(common.size(), expected.size(), found.size());
}

/// table[i][j] = length of the longest common subsequence of the first i words of one text and the first j of the
/// other.
Matrix<std::uint32_t> common_subsequence_table(const Words& reference, const Words& prediction) {
  Matrix<std::uint32_t> table(reference.size() + 1, prediction.size() + 1);
  for (std::size_t i = 1; i <= reference.size(); ++i) {
    const auto above = table.row(i - 1);
    const auto here = table.row(i);
    for (std::size_t j = 1; j <= prediction.size(); ++j) {
      here[j] = reference[i - 1] == prediction[j - 1] ? above[j - 1] + 1 : std::max(above[j], here[j - 1]);
    }
  }
  return table;
}

RougeScore score_subsequence(const Words& reference, const Words& prediction) {
  const Matrix<std::uint32_t> table = common_subsequence_table(reference, prediction);
  return score_of(table.row(reference.size())[prediction.size()], reference.size(), prediction.size());
}

/// Marks the words of `reference` on one longest common subsequence: that which the original ROUGE script walks back
/// to.
void mark_subsequence(const Words& reference, const Words& prediction, std::vector<bool>& marked) {
  const Matrix<std::uint32_t> table = common_subsequence_table(reference, prediction);
  std::size_t i = reference.size();
  std::size_t j = prediction.size();
  while (i > 0 && j > 0) {
    if (reference[i - 1] == prediction[j - 1]) {
      marked[i - 1] = true;
      --i;
      --j;
    } else if (table.row(i)[j - 1] > table.row(i - 1)[j]) {
      --j;
    } else {
      --i;
    }
  }
}

std::vector<Words> number_lines(Vocabulary& vocabulary, std::string_view text, bool stem) {
  std::vector<Words> lines;
  while (true) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    if (!line.empty()) lines.push_back(vocabulary.number(line, stem));
    if (end == std::string_view::npos) return lines;
    text.remove_prefix(end + 1);
  }
}

std::size_t count_words(const std::vector<Words>& lines, std::vector<std::uint32_t>& counts) {
  std::size_t total = 0;
  for (const Words& line : lines) {
    for (const WordId word : line) ++counts[word];
    total += line.size();
  }
  return total;
}

/// Summary-level common subsequence (Lin 2004, section 3.2), where a word is a hit at most as often as it occurs in
/// either text, as in ROUGE 1.5.5.
RougeScore score_lines(std::string_view reference, std::string_view prediction, bool stem) {
  Vocabulary vocabulary;
  const std::vector<Words> expected = number_lines(vocabulary, reference, stem);
  const std::vector<Words> found = number_lines(vocabulary, prediction, stem);
  std::vector<std::uint32_t> expected_left(vocabulary.size());
  std::vector<std::uint32_t> found_left(vocabulary.size());
  const std::size_t expected_size = count_words(expected, expected_left);
  const std::size_t found_size = count_words(found, found_left);
  std::size_t hits = 0;
  for (const Words& line : expected) {
    std::vector<bool> marked(line.size());
    for (const Words& candidate : found) mark_subsequence(line, candidate, marked);
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (!marked[i] || expected_left[line[i]] == 0 || found_left[line[i]] == 0) continue;
      --expected_left[line[i]];
      --found_left[line[i]];
      ++hits;
    }
  }
  return score_of(hits, expected_size, found_size);
}

}  // namespace

std::string_view name_of(RougeMeasure measure) {
  constexpr std::array<std::string_view, kRougeMeasures.size()> kNames = {"rouge1", "rouge2", "rougeL", "rougeLsum"};
  return kNames[static_cast<std::size_t>(measure)];
}

std::vector<std::string> rouge_words(std::string_view text, bool stem) {
  // The only letters outside ASCII whose lower case has a letter of a-z: U+0130 (dotted I) and U+212A (kelvin).
  constexpr std::string_view kDottedI = "\xc4\xb0";
  constexpr std::string_view kKelvin = "\xe2\x84\xaa";
  std::vector<std::string> words;
  std::string word;
  const auto finish = [&] {
    if (word.empty()) return;
    words.push_back(stem && word.size() > 3 ? porter_stem(word) : word);
    word.clear();
  };
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      word += c;
      ++i;
    } else if (c >= 'A' && c <= 'Z') {
      word += static_cast<char>(c - 'A' + 'a');
      ++i;
    } else if (text.substr(i).starts_with(kKelvin)) {
      word += 'k';
      i += kKelvin.size();
    } else if (text.substr(i).starts_with(kDottedI)) {
      word += 'i';
      finish();  // its lower case ends in a combining dot, which separates words
      i += kDottedI.size();
    } else {
      finish();
      ++i;
    }
  }
  finish();
  return words;
}

RougeScores rouge(std::string_view reference, std::string_view prediction, bool stem) {
  Vocabulary vocabulary;
  const Words expected = vocabulary.number(reference, stem);
  const Words found = vocabulary.number(prediction, stem);
  RougeScores scores;
  scores[RougeMeasure::kRouge1] = score_ngrams(expected, found, 1);
  scores[RougeMeasure::kRouge2] = score_ngrams(expected, found, 2);
  scores[RougeMeasure::kRougeL] = score_subsequence(expected, found);
  scores[RougeMeasure::kRougeLsum] = score_lines(reference, prediction, stem);
  return scores;
}

RougeScores rouge(std::span<const std::string> references, std::string_view prediction, bool stem,
                  ManyReferences many) {
  assert(!references.empty());
  RougeScores result = rouge(references.front(), prediction, stem);
  for (const std::string& reference : references.subspan(1)) {
    const RougeScores scores = rouge(reference, prediction, stem);
    for (const RougeMeasure measure : kRougeMeasures) {
      RougeScore& total = result[measure];
      const RougeScore& one = scores[measure];
      if (many == ManyReferences::kMean) {
        total = {total.precision + one.precision, total.recall + one.recall, total.f + one.f};
      } else if (one.f > total.f) {
        total = one;
      }
    }
  }
  if (many == ManyReferences::kMean) {
    const auto count = static_cast<double>(references.size());
    for (RougeScore& score : result.values) {
      score = {score.precision / count, score.recall / count, score.f / count};
    }
  }
  return result;
}

RougeSummary summarize(std::span<const RougeScores> examples, const Bootstrap& bootstrap) {
  RougeSummary summary;
  std::vector<double> values(examples.size());
  const auto interval_of = [&](RougeMeasure measure, double RougeScore::*part) {
    std::transform(examples.begin(), examples.end(), values.begin(),
                   [&](const RougeScores& scores) { return scores[measure].*part; });
    return bootstrap_mean(values, bootstrap);
  };
  for (const RougeMeasure measure : kRougeMeasures) {
    summary.rows[static_cast<std::size_t>(measure)] = {interval_of(measure, &RougeScore::precision),
                                                       interval_of(measure, &RougeScore::recall),
                                                       interval_of(measure, &RougeScore::f)};
  }
  return summary;
}

Json interval_to_json(const Interval& interval, const Bootstrap& bootstrap) {
  if (bootstrap.samples == 0) return Json{{"mean", interval.mean}};
  return Json{{"mean", interval.mean}, {"low", interval.low}, {"high", interval.high}};
}

Json rouge_to_json(const RougeSummary& summary, const Bootstrap& bootstrap) {
  Json json;
  for (const RougeMeasure measure : kRougeMeasures) {
    const RougeSummary::Row& row = summary[measure];
    json[std::string(name_of(measure))] = {{"precision", interval_to_json(row.precision, bootstrap)},
                                           {"recall", interval_to_json(row.recall, bootstrap)},
                                           {"f", interval_to_json(row.f, bootstrap)}};
  }
  return json;
}

std::string rouge_to_text(const RougeSummary& summary, const Bootstrap& bootstrap) {
  const bool intervals = bootstrap.samples > 0;
  std::string text =
      fmt::format("{:<12}{:>24}{:>24}{:>24}   mean{}\n", "", "precision", "recall", "F",
                  intervals ? fmt::format(", {:.4g} % interval", 100.0 * bootstrap.confidence) : std::string());
  const auto cell = [&](const Interval& interval) {
    if (!intervals) return fmt::format("{:.2f}", 100.0 * interval.mean);
    return fmt::format("{:.2f} ({:.2f} {:.2f})", 100.0 * interval.mean, 100.0 * interval.low, 100.0 * interval.high);
  };
  for (const RougeMeasure measure : kRougeMeasures) {
    const RougeSummary::Row& row = summary[measure];
    text +=
        fmt::format("{:<12}{:>24}{:>24}{:>24}\n", name_of(measure), cell(row.precision), cell(row.recall), cell(row.f));
  }
  return text;
}

}  // namespace flame::eval
