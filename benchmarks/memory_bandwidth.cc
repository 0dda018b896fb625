// Plain reading of memory: the ceiling that the other programs compare their kernels with.

#include "kernel_benchmark.h"

namespace flame::bench {
namespace {

void read_memory(benchmark::State& state) {
  ThreadPool::set_threads(static_cast<std::size_t>(state.range(0)));
  std::vector<double> rates;
  for ([[maybe_unused]] const auto iteration : state) {
    rates.push_back(measure_read_bandwidth(bandwidth_buffer()));
    state.SetIterationTime(static_cast<double>(kSweepBytes) / rates.back());
  }
  state.counters["bytes/s"] =
      benchmark::Counter(median(rates), benchmark::Counter::kDefaults, benchmark::Counter::kIs1000);
  state.counters["best"] =
      benchmark::Counter(*std::ranges::max_element(rates), benchmark::Counter::kDefaults, benchmark::Counter::kIs1000);
  ThreadPool::set_threads(0);
}

BENCHMARK(read_memory)
    ->ArgName("threads")
    ->RangeMultiplier(2)
    ->Range(1, static_cast<long>(ThreadPool::threads()))
    ->Iterations(kRepeats)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace flame::bench

int main(int argc, char** argv) { return flame::bench::run_benchmarks(argc, argv); }
