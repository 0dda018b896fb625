#include "flame/accel/accelerator_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "flame/accel/expert_layout.h"

namespace flame::accel {

double AcceleratorReport::seconds(std::uint64_t cycles) const {
  return static_cast<double>(cycles) / (clock_mhz * 1e6);
}

AcceleratorReport& AcceleratorReport::operator+=(const AcceleratorReport& other) {
  counters += other.counters;
  decoder_layer_runs += other.decoder_layer_runs;
  router_decisions += other.router_decisions;
  router_disagreements += other.router_disagreements;
  clock_mhz = other.clock_mhz;
  return *this;
}

double AcceleratorReport::cycles_per_token(std::uint64_t output_tokens) const {
  if (output_tokens == 0) return 0.0;
  return static_cast<double>(counters.busy_cycles()) / static_cast<double>(output_tokens);
}

std::string AcceleratorReport::describe(std::uint64_t output_tokens) const {
  std::string text = fmt::format("accelerator: {} cycles, {:.3f} ms at {:.0f} MHz (assumed clock)",
                                 counters.busy_cycles(), seconds(counters.busy_cycles()) * 1e3, clock_mhz);
  if (output_tokens != 0) {
    text += fmt::format(", {:.0f} cycles per token out (encoder and beams included)", cycles_per_token(output_tokens));
  }
  text += "\n  where they went:";
  for (std::size_t kind = 0; kind < kCycleKinds; ++kind) {
    const auto which = static_cast<CycleKind>(kind);
    if (which == CycleKind::kIdle || counters[which] == 0) continue;
    text += fmt::format(" {} {:.1f} %,", accel::describe(which),
                        100.0 * static_cast<double>(counters[which]) / static_cast<double>(counters.busy_cycles()));
  }
  text.back() = '\n';
  text += fmt::format("  bytes: experts {}, tokens and tables {}, results {}\n", counters.load_bytes,
                      counters.read_bytes, counters.write_bytes);
  const KernelCounters::Lookups lookups = counters.lookups();
  text += fmt::format("  lookups: {} hits ({:.1f} %), {} late, {} misses\n", lookups.hits, 100.0 * lookups.hit_ratio(),
                      lookups.late, lookups.misses);
  text += fmt::format("  loads: {} on demand, {} prefetched ({} used, {} dropped)\n", counters.demand_loads,
                      counters.prefetch_loads, counters.prefetch_used, counters.prefetch_dropped);
  text += fmt::format("  router unit: {} decisions, {} differ from fp32", router_decisions, router_disagreements);
  return text;
}

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
          {"kernel_seconds", report.seconds(counters.busy_cycles())},
          {"kernel_wait_seconds", report.seconds(counters[CycleKind::kMemory])},
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
           {{"experts", counters.load_bytes},
            {"tokens_and_tables", counters.read_bytes},
            {"results", counters.write_bytes}}},
          {"decoder_expert_runs", report.decoder_layer_runs},
          {"router_decisions", report.router_decisions},
          {"router_disagreements", report.router_disagreements}};
}

}  // namespace flame::accel
