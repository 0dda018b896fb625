// A whole expert of a switch-base model, one token and several: the time per expert in every storage format, cycling
// through more experts than the caches hold, as routing does.

#include "flame/kernels/expert.h"

#include <cmath>

#include "flame/sparsity/pack.h"
#include "kernel_benchmark.h"

namespace flame::bench {
namespace {

using kernels::PackedExpertLayout;
using kernels::PackedFormat;
using kernels::PackedType;

constexpr std::size_t kModel = 768;
constexpr std::size_t kInner = 3072;

Matrix<float> pruned(const PackedFormat& format, std::size_t rows, std::size_t columns, std::uint64_t seed) {
  Matrix<float> dense(rows, columns, 0.0F);
  const std::vector<float> values = random_floats(rows * columns, seed);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) {
      if ((c + r) % format.m < format.n) dense.row(r)[c] = 0.05F * values[r * columns + c];
    }
  }
  return dense;
}

void expert(benchmark::State& state, const PackedFormat& format, std::size_t tokens) {
  const PackedExpertLayout layout{format, kModel, kInner, false, kernels::Activation::kRelu};
  const std::size_t experts = kSweepBytes / layout.size_bytes();
  // Each expert begins on a page, as in its slot.
  const std::size_t stride = (layout.size_bytes() + 4095) / 4096 * 4096;
  LargePageMemory memory(experts * stride);
  const std::span<std::byte> bytes = memory.bytes();
  const Matrix<float> wi = pruned(format, kInner, kModel, 1);
  const Matrix<float> wo = pruned(format, kModel, kInner, 2);
  const std::span<std::byte> first = bytes.first(layout.size_bytes());
  sparsity::pack_expert(layout, wi, {}, wo, first);
  for (std::size_t e = 1; e < experts; ++e) {
    std::ranges::copy(first, bytes.data() + e * stride);
  }
  const std::vector<float> values = random_floats(tokens * kModel, 3);
  const MatrixView<const float> input(values.data(), tokens, kModel);
  const std::vector<float> probability(tokens, 0.5F);
  Matrix<float> output(tokens, kModel);
  kernels::ExpertRun run;
  const auto compute = [&](std::size_t e) {
    const auto one = std::span<const std::byte>(bytes).subspan(e * stride, layout.size_bytes());
    run.begin(kernels::parts_of(layout, one), input, probability, output);
    run.finish();
  };
  compute(0);
  const Matrix<float> expected = output;
  for (std::size_t e = 1; e < experts; ++e) compute(e);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t c = 0; c < kModel; ++c) require(output.row(t)[c] == expected.row(t)[c], format.describe());
  }
  time_against_reading(state, static_cast<double>(experts * layout.size_bytes()), [&] {
    for (std::size_t e = 0; e < experts; ++e) compute(e);
  });
  state.counters["experts"] = static_cast<double>(experts);
}

}  // namespace
}  // namespace flame::bench

int main(int argc, char** argv) {
  using namespace flame;
  using kernels::PackedFormat;
  using kernels::PackedType;
  for (const PackedFormat& format : {PackedFormat{1, 1, PackedType::kF32, 64},
                                     {1, 1, PackedType::kBF16, 64},
                                     {1, 1, PackedType::kInt8, 64},
                                     {2, 4, PackedType::kBF16, 64},
                                     {2, 4, PackedType::kInt8, 64},
                                     {1, 4, PackedType::kInt8, 64},
                                     {2, 4, PackedType::kInt4, 64}}) {
    for (const std::size_t tokens : {1UL, 4UL, 16UL}) {
      const std::string name = "expert/" + format.describe() + "/tokens:" + std::to_string(tokens);
      benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { bench::expert(state, format, tokens); })
          ->Iterations(bench::kRepeats)
          ->UseManualTime()
          ->Unit(benchmark::kMillisecond);
    }
  }
  return bench::run_benchmarks(argc, argv);
}
