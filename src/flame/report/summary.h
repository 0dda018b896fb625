#pragma once

#include <string>
#include <vector>

#include "flame/report/items.h"
#include "flame/report/page.h"

namespace flame::report {

/// What stands above the figures.
struct Summary {
  std::vector<std::string> sentences;
  std::vector<Table> tables;
  std::vector<std::string> recommendation;  ///< pattern, dtype, predictor, slots, each with its reason
};

/// What each idea gains for the subject at its budget, and what FLAME recommends, from the measurements that have been
/// asked for so far; runs nothing. What would need others is left out.
[[nodiscard]] Summary summarise(const Subject& subject, const Measurements& measurements);

/// The sparsest of 2:4 and 1:4, which every device runs, that in a sweep of magnitude pruning costs no quality that can
/// be seen: ROUGE-1 at least the lower end of the dense model's interval, perplexity at most a tenth above the dense
/// model's. "dense" where none is.
[[nodiscard]] std::string recommended_pattern(const Json& sweep);

}  // namespace flame::report
