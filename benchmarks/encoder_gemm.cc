// Many tokens at once: the encoder's matrices and its attention, in floating-point operations per second. The ladder:
// the definition in plain loops, the matrix-vector kernel token by token, and the matrix-matrix product.

#include <cmath>
#include <cstring>

#include "flame/kernels/attention.h"
#include "flame/kernels/gemm.h"
#include "flame/kernels/linear.h"
#include "kernel_benchmark.h"

namespace flame::bench {
namespace {

constexpr std::size_t kTokens = 512;

struct Shape {
  const char* name;
  std::size_t columns;
  std::size_t rows;
};
constexpr Shape kShapes[] = {{"attention", 768, 768}, {"wi", 768, 3072}, {"wo", 3072, 768}};

enum class Method { kReference, kMatrixVector, kMatrixMatrix };

void multiply(Method method, const kernels::WeightMatrix& weight, MatrixView<const float> input,
              MatrixView<float> output) {
  switch (method) {
    case Method::kReference:
      return kernels::linear_reference(weight, input, output);
    case Method::kMatrixVector:
      for (std::size_t t = 0; t < input.rows(); t += kernels::kMaxGemvTokens) {
        const std::size_t count = std::min(kernels::kMaxGemvTokens, input.rows() - t);
        kernels::linear(weight, input.rows_from(t, count), output.rows_from(t, count));
      }
      return;
    case Method::kMatrixMatrix:
      return kernels::gemm(weight, input, output);
  }
}

void encoder_gemm(benchmark::State& state, const Shape& shape, DataType type, Method method) {
  const std::vector<float> values = random_floats(shape.rows * shape.columns, 1);
  std::vector<std::byte> stored(values.size() * size_of(type));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const BFloat16 narrow = BFloat16::from_float(values[i]);
    if (type == DataType::kBF16) std::memcpy(stored.data() + i * sizeof(narrow), &narrow, sizeof(narrow));
    if (type == DataType::kF32) std::memcpy(stored.data() + i * sizeof(float), &values[i], sizeof(float));
  }
  const kernels::WeightMatrix weight{type, stored.data(), shape.rows, shape.columns};
  const std::vector<float> tokens = random_floats(kTokens * shape.columns, 2);
  const MatrixView<const float> input(tokens.data(), kTokens, shape.columns);
  Matrix<float> output(kTokens, shape.rows);
  multiply(method, weight, input, output);
  Matrix<float> expected(1, shape.rows);
  kernels::linear_reference(weight, input.rows_from(kTokens - 1, 1), expected);
  for (std::size_t r = 0; r < shape.rows; ++r) {
    require(std::fabs(output.row(kTokens - 1)[r] - expected.row(0)[r]) < 1e-3F, "encoder_gemm");
  }
  std::vector<double> seconds;
  for ([[maybe_unused]] const auto iteration : state) {
    const auto start = std::chrono::steady_clock::now();
    multiply(method, weight, input, output);
    seconds.push_back(seconds_since(start));
    state.SetIterationTime(seconds.back());
  }
  const double operations = 2.0 * static_cast<double>(kTokens * shape.columns * shape.rows);
  state.counters["flop/s"] =
      benchmark::Counter(operations / median(seconds), benchmark::Counter::kDefaults, benchmark::Counter::kIs1000);
}

void attention(benchmark::State& state, std::size_t queries, std::size_t length) {
  constexpr std::size_t kHeads = 12;
  constexpr std::size_t kHeadSize = 64;
  constexpr std::size_t kInner = kHeads * kHeadSize;
  const std::vector<float> query = random_floats(queries * kInner, 3);
  const std::vector<float> keys = random_floats(length * kInner, 4);
  const std::vector<float> values = random_floats(length * kInner, 5);
  const std::vector<float> bias = random_floats(kHeads * (queries + length), 6);
  const auto view = [&](const std::vector<float>& matrix) {
    return kernels::KeyValueView{DataType::kF32, reinterpret_cast<const std::byte*>(matrix.data()), length, kInner};
  };
  kernels::AttentionInput input{kHeads,     kHeadSize,    MatrixView<const float>(query.data(), queries, kInner),
                                view(keys), view(values), {}};
  input.bias = {bias.data() + queries, static_cast<std::ptrdiff_t>(queries + length), -1};
  Matrix<float> output(queries, kInner);
  kernels::attend(input, output);
  // The first query alone takes the other path: both must agree.
  Matrix<float> alone(1, kInner);
  kernels::AttentionInput first = input;
  first.query = input.query.rows_from(0, 1);
  kernels::attend(first, alone);
  for (std::size_t c = 0; c < kInner; ++c) {
    require(std::fabs(alone.row(0)[c] - output.row(0)[c]) < 1e-4F, "attention");
  }
  std::vector<double> seconds;
  for ([[maybe_unused]] const auto iteration : state) {
    const auto start = std::chrono::steady_clock::now();
    kernels::attend(input, output);
    seconds.push_back(seconds_since(start));
    state.SetIterationTime(seconds.back());
  }
  const double bytes = static_cast<double>(2 * length * kInner * sizeof(float));
  const double operations = 4.0 * static_cast<double>(queries * length * kInner);
  state.counters["flop/s"] =
      benchmark::Counter(operations / median(seconds), benchmark::Counter::kDefaults, benchmark::Counter::kIs1000);
  state.counters["cache_bytes/s"] =
      benchmark::Counter(bytes / median(seconds), benchmark::Counter::kDefaults, benchmark::Counter::kIs1000);
}

template <typename Function>
void add(const std::string& name, int repeats, Function function) {
  benchmark::RegisterBenchmark(name.c_str(), function)
      ->Iterations(repeats)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

void add_all() {
  add("encoder_gemm/attention/F32/reference", 1,
      [](benchmark::State& state) { encoder_gemm(state, kShapes[0], DataType::kF32, Method::kReference); });
  for (const Shape& shape : kShapes) {
    for (const DataType type : {DataType::kF32, DataType::kBF16}) {
      const std::string name = std::string("encoder_gemm/") + shape.name + "/" + std::string(name_of(type));
      add(name + "/matrix-vector", kRepeats,
          [&shape, type](benchmark::State& state) { encoder_gemm(state, shape, type, Method::kMatrixVector); });
      add(name + "/matrix-matrix", kRepeats,
          [&shape, type](benchmark::State& state) { encoder_gemm(state, shape, type, Method::kMatrixMatrix); });
    }
  }
  for (const std::size_t length : {128UL, 512UL}) {
    add("attention/encoder/" + std::to_string(length), kRepeats,
        [length](benchmark::State& state) { attention(state, length, length); });
    add("attention/decoder/" + std::to_string(length), kRepeats,
        [length](benchmark::State& state) { attention(state, 1, length); });
  }
}

}  // namespace
}  // namespace flame::bench

int main(int argc, char** argv) {
  flame::bench::add_all();
  return flame::bench::run_benchmarks(argc, argv);
}
