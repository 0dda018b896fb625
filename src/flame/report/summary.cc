#include "flame/report/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "flame/base/byte_size.h"

namespace flame::report {
namespace {

constexpr double kPerplexityMayRise = 1.1;

double median_of(const Json& result) { return result.at("seconds_per_token").at("median").get<double>(); }

double rouge1_of(const Json& result) { return result.at("rouge").at("rouge1").at("f").at("mean").get<double>(); }

const Json* dense_cell(const Json& sweep) {
  for (const Json& cell : sweep.at("results")) {
    if (cell.at("method") == "dense") return &cell;
  }
  return nullptr;
}

bool costs_nothing_seen(const Json& cell, const Json& dense) {
  return rouge1_of(cell) >= dense.at("rouge").at("rouge1").at("f").at("low").get<double>() &&
         cell.at("perplexity").get<double>() <= kPerplexityMayRise * dense.at("perplexity").get<double>();
}

/// A cell of a pattern that is packed and scored for the report, and that every device runs.
bool is_packed_pattern(const Json& cell) {
  return cell.at("method") == "magnitude" && (cell.at("pattern") == "2:4" || cell.at("pattern") == "1:4");
}

/// Reads measurements that have been asked for, and runs nothing.
class Stored {
 public:
  explicit Stored(const Measurements& measurements)
      : asked_(measurements.asked()), stored_(measurements.directory(), {}, true, {}) {}

  [[nodiscard]] std::optional<Json> find(const std::string& name) {
    if (!asked_.contains(name) || !stored_.stored(name)) return std::nullopt;
    try {
      return stored_.json({.name = name, .arguments = {}});
    } catch (const FormatError&) {
      return std::nullopt;  // the item that is made of it says what is wrong
    }
  }

 private:
  std::set<std::string> asked_;
  Measurements stored_;
};

/// "N:M alone gives 1.20x of neither's speed, …" and the table behind it.
void add_gains(const Subject& subject, const Json& bench, const std::optional<Json>& model, Summary& summary) {
  Table table{
      .header = {"on the CPU", "experts", "slots", "ms a token", "times neither", "MoE layers, ms", "times neither"},
      .rows = {}};
  const auto seconds = [&](const char* configuration, const char* scope) {
    return median_of(result_with(bench, {{"configuration", configuration}, {"scope", scope}}));
  };
  const double token = seconds("neither", "decoder");
  const double moe = seconds("neither", "moe");
  for (const char* configuration : {"neither", "CEPR", "N:M", "both", "resident"}) {
    const Json& result = result_with(bench, {{"configuration", configuration}, {"scope", "decoder"}});
    const double own_token = seconds(configuration, "decoder");
    const double own_moe = seconds(configuration, "moe");
    table.rows.push_back(
        {configuration,
         fmt::format("{} {}", result.at("pattern").get<std::string>(), result.at("dtype").get<std::string>()),
         std::to_string(result.at("slots").get<std::uint64_t>()), fmt::format("{:.3f}", 1e3 * own_token),
         times_text(token / own_token), fmt::format("{:.3f}", 1e3 * own_moe), times_text(moe / own_moe)});
  }
  summary.tables.push_back(table);
  const std::string memory = model ? fmt::format("{} of expert memory ({} of the packed 2:4 experts)",
                                                 format_byte_size(budget_bytes(subject, *model)), subject.budget)
                                   : subject.budget + " of expert memory";
  summary.sentences.push_back(
      fmt::format("With {} and storage of {}, this machine's CPU decodes a token in {} with neither idea. N:M alone "
                  "makes that {} as "
                  "fast, CEPR alone {}, both {}; with every expert resident it would be {}.",
                  memory, subject.storage_bandwidth, duration_text(token),
                  times_text(token / seconds("N:M", "decoder")), times_text(token / seconds("CEPR", "decoder")),
                  times_text(token / seconds("both", "decoder")), times_text(token / seconds("resident", "decoder"))));
}

void add_accelerator(const Json& simulated, const std::string& where, Summary& summary) {
  const auto cycles = [&](const char* configuration, const char* pattern) {
    return result_with(simulated, {{"configuration", configuration}, {"pattern", pattern}, {"scope", "decoder"}})
        .at("moe_cycles_per_token")
        .get<double>();
  };
  const double neither = cycles("neither", "dense");
  const auto times = [&](const char* configuration, const char* pattern) {
    return times_text(neither / cycles(configuration, pattern));
  };
  summary.sentences.push_back(
      fmt::format("On the simulated accelerator, {}, the MoE layers become {} as fast by N:M alone (2:4; {} at 1:4), "
                  "{} by CEPR alone, and {} by both ({} at 1:4).",
                  where, times("N:M", "2:4"), times("N:M", "1:4"), times("CEPR", "dense"), times("both", "2:4"),
                  times("both", "1:4")));
}

/// The pattern with its reason.
void recommend_pattern(const Json& sweep, const std::string& pattern, Summary& summary) {
  const Json* dense = dense_cell(sweep);
  if (dense == nullptr) return;
  const auto scores = [](const Json& cell) {
    return fmt::format("ROUGE-1 {:.2f}, perplexity {:.2f}", 100.0 * rouge1_of(cell),
                       cell.at("perplexity").get<double>());
  };
  const double interval_begins = 100.0 * dense->at("rouge").at("rouge1").at("f").at("low").get<double>();
  if (pattern == "dense") {
    summary.recommendation.push_back(fmt::format(
        "Pattern: dense. Pruned by magnitude in one shot, neither 2:4 nor 1:4 has a ROUGE-1 that is not below the "
        "dense "
        "model's 95 % interval and a perplexity at most a tenth above its ({}; the interval begins at {:.2f}).",
        scores(*dense), interval_begins));
    return;
  }
  const Json* chosen = nullptr;
  const Json* next = nullptr;
  for (const Json& cell : sweep.at("results")) {
    if (is_packed_pattern(cell) && cell.at("pattern") == pattern) chosen = &cell;
  }
  for (const Json& cell : sweep.at("results")) {
    if (!is_packed_pattern(cell) || cell.at("zeros") <= chosen->at("zeros")) continue;
    if (next == nullptr || cell.at("zeros") < next->at("zeros")) next = &cell;
  }
  summary.recommendation.push_back(fmt::format(
      "Pattern: {}. It is the sparsest of 2:4 and 1:4 whose ROUGE-1 is not below the dense model's 95 % interval, "
      "which "
      "begins at {:.2f}, and whose perplexity is at most a tenth above the dense model's: {} against {}.{}",
      pattern, interval_begins, scores(*chosen), scores(*dense),
      next == nullptr ? ""
                      : fmt::format(" {} misses that ({}).", next->at("pattern").get<std::string>(), scores(*next))));
}

std::string recommend_dtype(Stored& stored, const std::string& pattern, const std::optional<Json>& model,
                            Summary& summary) {
  std::string file = pattern;
  std::replace(file.begin(), file.end(), ':', '_');
  const std::optional<Json> reference = stored.find(fmt::format("dtype-{}-bf16", file));
  if (!reference || !model) return {};
  const double low = reference->at("rouge").at("rouge1").at("f").at("low").get<double>();
  std::string chosen = "bf16";
  double score = rouge1_of(*reference);
  std::string refused;
  for (const char* dtype : {"int8", "int4"}) {
    const std::optional<Json> scored = stored.find(fmt::format("dtype-{}-{}", file, dtype));
    if (!scored) break;
    if (rouge1_of(*scored) < low) {
      refused = fmt::format(" {} falls below it, {:.2f}.", dtype, 100.0 * rouge1_of(*scored));
      break;
    }
    chosen = dtype;
    score = rouge1_of(*scored);
  }
  std::string text = fmt::format("Dtype: {}. ", chosen);
  if (chosen == "bf16") {
    text += fmt::format("An expert takes {} bytes; ROUGE-1 is {:.2f}, its 95 % interval begins at {:.2f}.{}",
                        expert_bytes(*model, pattern, "bf16"), 100.0 * score, 100.0 * low, refused);
  } else {
    text += fmt::format(
        "An expert takes {} bytes, in bf16 {}; ROUGE-1 is {:.2f}, not below the 95 % interval of bf16 ({:.2f}, from "
        "{:.2f} on).{}{}",
        expert_bytes(*model, pattern, chosen), expert_bytes(*model, pattern, "bf16"), 100.0 * score,
        100.0 * rouge1_of(*reference), 100.0 * low, refused, chosen == "int4" ? " The accelerator takes int8." : "");
  }
  summary.recommendation.push_back(text);
  return chosen;
}

void recommend_predictor_and_slots(const Subject& subject, const Json& replay, const Json& model,
                                   const std::optional<Json>& predictions, const std::string& pattern,
                                   const std::string& dtype, Summary& summary) {
  const std::uint64_t slots = slots_in_budget(subject, model, expert_bytes(model, pattern, dtype));
  // The replayed number of slots that is nearest to what the budget holds.
  double nearest = 0.0;
  for (const Json& result : replay.at("results")) {
    const double here = result.at("slots").get<double>();
    if (nearest == 0.0 ||
        std::abs(here - static_cast<double>(slots)) < std::abs(nearest - static_cast<double>(slots))) {
      nearest = here;
    }
  }
  const Json* best = nullptr;
  const Json* without = nullptr;
  const Json* none = nullptr;
  const Json* oracle = nullptr;
  double resident = 0.0;  // of any replay with a slot for every expert
  for (const Json& result : replay.at("results")) {
    const auto predictor = result.at("predictor").get<std::string>();
    const double latency = result.at("latency_seconds").get<double>();
    if (result.at("slots") >= model.at("experts") && (resident == 0.0 || latency < resident)) resident = latency;
    if (result.at("slots").get<double>() != nearest) continue;
    if (predictor == "lru") without = &result;
    if (predictor == "none") none = &result;
    if (predictor == "oracle") oracle = &result;
    if (predictor == "oracle" || predictor == "belady") continue;
    if (best == nullptr || latency < best->at("latency_seconds").get<double>()) best = &result;
  }
  if (best == nullptr || without == nullptr || none == nullptr || oracle == nullptr) return;
  const auto latency = [](const Json& result) { return result.at("latency_seconds").get<double>(); };
  const auto predictor = best->at("predictor").get<std::string>();
  const bool ordered = predictor == "cepr" || predictor == "online";
  // What it takes on the device, as `flame eval prediction` tells for two experts a context.
  std::string table;
  if (predictions) {
    for (const Json& result : predictions->at("results")) {
      if (result.at("predictor") != predictor || result.at("k") != 2 || result.at("m") != (ordered ? 3 : 0) ||
          result.contains("budget_bytes") || result.value("depth", 1) != 1) {
        continue;
      }
      // The budget is for experts alone; a large table beside it may be worth more as slots.
      const auto stored = result.at("index_bytes").get<std::uint64_t>();
      table = fmt::format(" It stores {} bytes at k = 2, beside the budget and {} of its size.", stored,
                          percent(static_cast<double>(stored) / static_cast<double>(budget_bytes(subject, model))));
    }
  }
  const std::string setting = fmt::format("Replayed with {:.0f} slots of {} int8 experts", nearest, pattern);
  if (predictor == "none" || predictor == "lru") {
    summary.recommendation.push_back(fmt::format(
        "Predictor: {}. {} no prediction that was replayed is faster than its {} a token ({} hits); an oracle, which "
        "is no bound, gives {}.",
        predictor == "lru" ? "none, and LRU replacement" : "none", setting, duration_text(latency(*best)),
        percent(best->at("hit_ratio").get<double>()), duration_text(latency(*oracle))));
  } else {
    summary.recommendation.push_back(fmt::format(
        "Predictor: {}. {} it gives {} a token ({} hits); without prediction, `none` (the same replacement) gives {} "
        "and LRU {}; an oracle, which is no bound, {}.{}",
        ordered ? predictor + " with m = 3" : predictor, setting, duration_text(latency(*best)),
        percent(best->at("hit_ratio").get<double>()), duration_text(latency(*none)), duration_text(latency(*without)),
        duration_text(latency(*oracle)), table));
  }
  std::uint64_t enough = 0;
  for (const Json& result : replay.at("results")) {
    if (result.at("predictor") != predictor || resident == 0.0 || latency(result) > 1.1 * resident) continue;
    const auto here = result.at("slots").get<std::uint64_t>();
    if (enough == 0 || here < enough) enough = here;
  }
  const std::uint64_t bytes = expert_bytes(model, pattern, dtype);
  std::string text = fmt::format(
      "Slots: {} of {}. So many {} {} experts fit into {}, each of {} bytes{}.", slots,
      model.at("experts").get<std::uint64_t>(), pattern, dtype, format_byte_size(budget_bytes(subject, model)), bytes,
      slot_bytes(bytes) == bytes ? "" : fmt::format(" in a slot of {}, whole pages", slot_bytes(bytes)));
  if (enough > 0) {
    text += fmt::format(" {} slots are the fewest replayed that come within a tenth of having everything resident{}.",
                        enough, enough <= slots ? ", so the budget is enough" : ", more than the budget holds");
  }
  summary.recommendation.push_back(text);
}

}  // namespace

std::string recommended_pattern(const Json& sweep) {
  const Json* dense = dense_cell(sweep);
  if (dense == nullptr) return "dense";
  const Json* best = nullptr;
  for (const Json& cell : sweep.at("results")) {
    if (!is_packed_pattern(cell) || !costs_nothing_seen(cell, *dense)) continue;
    if (best == nullptr || cell.at("zeros") > best->at("zeros")) best = &cell;
  }
  return best == nullptr ? "dense" : best->at("pattern").get<std::string>();
}

Summary summarise(const Subject& subject, const Measurements& measurements) {
  Summary summary;
  Stored stored(measurements);
  const std::optional<Json> model = stored.find("inspect");
  if (const std::optional<Json> bench = stored.find("bench")) add_gains(subject, *bench, model, summary);
  if (const std::optional<Json> simulated = stored.find("accelerator")) {
    add_accelerator(*simulated, "with slots for a quarter of the decoder's 2:4 experts", summary);
  }
  if (const std::optional<Json> simulated = stored.find("accelerator-switch-base")) {
    add_accelerator(*simulated,
                    fmt::format("at {}'s size, routed as this model", simulated->at("model").get<std::string>()),
                    summary);
  }
  std::string pattern = "2:4";
  if (const std::optional<Json> sweep = stored.find("pruning-sweep")) {
    pattern = recommended_pattern(*sweep);
    recommend_pattern(*sweep, pattern, summary);
  }
  const std::string dtype = recommend_dtype(stored, pattern, model, summary);
  std::string replayed = "buffer-" + pattern;
  std::replace(replayed.begin(), replayed.end(), ':', '_');
  const std::optional<Json> replay = stored.find(replayed);
  if (replay && model) {
    recommend_predictor_and_slots(subject, *replay, *model, stored.find("prediction"), pattern,
                                  dtype.empty() ? "int8" : dtype, summary);
  }
  return summary;
}

}  // namespace flame::report
