#include "flame/accel/kernel_counters.h"

#include <algorithm>

namespace flame::accel {

namespace {

/// Calls `apply` with each count of `to` and the one of `from` that belongs to it.
template <class Apply>
void for_each_count(KernelCounters& to, const KernelCounters& from, const Apply& apply) {
  for (std::size_t kind = 0; kind < kCycleKinds; ++kind) apply(to.cycles[kind], from.cycles[kind]);
  apply(to.load_bytes, from.load_bytes);
  apply(to.demand_loads, from.demand_loads);
  apply(to.prefetch_loads, from.prefetch_loads);
  apply(to.prefetch_used, from.prefetch_used);
  apply(to.prefetch_dropped, from.prefetch_dropped);
  apply(to.read_bytes, from.read_bytes);
  apply(to.write_bytes, from.write_bytes);
  to.layers.resize(std::max(to.layers.size(), from.layers.size()));
  for (std::size_t layer = 0; layer < from.layers.size(); ++layer) {
    apply(to.layers[layer].hits, from.layers[layer].hits);
    apply(to.layers[layer].late, from.layers[layer].late);
    apply(to.layers[layer].misses, from.layers[layer].misses);
  }
}

}  // namespace

const char* describe(CycleKind kind) {
  switch (kind) {
    case CycleKind::kCommand:
      return "fetching commands";
    case CycleKind::kInput:
      return "token and router";
    case CycleKind::kDecide:
      return "expert buffer";
    case CycleKind::kCompute:
      return "array busy";
    case CycleKind::kMemory:
      return "waiting for weights";
    case CycleKind::kOverhead:
      return "scales, turn, drain";
    case CycleKind::kOutput:
      return "writing results";
    case CycleKind::kDelay:
      return "dense layers (modelled)";
    case CycleKind::kTables:
      return "loading tables";
    case CycleKind::kIdle:
      return "not started";
  }
  return "";
}

std::uint64_t KernelCounters::busy_cycles() const {
  std::uint64_t sum = 0;
  for (const std::uint64_t value : cycles) sum += value;
  return sum - (*this)[CycleKind::kIdle];
}

double KernelCounters::Lookups::hit_ratio() const {
  const std::uint64_t all = hits + late + misses;
  return all == 0 ? 0.0 : static_cast<double>(hits) / static_cast<double>(all);
}

KernelCounters::Lookups KernelCounters::lookups() const {
  Lookups sum;
  for (const Lookups& layer : layers) {
    sum.hits += layer.hits;
    sum.late += layer.late;
    sum.misses += layer.misses;
  }
  return sum;
}

KernelCounters& KernelCounters::operator+=(const KernelCounters& other) {
  for_each_count(*this, other, [](std::uint64_t& to, std::uint64_t from) { to += from; });
  return *this;
}

KernelCounters& KernelCounters::operator-=(const KernelCounters& other) {
  for_each_count(*this, other, [](std::uint64_t& to, std::uint64_t from) { to -= from; });
  return *this;
}

}  // namespace flame::accel
