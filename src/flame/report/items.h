#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "flame/report/measurements.h"
#include "flame/report/page.h"

namespace flame::report {

/// What a report is about.
struct Subject {
  std::filesystem::path model;       ///< a checkpoint
  std::filesystem::path data;        ///< JSON lines
  std::string field;                 ///< key of the input text
  std::string reference;             ///< key of the reference text or texts
  std::string task;                  ///< empty: none
  std::size_t test_examples = 0;     ///< the first lines of `data`: what is scored
  std::size_t profile_examples = 0;  ///< the lines behind them: what predictors learn from
  bool quick = false;
};

/// What makes an item: `make` throws NotMeasured where that cannot be had; its message is then shown instead.
struct ItemMaker {
  std::string_view id;
  std::string_view title;
  Item (*make)(const Subject& subject, Measurements& measurements);
};

/// Every item, in the page's order.
[[nodiscard]] const std::vector<ItemMaker>& item_makers();

// The items, each in the file of its subject. All may throw what Measurements throws.
[[nodiscard]] Item expert_share(const Subject& subject, Measurements& measurements);        // expert_share.cc
[[nodiscard]] Item pruning_strategies(const Subject& subject, Measurements& measurements);  // pruning_items.cc
[[nodiscard]] Item pruning_sweep(const Subject& subject, Measurements& measurements);
[[nodiscard]] Item path_frequencies(const Subject& subject, Measurements& measurements);  // path_items.cc
[[nodiscard]] Item path_histogram(const Subject& subject, Measurements& measurements);
[[nodiscard]] Item conditional_map(const Subject& subject, Measurements& measurements);
[[nodiscard]] Item hottest_paths(const Subject& subject, Measurements& measurements);
[[nodiscard]] Item accuracy_by_layer(const Subject& subject, Measurements& measurements);  // prediction_items.cc
[[nodiscard]] Item index_storage(const Subject& subject, Measurements& measurements);
[[nodiscard]] Item accuracy_against_bytes(const Subject& subject, Measurements& measurements);

// Measurements that several items share.

/// The routing trace of the test examples, and of the examples behind them.
[[nodiscard]] std::filesystem::path test_trace(const Subject& subject, Measurements& measurements);
[[nodiscard]] std::filesystem::path profile_trace(const Subject& subject, Measurements& measurements);
/// The profile of the latter, with the fitted predictors.
[[nodiscard]] std::filesystem::path profile(const Subject& subject, Measurements& measurements);

/// Adds the command and its file to the item's sources.
void note_source(Item& item, const Measurements& measurements, const Measurement& measurement);

/// "12.34 %" of a share.
[[nodiscard]] std::string percent(double share);

}  // namespace flame::report
