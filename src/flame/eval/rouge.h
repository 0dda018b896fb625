#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flame/base/json.h"
#include "flame/eval/bootstrap.h"

namespace flame::eval {

/// The overlap of a prediction with a reference, each in [0, 1].
struct RougeScore {
  double precision = 0.0;
  double recall = 0.0;
  double f = 0.0;  ///< harmonic mean of the two, 0 when both are
};

/// The ROUGE measures computed here: unigrams, bigrams, longest common subsequence of the whole text, and the union of
/// sentence-wise longest common subsequences (sentences end at newlines).
enum class RougeMeasure : std::size_t { kRouge1, kRouge2, kRougeL, kRougeLsum };
constexpr std::array<RougeMeasure, 4> kRougeMeasures = {RougeMeasure::kRouge1, RougeMeasure::kRouge2,
                                                        RougeMeasure::kRougeL, RougeMeasure::kRougeLsum};

/// "rouge1", "rouge2", "rougeL", "rougeLsum": the names of the rouge-score package.
[[nodiscard]] std::string_view name_of(RougeMeasure measure);

/// One score a measure.
struct RougeScores {
  std::array<RougeScore, kRougeMeasures.size()> values;

  [[nodiscard]] RougeScore& operator[](RougeMeasure measure) { return values[static_cast<std::size_t>(measure)]; }
  [[nodiscard]] const RougeScore& operator[](RougeMeasure measure) const {
    return values[static_cast<std::size_t>(measure)];
  }
};

/// How several references count: the best one by F for each measure by itself (rouge-score's score_multi), or the mean
/// of the scores against each.
enum class ManyReferences { kBest, kMean };

/// The words of a text as ROUGE counts them: lower case, runs of a-z and 0-9; with `stem`, those of more than three
/// characters are stemmed. `text` is UTF-8; letters outside a-z separate words, as in the rouge-score package.
[[nodiscard]] std::vector<std::string> rouge_words(std::string_view text, bool stem);

/// Scores of `prediction` against one reference; equal to rouge_score.rouge_scorer.RougeScorer.score (Lin, "ROUGE: A
/// Package for Automatic Evaluation of Summaries", 2004).
[[nodiscard]] RougeScores rouge(std::string_view reference, std::string_view prediction, bool stem);

/// Scores against several references, at least one.
[[nodiscard]] RougeScores rouge(std::span<const std::string> references, std::string_view prediction, bool stem,
                                ManyReferences many);

/// Means and intervals over examples, one a measure.
struct RougeSummary {
  struct Row {
    Interval precision;
    Interval recall;
    Interval f;
  };
  std::array<Row, kRougeMeasures.size()> rows;

  [[nodiscard]] const Row& operator[](RougeMeasure measure) const { return rows[static_cast<std::size_t>(measure)]; }
};

/// Aggregates the scores of many examples.
[[nodiscard]] RougeSummary summarize(std::span<const RougeScores> examples, const Bootstrap& bootstrap);

/// {"mean", "low", "high"}; without samples "mean" alone.
[[nodiscard]] Json interval_to_json(const Interval& interval, const Bootstrap& bootstrap);

/// {"rouge1": {"precision": {"mean", "low", "high"}, "recall": …, "f": …}, …}, each as interval_to_json().
[[nodiscard]] Json rouge_to_json(const RougeSummary& summary, const Bootstrap& bootstrap);

/// A table of the same for people, in percent.
[[nodiscard]] std::string rouge_to_text(const RougeSummary& summary, const Bootstrap& bootstrap);

}  // namespace flame::eval
