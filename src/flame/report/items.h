#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "flame/report/measurements.h"
#include "flame/report/page.h"

namespace flame::report {

/// What a report is about.
struct Subject {
  std::filesystem::path model;                   ///< a checkpoint
  std::vector<std::filesystem::path> also = {};  ///< further checkpoints, for Figure 7
  std::filesystem::path data;                    ///< JSON lines
  std::string field;                             ///< key of the input text
  std::string reference;                         ///< key of the reference text or texts
  std::string task;                              ///< empty: none
  std::size_t test_examples = 0;                 ///< the first lines of `data`: what is scored
  std::size_t profile_examples = 0;              ///< the lines behind them: what predictors learn from
  std::string budget = "25%";                    ///< expert memory: a share of the 2:4 int8 experts, or a size
  std::string storage_bandwidth = "500MB/s";     ///< of the storage that single figures are for
  bool quick = false;
};

/// What makes an item: `make` throws NotMeasured where that cannot be had; its message is then shown instead.
struct ItemMaker {
  std::string_view id;
  std::string_view title;
  /// Names of the measurements it asks for; "*" at the end stands for several.
  std::vector<std::string_view> measurements;
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
[[nodiscard]] Item hit_ratio(const Subject& subject, Measurements& measurements);  // buffer_items.cc
[[nodiscard]] Item latency_by_slots(const Subject& subject, Measurements& measurements);
[[nodiscard]] Item speed_table(const Subject& subject, Measurements& measurements);  // latency_items.cc
[[nodiscard]] Item latency_by_memory(const Subject& subject, Measurements& measurements);
[[nodiscard]] Item ladder(const Subject& subject, Measurements& measurements);
[[nodiscard]] Item accelerator_cycles(const Subject& subject, Measurements& measurements);  // accelerator_items.cc
[[nodiscard]] Item token_timeline(const Subject& subject, Measurements& measurements);      // timeline_item.cc
[[nodiscard]] Item accuracy_by_dtype(const Subject& subject, Measurements& measurements);   // dtype_item.cc

// Measurements that several items share.

/// The routing trace of the test examples, and of the examples behind them.
[[nodiscard]] std::filesystem::path test_trace(const Subject& subject, Measurements& measurements);
[[nodiscard]] std::filesystem::path profile_trace(const Subject& subject, Measurements& measurements);
/// The profile of the latter, with the fitted predictors.
[[nodiscard]] std::filesystem::path profile(const Subject& subject, Measurements& measurements);

/// Where `flame bench` keeps its bundles; they hold the profile, so each number of examples has its own.
[[nodiscard]] std::filesystem::path packed_directory(const Subject& subject, const Measurements& measurements);
/// `flame inspect` of the model.
[[nodiscard]] Measurement inspection(const Subject& subject);
/// Methods x patterns of `model`, as Figure 7 has them.
[[nodiscard]] Measurement pruning_measurement(const Subject& subject, const std::filesystem::path& model,
                                              const std::filesystem::path& directory);
/// What every run on a processor decodes behind which prompt, those of other programs included
/// (tools/report/transformers_speed.py has the same defaults).
inline constexpr std::size_t kPromptTokens = 200;
inline constexpr std::size_t kNewTokens = 32;

/// `flame bench` of the model on the CPU, routed as the test trace, with `what` telling configurations, pattern,
/// memory.
[[nodiscard]] Measurement bench_measurement(const Subject& subject, Measurements& measurements, const std::string& name,
                                            const std::vector<std::string>& what);
/// Every configuration at the subject's budget and storage.
[[nodiscard]] Measurement bench_at_budget(const Subject& subject, Measurements& measurements);
/// All experts in memory and none of their weights left out, as other programs run it.
[[nodiscard]] Measurement bench_of_dense(const Subject& subject, Measurements& measurements, const std::string& dtype);
/// A bundle of the model, packed so.
[[nodiscard]] Measurement pack_measurement(const Subject& subject, Measurements& measurements,
                                           const std::string& pattern, const std::string& dtype);
/// ROUGE of the model packed so; nothing else about it changes.
[[nodiscard]] Measurement dtype_measurement(const Subject& subject, Measurements& measurements,
                                            const std::string& pattern, const std::string& dtype);
/// The four configurations on the simulated accelerator, its slots in a quarter of the decoder's 2:4 int8 experts.
[[nodiscard]] Measurement accelerator_bench(const Subject& subject, Measurements& measurements);
/// The same for a model of switch-base's size, routed as this one, with all of the chip's slot memory.
[[nodiscard]] Measurement accelerator_bench_of_base(const Subject& subject, Measurements& measurements);
/// That model once more, its experts computed only when all of one is there (as a plain engine does).
[[nodiscard]] Measurement accelerator_bench_of_whole_experts(const Subject& subject, Measurements& measurements);
/// Dense, 2:4 and 1:4 experts with and without prediction, from few slots to all of the decoder's experts.
[[nodiscard]] Measurement accelerator_sweep(const Subject& subject, Measurements& measurements);
/// Replay of the test trace with slots, as a pool for all layers, of experts packed so; times as `bench` measured them.
[[nodiscard]] Measurement buffer_replay(const Subject& subject, Measurements& measurements, const std::string& pattern);
/// Bytes of one expert that is packed so, by `flame inspect`.
[[nodiscard]] std::uint64_t expert_bytes(const Json& inspection, const std::string& pattern, const std::string& dtype);

/// Throws UsageError, naming the option, for a budget that is neither a share nor a size, and for a storage bandwidth
/// that is no size above zero.
void check_budget(const Subject& subject);

/// The subject's budget; a share is one of the model's 2:4 int8 experts.
[[nodiscard]] std::uint64_t budget_bytes(const Subject& subject, const Json& inspection);
/// Throws UsageError where that is less than a slot for one dense int8 expert, which the rows without pruning need.
void check_slots(const Subject& subject, const Json& inspection);
/// What a slot of the CPU's buffer takes: direct reads end on pages.
[[nodiscard]] std::uint64_t slot_bytes(std::uint64_t expert_bytes);
/// Experts of that size that the budget holds, each from a page's beginning; at most all.
[[nodiscard]] std::uint64_t slots_in_budget(const Subject& subject, const Json& inspection, std::uint64_t expert_bytes);

/// The one result in which every key has the value given; NotMeasured where there is none.
[[nodiscard]] const Json& result_with(const Json& measured, const std::vector<std::pair<std::string, Json>>& keys);

/// Adds the commands that make it, those of what it reads first, and its file to the item's sources.
void note_source(Item& item, const Measurements& measurements, const Measurement& measurement);

/// "12.34 %" of a share.
[[nodiscard]] std::string percent(double share);
/// "1.23 ms", "45.6 µs": seconds with three digits and the unit that suits them.
[[nodiscard]] std::string duration_text(double seconds);
/// "1.23x".
[[nodiscard]] std::string times_text(double ratio);

}  // namespace flame::report
