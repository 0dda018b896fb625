// Packed matrix-vector kernels on weights far larger than the caches, and in cache: stored bytes per second against
// plain reading, the ladder of instruction sets, and the speed of a sparse matrix over the dense one it stands for.

#include <algorithm>
#include <cmath>
#include <ctime>
#include <memory>

#include "flame/kernels/packed_cost.h"
#include "flame/kernels/packed_linear.h"
#include "flame/sparsity/pack.h"
#include "instruction_mix.h"
#include "kernel_benchmark.h"

namespace flame::bench {
namespace {

using kernels::PackedFormat;
using kernels::PackedInput;
using kernels::PackedLayout;
using kernels::PackedMatrixView;
using kernels::PackedType;

constexpr std::size_t kColumns = 768;

/// A matrix in the first-level cache (48 KiB), beside what kernels prefetch past its end.
constexpr std::size_t kInCacheBytes = std::size_t{30} << 10;

/// A packed matrix of `rows` rows: a small one packed once and repeated, as all row blocks are alike in form.
class Packed {
 public:
  Packed(const PackedFormat& format, std::size_t rows, std::size_t columns = kColumns)
      : layout_(format, rows, columns), memory_(layout_.size_bytes()) {
    constexpr std::size_t kPattern = 64;
    Matrix<float> dense(kPattern, columns, 0.0F);
    const std::vector<float> values = random_floats(kPattern * columns, 3);
    for (std::size_t r = 0; r < kPattern; ++r) {
      for (std::size_t c = 0; c < columns; ++c) {
        // n of m places, another choice in every group.
        const std::size_t turn = (r * 7 + c / format.m * 5) % format.m;
        if ((c % format.m + turn) % format.m < format.n) dense.row(r)[c] = values[r * columns + c];
      }
    }
    const std::vector<std::byte> pattern = sparsity::pack_matrix(format, dense);
    const std::span<std::byte> bytes = memory_.bytes();
    for (std::size_t offset = 0; offset < bytes.size(); offset += pattern.size()) {
      std::copy_n(pattern.begin(), std::min(pattern.size(), bytes.size() - offset), bytes.data() + offset);
    }
  }
  [[nodiscard]] PackedMatrixView view() const { return {layout_, memory_.bytes()}; }

  /// As many rows as `bytes` bytes hold, in whole blocks.
  static std::size_t rows_for(const PackedFormat& format, std::size_t bytes, std::size_t columns = kColumns) {
    const std::size_t block = PackedLayout(format, kernels::kPackedBlockRows, columns).size_bytes();
    return std::max<std::size_t>(bytes / block, 1) * kernels::kPackedBlockRows;
  }

 private:
  PackedLayout layout_;
  LargePageMemory memory_;
};

void check_answer(const PackedMatrixView& matrix, const PackedInput& input) {
  const PackedLayout& layout = matrix.layout;
  const PackedLayout first(layout.format(), std::min<std::size_t>(layout.rows(), 64), layout.columns());
  const PackedMatrixView part{first, matrix.bytes.first(first.size_bytes())};
  Matrix<float> expected(input.tokens(), first.rows());
  Matrix<float> output(input.tokens(), first.rows());
  kernels::packed_linear_reference(part, input, expected);
  kernels::packed_linear(part, input, 0, first.rows(), output);
  for (std::size_t t = 0; t < input.tokens(); ++t) {
    for (std::size_t r = 0; r < first.rows(); ++r) {
      require(std::fabs(output.row(t)[r] - expected.row(t)[r]) < 1e-3F, layout.format().describe());
    }
  }
}

void packed_gemv(benchmark::State& state, const PackedFormat& format, std::string_view instruction_set,
                 std::size_t tokens, std::size_t columns) {
  kernels::force_instruction_set(instruction_set);
  const Packed packed(format, Packed::rows_for(format, kSweepBytes, columns), columns);
  const PackedMatrixView matrix = packed.view();
  const std::vector<float> values = random_floats(tokens * columns, 4);
  PackedInput input;
  input.assign(matrix.layout, MatrixView<const float>(values.data(), tokens, columns));
  check_answer(matrix, input);
  Matrix<float> output(tokens, matrix.layout.rows());
  time_against_reading(state, static_cast<double>(matrix.bytes.size()),
                       [&] { kernels::packed_linear(matrix, input, 0, matrix.layout.rows(), output); });
  kernels::force_instruction_set("");
}

/// Rate of additions that each wait for the one before: the clock, as a thread of this process sees it right now.
double measure_clock() {
  constexpr int kRounds = 1 << 20;
  std::vector<double> rates;
  for (int repeat = 0; repeat < 9; ++repeat) {
    const std::clock_t start = std::clock();
    std::uint64_t value = 0;
    for (int i = 0; i < kRounds; ++i) {
      for (int j = 0; j < 16; ++j) {
        ++value;
        asm volatile("" : "+r"(value));
      }
    }
    benchmark::DoNotOptimize(value);
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    if (seconds > 0.0) rates.push_back(16.0 * kRounds / seconds);
  }
  return rates.empty() ? 0.0 : *std::ranges::max_element(rates);
}

/// Measures the instructions of one row of the table below by themselves: cycles at a clock of so many Hz. May be null.
using MeasureMix = double (*)(double clock);

template <PackedType Type, std::uint8_t N, std::uint8_t M, std::size_t Columns, bool Negative>
constexpr kernels::VectorWork kWork = kernels::packed_work({N, M, Type, 64}, Negative, Columns / M * N);

/// One thread, a matrix that stays in its first-level cache: what the instructions allow when memory does not matter.
/// `by_pipes` is what packed_work() allows by the number of pipes alone; `bound` what these instructions take when
/// nothing but each other holds them up, measured in the same minute; `of_bound` how much of that is reached, the whole
/// call taken together.
void packed_gemv_in_cache(benchmark::State& state, const PackedFormat& format, std::size_t columns, bool negative,
                          MeasureMix measure_mix) {
  ThreadPool::set_threads(1);
  const Packed packed(format, Packed::rows_for(format, kInCacheBytes, columns), columns);
  const PackedMatrixView matrix = packed.view();
  std::vector<float> values = random_floats(columns, 5);
  PackedInput input;
  if (negative) {
    input.assign(matrix.layout, MatrixView<const float>(values.data(), 1, columns));
  } else {
    // The hidden vector of an int8 expert after its ReLU.
    std::vector<std::int8_t> codes(columns);
    for (std::size_t c = 0; c < columns; ++c) codes[c] = static_cast<std::int8_t>(std::fabs(values[c]) * 127.0F);
    input.assign(matrix.layout, MatrixView<const std::int8_t>(codes.data(), 1, columns),
                 std::vector<float>{1.0F / 127});
  }
  check_answer(matrix, input);
  Matrix<float> output(1, matrix.layout.rows());
  const double clock = measure_clock();
  const std::clock_t start = std::clock();
  for ([[maybe_unused]] const auto iteration : state) {
    kernels::packed_linear(matrix, input, 0, matrix.layout.rows(), output);
    benchmark::DoNotOptimize(output.data());
  }
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  const auto stored = static_cast<double>(matrix.bytes.size());
  const auto kept = static_cast<double>(matrix.layout.rows() * matrix.layout.kept());
  const auto calls = static_cast<double>(state.iterations());
  const double cycles = seconds * clock * 64.0 / (kept * calls);
  const double by_pipes = kernels::packed_work(format, negative, matrix.layout.kept()).cycles();
  state.counters["bytes/s"] = benchmark::Counter(stored * calls, benchmark::Counter::kIsRate);
  state.counters["clock"] = benchmark::Counter(clock, benchmark::Counter::kDefaults, benchmark::Counter::kIs1000);
  state.counters["cycles/64_kept"] = cycles;
  state.counters["by_pipes"] = by_pipes;
  if (measure_mix != nullptr) {
    const double bound = std::max(by_pipes, measure_mix(clock));
    state.counters["bound"] = bound;
    state.counters["of_bound"] = bound / cycles;
  }
  ThreadPool::set_threads(0);
}

/// The same logical matrix dense in int8 and bf16, and sparse, one after the other in every repeat.
void packed_over_dense(benchmark::State& state) {
  const std::size_t rows = Packed::rows_for({1, 1, PackedType::kInt8, 64}, kSweepBytes);
  const std::vector<PackedFormat> formats = {{1, 1, PackedType::kInt8, 64},
                                             {1, 1, PackedType::kBF16, 64},
                                             {2, 4, PackedType::kInt8, 64},
                                             {1, 4, PackedType::kInt8, 64}};
  std::vector<std::unique_ptr<Packed>> matrices;
  std::vector<PackedInput> inputs(formats.size());
  const std::vector<float> values = random_floats(kColumns, 6);
  Matrix<float> output(1, rows);
  for (std::size_t i = 0; i < formats.size(); ++i) {
    matrices.push_back(std::make_unique<Packed>(formats[i], rows));
    inputs[i].assign(matrices[i]->view().layout, MatrixView<const float>(values.data(), 1, kColumns));
    check_answer(matrices[i]->view(), inputs[i]);
  }
  std::vector<std::vector<double>> seconds(formats.size());
  std::vector<std::vector<double>> processor_seconds(formats.size());
  for ([[maybe_unused]] const auto iteration : state) {
    double total = 0.0;
    for (std::size_t i = 0; i < formats.size(); ++i) {
      const Rate once = rate_of(1.0, [&] { kernels::packed_linear(matrices[i]->view(), inputs[i], 0, rows, output); });
      seconds[i].push_back(1.0 / once.by_clock);
      processor_seconds[i].push_back(1.0 / once.by_processor);
      total += seconds[i].back();
    }
    state.SetIterationTime(total);
  }
  const auto report = [&](const std::string& name, std::size_t slow, std::size_t fast) {
    std::vector<double> ratios;
    std::vector<double> processor_ratios;
    for (std::size_t k = 0; k < seconds[slow].size(); ++k) {
      ratios.push_back(seconds[slow][k] / seconds[fast][k]);
      processor_ratios.push_back(processor_seconds[slow][k] / processor_seconds[fast][k]);
    }
    state.counters[name] = median(ratios);
    state.counters[name + "_cpu"] = median(processor_ratios);
  };
  report("2:4_int8/dense_int8", 0, 2);
  report("2:4_int8/dense_bf16", 1, 2);
  report("1:4_int8/dense_int8", 0, 3);
}

template <typename Function>
benchmark::internal::Benchmark* add(const std::string& name, Function function) {
  return benchmark::RegisterBenchmark(name.c_str(), function)->Unit(benchmark::kMillisecond);
}

void add_sweep(const PackedFormat& format, std::string_view instruction_set, std::size_t tokens,
               std::size_t columns = kColumns) {
  add("packed_gemv/" + format.describe() + "/" + std::string(instruction_set) + "/vectors:" + std::to_string(tokens) +
          "/columns:" + std::to_string(columns),
      [=](benchmark::State& state) { packed_gemv(state, format, instruction_set, tokens, columns); })
      ->Iterations(kRepeats)
      ->UseManualTime();
}

template <PackedType Type, std::uint8_t N, std::uint8_t M, std::size_t Columns, bool Negative>
void add_in_cache() {
  constexpr PackedFormat kFormat{N, M, Type, 64};
  if (PackedLayout(kFormat, kernels::kPackedBlockRows, Columns).size_bytes() > kInCacheBytes) return;
  MeasureMix mix = nullptr;
#if defined(__x86_64__)
  // packed_work() counts the instructions of this set's kernels.
  if (kernels::instruction_set() == "AVX3_DL") mix = measure_mix<kWork<Type, N, M, Columns, Negative>>;
#endif
  add("packed_gemv_in_cache/" + kFormat.describe() + "/columns:" + std::to_string(Columns) +
          (Negative ? "" : "/no_negative_codes"),
      [=](benchmark::State& state) { packed_gemv_in_cache(state, kFormat, Columns, Negative, mix); })
      ->Unit(benchmark::kMicrosecond);
}

template <PackedType Type, std::uint8_t N, std::uint8_t M>
void add_in_cache_rows() {
  add_in_cache<Type, N, M, 768, true>();
  add_in_cache<Type, N, M, 1536, true>();
  add_in_cache<Type, N, M, 3072, true>();
  if constexpr (Type == PackedType::kInt8) {
    add_in_cache<Type, N, M, 768, false>();
    add_in_cache<Type, N, M, 3072, false>();
  }
}

template <PackedType Type>
void add_in_cache_patterns() {
  add_in_cache_rows<Type, 1, 1>();
  add_in_cache_rows<Type, 4, 8>();
  add_in_cache_rows<Type, 2, 4>();
  add_in_cache_rows<Type, 4, 16>();
  add_in_cache_rows<Type, 2, 8>();
  add_in_cache_rows<Type, 1, 4>();
  add_in_cache_rows<Type, 2, 16>();
  add_in_cache_rows<Type, 1, 8>();
}

}  // namespace
}  // namespace flame::bench

int main(int argc, char** argv) {
  using namespace flame;
  using kernels::PackedFormat;
  using kernels::PackedType;
  const auto sets = kernels::available_instruction_sets();
  const std::vector<std::pair<std::uint8_t, std::uint8_t>> patterns = {{1, 1}, {4, 8}, {2, 4},  {4, 16},
                                                                       {2, 8}, {1, 4}, {2, 16}, {1, 8}};
  for (const PackedType type : {PackedType::kInt8, PackedType::kInt4, PackedType::kBF16, PackedType::kF32}) {
    for (const auto& [n, m] : patterns) {
      // The two matrices of a switch-base expert.
      for (const std::size_t columns : {768UL, 3072UL}) {
        bench::add_sweep({n, m, type, 64}, sets.front(), 1, columns);
      }
    }
  }
  // The ladder, from the general kernel in portable code to the best, and a pattern that only the general one serves.
  for (auto set = sets.rbegin(); set != sets.rend(); ++set) {
    for (const PackedType type : {PackedType::kInt8, PackedType::kInt4}) bench::add_sweep({2, 4, type, 64}, *set, 1);
  }
  bench::add_sweep({3, 7, PackedType::kInt8, 64}, sets.front(), 1);
  for (const std::size_t tokens : {2UL, 4UL, 8UL, 16UL}) {
    bench::add_sweep({2, 4, PackedType::kInt8, 64}, sets.front(), tokens);
    bench::add_sweep({2, 4, PackedType::kBF16, 64}, sets.front(), tokens);
  }
  bench::add_in_cache_patterns<PackedType::kInt8>();
  bench::add_in_cache_patterns<PackedType::kInt4>();
  bench::add_in_cache_patterns<PackedType::kBF16>();
  bench::add_in_cache_patterns<PackedType::kF32>();
  bench::add("packed_over_dense", bench::packed_over_dense)->Iterations(bench::kRepeats)->UseManualTime();
  return bench::run_benchmarks(argc, argv);
}
