// Magnitude N:M pruning in place, beside plain reading of memory: it must be bound by memory, not by finding the
// largest. Every byte is read and written once, so bytes/s counts both. The matrix is far larger than cache.

#include <string>

#include "flame/sparsity/group_select.h"
#include "kernel_benchmark.h"

namespace flame::bench {
namespace {

using sparsity::Pattern;

constexpr std::size_t kColumns = 3072;

/// Compares some groups with the definition.
bool right(Pattern pattern, const std::vector<float>& before, const std::vector<float>& after) {
  for (std::size_t group = 0; group < 4096; ++group) {
    const std::size_t first = group * 331 * pattern.m;
    const std::uint32_t kept = sparsity::largest_of_group(std::span(before).subspan(first, pattern.m), pattern.n);
    for (std::size_t i = 0; i < pattern.m; ++i) {
      if (after[first + i] != ((kept >> i & 1U) != 0 ? before[first + i] : 0.0F)) return false;
    }
  }
  return true;
}

void prune_f32(benchmark::State& state) {
  const Pattern pattern{static_cast<std::uint8_t>(state.range(0)), static_cast<std::uint8_t>(state.range(1))};
  const std::size_t rows = kSweepBytes / (kColumns * sizeof(float));
  const std::vector<float> before = random_floats(rows * kColumns, 3);
  std::vector<float> weights = before;
  const auto sweep = [&] {
    ThreadPool::parallel_for(rows, 32, [&](std::size_t begin, std::size_t end) {
      const auto part = std::span(weights).subspan(begin * kColumns, (end - begin) * kColumns);
      sparsity::keep_largest(pattern, DataType::kF32, std::as_writable_bytes(part), kColumns);
    });
  };
  sweep();
  require(right(pattern, before, weights), "f32 " + pattern.to_string());
  time_against_reading(state, 2.0 * static_cast<double>(rows * kColumns * sizeof(float)), sweep);
}

BENCHMARK(prune_f32)
    ->ArgNames({"N", "M"})
    ->Args({1, 4})
    ->Args({2, 4})
    ->Args({4, 8})
    ->Args({8, 16})
    ->Args({3, 6})
    ->Iterations(kRepeats)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace flame::bench

int main(int argc, char** argv) { return flame::bench::run_benchmarks(argc, argv); }
