// Prediction reports as text.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "flame/base/byte_size.h"
#include "flame/eval/prediction.h"

namespace flame::eval {
namespace {

/// Columns of k that fit a terminal.
constexpr std::size_t kColumns = 6;

bool same_row(const PredictionResult& a, const PredictionResult& b) {
  return a.predictor == b.predictor && a.m == b.m && a.depth == b.depth && a.budget == b.budget;
}

/// Whether an earlier result is the row that result `i` belongs to.
bool listed_before(const PredictionReport& report, std::size_t i) {
  const auto end = report.results.begin() + static_cast<std::ptrdiff_t>(i);
  return std::any_of(report.results.begin(), end,
                     [&](const PredictionResult& earlier) { return same_row(earlier, report.results[i]); });
}

std::string label(const PredictionResult& result) {
  std::string text = result.m > 0 ? fmt::format("{}({})", result.predictor, result.m) : result.predictor;
  if (result.budget > 0) text += fmt::format(" in {}", format_byte_size(result.budget));
  return text;
}

/// Names the predictors that see less far than `depth`.
std::string left_out(const PredictionReport& report, std::uint32_t depth) {
  std::string names;
  for (const BeyondReach& out : report.beyond) {
    if (out.depth != depth) continue;
    names += fmt::format("{}{} ({})", names.empty() ? "" : ", ", out.predictor, out.farthest);
  }
  return names.empty() ? names : fmt::format("not so far ahead (layers that they tell apart): {}\n", names);
}

std::string cell(const PredictionResult* result) {
  if (result == nullptr) return "–";
  return fmt::format("{:.2f} % {}", 100.0 * result->accuracy.mean, label(*result));
}

}  // namespace

std::string prediction_table(const PredictionReport& report, const std::vector<std::uint32_t>& depths, bool layers) {
  std::set<std::uint32_t> ranks;
  for (const PredictionResult& result : report.results) ranks.insert(result.k);
  while (ranks.size() > kColumns) ranks.erase(std::prev(ranks.end()));
  std::string text = fmt::format("{} examples, {} decoder steps\n", report.examples, report.steps);
  for (const std::uint32_t depth : depths) {
    text += fmt::format("\naccuracy in %, {}\n{:<26}",
                        depth == 1 ? "the next layer" : fmt::format("{} layers ahead", depth), "predictor");
    for (const std::uint32_t k : ranks) text += fmt::format(" {:>6}", fmt::format("k={}", k));
    text += fmt::format("  {:>15}  {:>10}  {:>10}  {:>8}{}\n", "95 % at k=1", "table", "seen only", "log loss",
                        layers ? "  by layer at k=1" : "");
    for (std::size_t i = 0; i < report.results.size(); ++i) {
      const PredictionResult& first = report.results[i];
      if (first.depth != depth || listed_before(report, i)) continue;
      text += fmt::format("{:<26}", label(first));
      for (const std::uint32_t k : ranks) {
        const auto found =
            std::find_if(report.results.begin() + static_cast<std::ptrdiff_t>(i), report.results.end(),
                         [&](const PredictionResult& other) { return same_row(first, other) && other.k == k; });
        text += found == report.results.end() ? fmt::format(" {:>6}", "")
                                              : fmt::format(" {:6.2f}", 100.0 * found->accuracy.mean);
      }
      text +=
          fmt::format("  {:6.2f} – {:6.2f}  {:>10}  {:>10}  ", 100.0 * first.accuracy.low, 100.0 * first.accuracy.high,
                      format_byte_size(first.cost.device_bytes), format_byte_size(first.cost.seen_bytes));
      text += first.has_probabilities ? fmt::format("{:8.4f}", first.log_loss) : fmt::format("{:>8}", "–");
      for (std::size_t layer = 0; layers && layer < first.layer_correct.size(); ++layer) {
        const auto positions = static_cast<double>(std::max<std::uint64_t>(first.layer_positions[layer], 1));
        text += fmt::format(" {:5.1f}", 100.0 * static_cast<double>(first.layer_correct[layer]) / positions);
      }
      text += "\n";
    }
    text += left_out(report, depth);
  }
  return text;
}

std::string storage_table(const PredictionReport& report, const std::vector<std::size_t>& bytes) {
  std::string text = fmt::format("\naccuracy at equal index storage\n{:>10}  {:>2}  {:<24}  {:<24}  {:<28}  {}\n",
                                 "bytes", "k", "best cepr", "best incremental", "best of tables", "best of all");
  for (const StorageRow& row : equal_storage(report, bytes, {1, 2})) {
    text += fmt::format("{:>10}  {:>2}  {:<24}  {:<24}  {:<28}  {}\n", format_byte_size(row.bytes), row.k,
                        cell(row.cepr), cell(row.incremental), cell(row.table), cell(row.best));
  }
  return text;
}

}  // namespace flame::eval
