#include "flame/bench_accelerator.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "flame/accel/accelerator_table.h"
#include "flame/base/byte_size.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/base/progress.h"
#include "flame/console.h"
#include "flame/device_options.h"
#include "flame/model/config.h"
#include "flame/model/synth.h"
#include "flame/sparsity/pattern.h"

namespace flame::cli {
namespace {

Json to_json(const accel::AcceleratorRow& row, const BenchAcceleratorOptions& options) {
  const accel::AcceleratorBenchResult& result = row.result;
  Json cycles = Json::object();
  for (std::size_t kind = 0; kind < accel::kCycleKinds; ++kind) {
    cycles[accel::describe(static_cast<accel::CycleKind>(kind))] =
        static_cast<double>(result.counters.cycles[kind]) / static_cast<double>(result.tokens);
  }
  const accel::KernelCounters::Lookups lookups = result.counters.lookups();
  return {
      {"configuration", row.configuration},
      {"pattern", row.pattern},
      {"dtype", "int8"},
      {"device", "fpga-sim"},
      {"model", options.transactions ? "transactions" : "rtl"},
      {"lanes", std::stoi(options.lanes)},
      {"scope", row.scope},
      {"budget_bytes", result.slots * result.slot_bytes},
      {"slots", result.slots},
      {"predictor", row.configuration == "CEPR" || row.configuration == "both" ? "cepr" : "none"},
      {"m", options.context},
      {"prefetches", options.prefetches},
      {"overlap", options.overlap},
      {"slot_bytes", result.slot_bytes},
      {"tokens", result.tokens},
      {"dense_cycles", row.dense_cycles},
      {"seconds_per_token",
       {{"median", result.seconds_per_token}, {"min", result.seconds_per_token}, {"max", result.seconds_per_token}}},
      {"cycles_per_token", result.cycles_per_token},
      {"moe_cycles_per_token", result.moe_cycles_per_token},
      {"bound_cycles_per_token", result.bound_cycles_per_token},
      {"of_bound", result.moe_cycles_per_token / result.bound_cycles_per_token},
      {"overlapped_bound_cycles_per_token", result.overlapped_bound_cycles_per_token},
      {"of_overlapped_bound", result.moe_cycles_per_token / result.overlapped_bound_cycles_per_token},
      {"speedup", row.speedup},
      {"load_cycles_per_expert", result.load_cycles_per_expert},
      {"steps_per_expert", result.steps_per_expert},
      {"array_busy", result.array_busy},
      {"hits", lookups.hits},
      {"late", lookups.late},
      {"misses", lookups.misses},
      {"hit_ratio", lookups.hit_ratio()},
      {"belady_hit_ratio", result.belady_hit_ratio},
      {"loads",
       {{"demand", result.counters.demand_loads},
        {"prefetched", result.counters.prefetch_loads},
        {"prefetch_used", result.counters.prefetch_used},
        {"prefetch_dropped", result.counters.prefetch_dropped}}},
      {"bytes_loaded", result.counters.load_bytes},
      {"cycles", cycles}};
}

void print_rows(const std::vector<accel::AcceleratorRow>& rows) {
  print(fmt::format("{:<8} {:<8} {:<8} {:>5} {:>12} {:>12} {:>10} {:>8} {:>7} {:>6} {:>6} {:>6} {:>6} {:>8} {:>8}\n",
                    "scope", "config", "pattern", "slots", "cycles/token", "MoE cycles", "bound", "of bound", "of sums",
                    "hit", "late", "miss", "Belady", "us/token", "speed-up"));
  for (const accel::AcceleratorRow& row : rows) {
    const accel::AcceleratorBenchResult& r = row.result;
    const auto lookups = r.counters.lookups();
    const double all = static_cast<double>(lookups.hits + lookups.late + lookups.misses) / 100.0;
    print(fmt::format(
        "{:<8} {:<8} {:<8} {:>5} {:>12.0f} {:>12.0f} {:>10.0f} {:>8.3f} {:>7.3f} {:>5.1f}% {:>5.1f}% {:>5.1f}% "
        "{:>5.1f}% {:>8.1f} {:>7.2f}x\n",
        row.scope, row.configuration, row.pattern, r.slots, r.cycles_per_token, r.moe_cycles_per_token,
        r.bound_cycles_per_token, r.moe_cycles_per_token / r.bound_cycles_per_token,
        r.moe_cycles_per_token / r.overlapped_bound_cycles_per_token, static_cast<double>(lookups.hits) / all,
        static_cast<double>(lookups.late) / all, static_cast<double>(lookups.misses) / all, 100.0 * r.belady_hit_ratio,
        1e6 * r.seconds_per_token, row.speedup));
  }
}

accel::AcceleratorTableOptions table_options(const BenchAcceleratorOptions& options) {
  accel::AcceleratorTableOptions table;
  table.configuration = configuration_of(options.lanes);
  for (const std::string& text : options.patterns) {
    const sparsity::Pattern pattern = sparsity::parse_pattern(text);
    table.patterns.push_back(accel::DevicePattern::from(pattern.n, pattern.m));
  }
  return table;
}

Json list_of(const std::vector<accel::AcceleratorRow>& rows, const BenchAcceleratorOptions& options) {
  Json json = Json::array();
  for (const accel::AcceleratorRow& row : rows) json.push_back(to_json(row, options));
  return json;
}

}  // namespace

void bench_resident_experts(const BenchAcceleratorOptions& options) {
  const model::SwitchConfig config = model::load_config_or_preset(options.model);
  const accel::AcceleratorTableOptions table = table_options(options);
  Progress progress("simulating", table.patterns.size() + 1);
  const std::vector<accel::AcceleratorRow> rows =
      accel::measure_resident_experts(config, table, [&](std::size_t done, std::size_t) { progress.set(done); });
  progress.finish();
  if (options.json) {
    print(to_text(Json{{"model", options.model}, {"results", list_of(rows, options)}}) + "\n");
    return;
  }
  print(fmt::format("{:<8} {:>8} {:>8} {:>10} {:>9}\n", "pattern", "cycles", "steps", "array busy", "speed-up"));
  for (const accel::AcceleratorRow& row : rows) {
    const accel::AcceleratorBenchResult& r = row.result;
    print(fmt::format("{:<8} {:>8.0f} {:>8} {:>8.1f} % {:>8.2f}x", row.pattern, r.cycles_per_token, r.steps_per_expert,
                      100.0 * r.array_busy, row.speedup));
    for (std::size_t kind = 0; kind < accel::kCycleKinds; ++kind) {
      const auto which = static_cast<accel::CycleKind>(kind);
      if (which == accel::CycleKind::kIdle || r.counters[which] == 0) continue;
      print(fmt::format("  {} {:.0f}", accel::describe(which),
                        static_cast<double>(r.counters[which]) / static_cast<double>(r.tokens)));
    }
    print("\n");
  }
}

void bench_accelerator(const BenchAcceleratorOptions& options, const routing::Trace& run,
                       const routing::Profile& profile) {
  const model::SwitchConfig config = model::load_config_or_preset(options.model);
  accel::AcceleratorTableOptions table = table_options(options);
  table.budget_bytes = options.budget_bytes;
  table.order = options.context;
  table.tokens = options.tokens;
  table.warm_up = options.warm_up;
  table.with_dense_layers = !options.moe_only;
  table.prefetch_count = options.prefetches;
  table.keep_popular = options.keep_popular;
  table.wait_for_whole = !options.overlap;
  table.transactions = options.transactions;
  const auto measured = [&](const char* what, const auto& measure) {
    std::optional<Progress> progress;
    return measure([&](std::size_t done, std::size_t all) {
      if (!progress) progress.emplace(what, all);
      progress->set(done);
    });
  };
  const std::vector<accel::AcceleratorRow> rows = measured("simulating", [&](const auto& progress) {
    return accel::measure_accelerator(config, run, profile, table, progress);
  });
  std::vector<accel::AcceleratorRow> sweep;
  if (!options.slots.empty()) {
    sweep = measured("sweeping slots", [&](const auto& progress) {
      return accel::sweep_accelerator(config, run, profile, table, options.slots, progress);
    });
  }
  if (options.json) {
    Json json = {{"model", options.model},
                 {"clock_mhz", table.ddr4.kernel_clock_mhz},
                 {"clock", "assumed"},
                 {"results", list_of(rows, options)},
                 {"ceilings",
                  {{"sequential_beats_per_cycle",
                    accel::sequential_beats_per_cycle(table.ddr4, accel::limits_of(table.configuration).axi_bytes)}}}};
    if (!sweep.empty()) json["sweep"] = list_of(sweep, options);
    print(to_text(json) + "\n");
    return;
  }
  print_rows(rows);
  if (!sweep.empty()) {
    print("\nSlots x sparsity, speed-ups over the first row of each scope:\n");
    print_rows(sweep);
  }
  print(
      "bound: layer by layer, as a decoder's layers wait for one another. of sums: against max(bytes missed / DDR "
      "bandwidth, kept MACs / lanes) of a token's sums, as if any load ran beside any computation.\n");
  print(fmt::format(
      "At {:.0f} MHz (an assumption). The paper on a U200: N:M 1.36 to 1.82x, CEPR 1.48 to 1.98x, both 2.69x.\n",
      table.ddr4.kernel_clock_mhz));
}

}  // namespace flame::cli
