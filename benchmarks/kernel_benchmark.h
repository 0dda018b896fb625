#pragma once

#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
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

/// Times `sweep`, which reads `bytes` stored bytes, alternately with plain reading of memory, so that both see the same
/// neighbours on the memory bus. Reports medians: bytes/s, read bytes/s, and the share of the one in the other.
inline void time_against_reading(benchmark::State& state, double bytes, FunctionRef<void()> sweep) {
  std::vector<double> rates;
  std::vector<double> read_rates;
  std::vector<double> shares;
  sweep();  // pages and branch predictors are warm, caches hold what they can
  for ([[maybe_unused]] const auto iteration : state) {
    const double read_before = measure_read_bandwidth(bandwidth_buffer());
    const auto start = std::chrono::steady_clock::now();
    sweep();
    const double seconds = seconds_since(start);
    const double read_after = measure_read_bandwidth(bandwidth_buffer());
    state.SetIterationTime(seconds);
    rates.push_back(bytes / seconds);
    read_rates.push_back(0.5 * (read_before + read_after));
    shares.push_back(rates.back() / read_rates.back());
  }
  using benchmark::Counter;
  state.counters["bytes/s"] = Counter(median(rates), Counter::kDefaults, Counter::kIs1000);
  state.counters["read"] = Counter(median(read_rates), Counter::kDefaults, Counter::kIs1000);
  state.counters["of_read"] = median(shares);
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
