#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "flame/base/function_ref.h"
#include "flame/base/thread_pool.h"
#include "flame/kernels/target.h"
#include "read_bandwidth.h"

namespace flame::bench {

/// Bytes a kernel reads in one timed sweep: eight times the largest last-level cache we know of in such machines.
inline constexpr std::size_t kSweepBytes = std::size_t{256} << 20;

/// The memory whose reading every kernel is compared with.
inline const Buffer& bandwidth_buffer() {
  static const Buffer buffer(kSweepBytes);
  return buffer;
}

/// Stops the program when a kernel's answer is not the reference's: no time is taken of a wrong result.
inline void require(bool right, const std::string& what) {
  if (right) return;
  std::fprintf(stderr, "%s: the answer is wrong, nothing was measured\n", what.c_str());
  std::exit(1);
}

/// Bytes per second of the clock and of the processors' time.
struct Rate {
  double by_clock = 0.0;
  double by_processor = 0.0;
};

inline Rate rate_of(double bytes, FunctionRef<void()> work) {
  const auto start = std::chrono::steady_clock::now();
  const std::clock_t processor_start = std::clock();
  work();
  const double processor_seconds = static_cast<double>(std::clock() - processor_start) / CLOCKS_PER_SEC;
  return {bytes / seconds_since(start), bytes / std::max(processor_seconds, 1e-6)};
}

/// Times `sweep`, which reads `bytes` stored bytes, alternately with plain reading of memory, so that both see the same
/// neighbours on the memory bus. Reports medians: bytes/s, read bytes/s, and the share of the one in the other; the
/// share also by processor time, which means something on a machine that is busy with other work too.
inline void time_against_reading(benchmark::State& state, double bytes, FunctionRef<void()> sweep) {
  std::vector<double> rates;
  std::vector<double> read_rates;
  std::vector<double> shares;
  std::vector<double> processor_shares;
  sweep();  // pages and branch predictors are warm, caches hold what they can
  const auto read = [] { static_cast<void>(measure_read_bandwidth(bandwidth_buffer())); };
  for ([[maybe_unused]] const auto iteration : state) {
    const Rate before = rate_of(static_cast<double>(kSweepBytes), read);
    const Rate kernel = rate_of(bytes, sweep);
    const Rate after = rate_of(static_cast<double>(kSweepBytes), read);
    state.SetIterationTime(bytes / kernel.by_clock);
    rates.push_back(kernel.by_clock);
    read_rates.push_back(0.5 * (before.by_clock + after.by_clock));
    shares.push_back(rates.back() / read_rates.back());
    processor_shares.push_back(2.0 * kernel.by_processor / (before.by_processor + after.by_processor));
  }
  using benchmark::Counter;
  state.counters["bytes/s"] = Counter(median(rates), Counter::kDefaults, Counter::kIs1000);
  state.counters["read"] = Counter(median(read_rates), Counter::kDefaults, Counter::kIs1000);
  state.counters["of_read"] = median(shares);
  state.counters["of_read_cpu"] = median(processor_shares);
  state.counters["threads"] = static_cast<double>(ThreadPool::threads());
}

/// Repeats of one row; medians are over these.
inline constexpr int kRepeats = 15;

/// `count` floats between -1 and 1.
inline std::vector<float> random_floats(std::size_t count, std::uint64_t seed) {
  std::vector<float> values(count);
  std::uint64_t state = seed * 0x9e3779b97f4a7c15U + 1;
  for (float& value : values) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    value = static_cast<float>(static_cast<std::int64_t>(state >> 40) - (1 << 23)) * 0x1p-23F;
  }
  return values;
}

/// main() of every program: names the machine's instruction set, then runs what was registered.
inline int run_benchmarks(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::AddCustomContext("instruction set", std::string(kernels::instruction_set()));
  benchmark::AddCustomContext("threads", std::to_string(ThreadPool::threads()));
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace flame::bench
