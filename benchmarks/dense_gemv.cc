// Dense matrix-vector kernels, f32, bf16 and f16, on weights far larger than the caches: the attention and output
// matrices of decoding. The ladder goes from portable code to the best instruction set; then more vectors at once.

#include <cmath>
#include <cstring>

#include "flame/base/data_type.h"
#include "flame/kernels/linear.h"
#include "kernel_benchmark.h"

namespace flame::bench {
namespace {

using kernels::WeightMatrix;

constexpr std::size_t kColumns = 768;

/// Weights of one sweep.
class Weights {
 public:
  explicit Weights(DataType type) : memory_(kSweepBytes) {
    const std::size_t rows = kSweepBytes / (kColumns * size_of(type));
    view_ = {type, memory_.bytes().data(), rows, kColumns};
    view_.streamed = true;
    const std::vector<float> values = random_floats(1 << 16, 1);
    for (std::size_t i = 0; i < rows * kColumns; ++i) {
      const float value = values[i % values.size()];
      std::byte* position = memory_.bytes().data() + i * size_of(type);
      if (type == DataType::kF32) std::memcpy(position, &value, sizeof(value));
      if (type == DataType::kBF16) {
        const BFloat16 narrow = BFloat16::from_float(value);
        std::memcpy(position, &narrow, sizeof(narrow));
      }
      if (type == DataType::kF16) {
        const Float16 narrow = Float16::from_float(value);
        std::memcpy(position, &narrow, sizeof(narrow));
      }
    }
  }
  [[nodiscard]] const WeightMatrix& view() const { return view_; }

 private:
  LargePageMemory memory_;
  WeightMatrix view_;
};

void dense_gemv(benchmark::State& state, DataType type, std::string_view instruction_set, std::size_t tokens) {
  kernels::force_instruction_set(instruction_set);
  const Weights weights(type);
  const std::vector<float> input = random_floats(tokens * kColumns, 2);
  const MatrixView<const float> vectors(input.data(), tokens, kColumns);
  Matrix<float> output(tokens, weights.view().rows);

  constexpr std::size_t kChecked = 64;
  Matrix<float> expected(tokens, kChecked);
  kernels::linear_reference(weights.view().rows_from(0, kChecked), vectors, expected);
  kernels::linear(weights.view(), vectors, output);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t r = 0; r < kChecked; ++r) {
      require(std::fabs(output.row(t)[r] - expected.row(t)[r]) < 1e-3F, "dense_gemv");
    }
  }
  time_against_reading(state, static_cast<double>(weights.view().size_bytes()),
                       [&] { kernels::linear(weights.view(), vectors, output); });
  kernels::force_instruction_set("");
}

void add(DataType type, std::string_view instruction_set, std::size_t tokens) {
  const std::string name = "dense_gemv/" + std::string(name_of(type)) + "/" + std::string(instruction_set) +
                           "/vectors:" + std::to_string(tokens);
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) { dense_gemv(state, type, instruction_set, tokens); })
      ->Iterations(kRepeats)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

}  // namespace
}  // namespace flame::bench

int main(int argc, char** argv) {
  using namespace flame;
  const auto sets = kernels::available_instruction_sets();
  for (const DataType type : {DataType::kF32, DataType::kBF16, DataType::kF16}) {
    for (auto set = sets.rbegin(); set != sets.rend(); ++set) bench::add(type, *set, 1);
    for (const std::size_t tokens : {2UL, 4UL, 8UL, 16UL}) bench::add(type, sets.front(), tokens);
  }
  return bench::run_benchmarks(argc, argv);
}
