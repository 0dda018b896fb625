#include "flame/accel/accelerator_json.h"

#include <nlohmann/json.hpp>

namespace flame::accel {

Json to_json(const AcceleratorReport& report, std::uint64_t output_tokens) {
  const KernelCounters& counters = report.counters;
  const KernelCounters::Lookups lookups = counters.lookups();
  Json kinds = Json::object();
  for (std::size_t kind = 0; kind < kCycleKinds; ++kind) {
    const auto which = static_cast<CycleKind>(kind);
    if (which != CycleKind::kIdle) kinds[describe(which)] = counters[which];
  }
  return {{"cycles", counters.busy_cycles()},
          {"cycles_by_kind", kinds},
          {"cycles_per_token", report.cycles_per_token(output_tokens)},
          {"clock_mhz", report.clock_mhz},
          {"clock", "assumed"},
          {"hits", lookups.hits},
          {"late", lookups.late},
          {"misses", lookups.misses},
          {"hit_ratio", lookups.hit_ratio()},
          {"loads",
           {{"demand", counters.demand_loads},
            {"prefetched", counters.prefetch_loads},
            {"prefetch_used", counters.prefetch_used},
            {"prefetch_dropped", counters.prefetch_dropped}}},
          {"bytes",
           {{"experts", counters.load_beats * kBeatBytes},
            {"tokens_and_tables", counters.read_beats * kBeatBytes},
            {"results", counters.write_beats * kBeatBytes}}},
          {"router_decisions", report.router_decisions},
          {"router_disagreements", report.router_disagreements}};
}

}  // namespace flame::accel
