#include "flame/kernels/gemm.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <span>
#include <vector>

#include "flame/base/blocked_signals.h"
#include "flame/base/error.h"
#include "flame/base/thread_pool.h"
#include "flame/kernels/vector_ops.h"

// oneDNN is built on GNU OpenMP. Its own threads would stand beside the pool's; each pool thread asks for a team of
// one. Declared here because clang has no <omp.h> of its own on Debian.
extern "C" void omp_set_num_threads(int);

namespace flame::kernels {
namespace {

// Rows of the weight in one oneDNN call: enough to run near peak, few enough to share out over threads.
constexpr std::size_t kMaxTileRows = 192;
constexpr std::size_t kMinTileRows = 16;

std::size_t tile_rows(const WeightMatrix& weight) {
  const std::size_t fitting = kGemmScratchBytes / (sizeof(float) * std::max<std::size_t>(weight.columns, 1));
  return std::clamp(fitting / kMinTileRows * kMinTileRows, kMinTileRows, kMaxTileRows);
}

void multiply(char transpose_b, MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> output) {
  const auto extent = [](std::size_t value) { return static_cast<dnnl_dim_t>(value); };
  omp_set_num_threads(1);
  // oneDNN's AVX2 and AVX-512 code (seen with 2.6.3) keeps values on the stack below what the system spares when it
  // calls a signal's handler. A signal of any kind would overwrite them, and the product would land in memory of
  // others.
  const BlockedSignals whole_call;
  const dnnl_status_t status =
      dnnl_sgemm('N', transpose_b, extent(output.rows()), extent(output.columns()), extent(a.columns()), 1.0F, a.data(),
                 extent(a.stride()), b.data(), extent(b.stride()), 0.0F, output.data(), extent(output.stride()));
  if (status != dnnl_success) {
    throw Error(fmt::format("oneDNN could not multiply matrices of {} x {} and {} x {}: status {}", a.rows(),
                            a.columns(), b.rows(), b.columns(), static_cast<int>(status)));
  }
}

// A product of bf16 matrices as oneDNN has compiled it: output [tokens, rows], f32, with rows `stride` apart.
struct Bf16Shape {
  std::size_t tokens = 0;
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::size_t stride = 0;
  friend auto operator<=>(const Bf16Shape&, const Bf16Shape&) = default;
};

class Bf16Product {
 public:
  explicit Bf16Product(const Bf16Shape& shape) {
    const auto extent = [](std::size_t value) { return static_cast<dnnl::memory::dim>(value); };
    using Type = dnnl::memory::data_type;
    const dnnl::memory::desc input({extent(shape.tokens), extent(shape.columns)}, Type::bf16,
                                   dnnl::memory::dims{extent(shape.columns), 1});
    const dnnl::memory::desc weight({extent(shape.columns), extent(shape.rows)}, Type::bf16,
                                    dnnl::memory::dims{1, extent(shape.columns)});
    const dnnl::memory::desc output({extent(shape.tokens), extent(shape.rows)}, Type::f32,
                                    dnnl::memory::dims{extent(shape.stride), 1});
    product_ = dnnl::matmul({{input, weight, output}, engine_});
    input_ = dnnl::memory(input, engine_, nullptr);
    weight_ = dnnl::memory(weight, engine_, nullptr);
    output_ = dnnl::memory(output, engine_, nullptr);
  }

  void run(const BFloat16* input, const std::byte* weight, float* output) {
    // oneDNN takes no pointers to const; it only reads these two.
    input_.set_data_handle(const_cast<BFloat16*>(input));
    weight_.set_data_handle(const_cast<std::byte*>(weight));
    output_.set_data_handle(output);
    product_.execute(stream_, {{DNNL_ARG_SRC, input_}, {DNNL_ARG_WEIGHTS, weight_}, {DNNL_ARG_DST, output_}});
    stream_.wait();
  }

 private:
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::matmul product_;
  dnnl::memory input_;
  dnnl::memory weight_;
  dnnl::memory output_;
};

void run_bf16(const Bf16Shape& shape, const BFloat16* input, const std::byte* weight, float* output) {
  constexpr std::size_t kMostKept = 64;
  thread_local std::map<Bf16Shape, Bf16Product> kept;
  omp_set_num_threads(1);
  const BlockedSignals whole_call;  // as in multiply()
  try {
    auto found = kept.find(shape);
    if (found == kept.end()) {
      if (kept.size() == kMostKept) kept.clear();
      found = kept.try_emplace(shape, shape).first;
    }
    found->second.run(input, weight, output);
  } catch (const dnnl::error& error) {
    throw Error(fmt::format("oneDNN could not multiply bf16 matrices of {} x {} and {} x {}: {}", shape.tokens,
                            shape.columns, shape.columns, shape.rows, error.what()));
  }
}

// oneDNN compiles a product for every shape, which takes a third of a millisecond: tokens go in one call of whole
// blocks and one for the others, filled up to a step. So there are few shapes, whatever numbers of tokens come.
constexpr std::size_t kTokenBlock = 64;
constexpr std::size_t kTokenStep = 16;

void gemm_bf16(const WeightMatrix& weight, MatrixView<const float> input, MatrixView<float> output) {
  thread_local std::vector<BFloat16> rounded_inputs;
  const std::size_t whole = input.rows() / kTokenBlock * kTokenBlock;
  const std::size_t rest = input.rows() - whole;
  const std::size_t filled_rest = (rest + kTokenStep - 1) / kTokenStep * kTokenStep;
  rounded_inputs.resize(std::max(rounded_inputs.size(), (whole + filled_rest) * weight.columns));
  const std::span<BFloat16> rounded(rounded_inputs);
  ThreadPool::parallel_for(input.rows(), kTokenStep, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      round_to_bf16(input.row(t), rounded.subspan(t * weight.columns, weight.columns));
    }
  });
  std::ranges::fill(rounded.subspan(input.rows() * weight.columns, (filled_rest - rest) * weight.columns), BFloat16{});

  const std::size_t tiles = (weight.rows - 1) / kMaxTileRows + 1;
  ThreadPool::parallel_for(tiles, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t first = i * kMaxTileRows;
      const std::size_t rows = std::min(kMaxTileRows, weight.rows - first);
      const std::byte* data = weight.rows_from(first, rows).data;
      if (whole > 0)
        run_bf16({whole, rows, weight.columns, output.stride()}, rounded.data(), data, output.data() + first);
      if (rest == 0) continue;
      thread_local std::array<float, kTokenBlock * kMaxTileRows> results;
      run_bf16({filled_rest, rows, weight.columns, rows}, rounded.data() + whole * weight.columns, data,
               results.data());
      for (std::size_t t = 0; t < rest; ++t) {
        std::copy_n(results.data() + t * rows, rows, output.row(whole + t).data() + first);
      }
    }
  });
}

}  // namespace

bool has_bf16_products() {
  static const bool has = [] {
    const auto isa = static_cast<unsigned>(dnnl_get_effective_cpu_isa());
    constexpr auto kWanted = static_cast<unsigned>(dnnl_cpu_isa_avx512_core_bf16);
    return (isa & kWanted) == kWanted;
  }();
  return has;
}

void gemm(const WeightMatrix& weight, MatrixView<const float> input, MatrixView<float> output) {
  assert(input.columns() == weight.columns && output.columns() == weight.rows && output.rows() == input.rows());
  if (output.empty()) return;
  if (input.columns() == 0) {
    for (std::size_t t = 0; t < output.rows(); ++t) std::ranges::fill(output.row(t), 0.0F);
    return;
  }
  if (weight.type == DataType::kBF16 && weight.bf16_inputs && has_bf16_products()) {
    return gemm_bf16(weight, input, output);
  }
  const std::size_t tile = tile_rows(weight);
  const std::size_t tiles = (weight.rows - 1) / tile + 1;
  ThreadPool::parallel_for(tiles, 1, [&](std::size_t begin, std::size_t end) {
    thread_local std::vector<float> scratch;
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t first = i * tile;
      const std::size_t rows = std::min(tile, weight.rows - first);
      const WeightMatrix part = weight.rows_from(first, rows);
      const MatrixView<float> columns = output.columns_from(first, rows);
      const auto* floats = reinterpret_cast<const float*>(part.data);
      if (weight.type != DataType::kF32) {
        scratch.resize(std::max(scratch.size(), tile * weight.columns));
        widen(part, std::span(scratch).first(rows * weight.columns));
        floats = scratch.data();
      }
      gemm_transposed(input, {floats, rows, weight.columns}, columns);
    }
  });
}

void prepare_gemm() {
  constexpr std::size_t kSize = 16;
  const std::array<float, kSize * kSize> zeros{};
  std::array<float, kSize * kSize> output{};
  const MatrixView<const float> matrix(zeros.data(), kSize, kSize);
  gemm_transposed(matrix, matrix, {output.data(), kSize, kSize});
  gemm_plain(matrix, matrix, {output.data(), kSize, kSize});
}

void gemm_transposed(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> output) {
  assert(a.columns() == b.columns() && output.rows() == a.rows() && output.columns() == b.rows());
  multiply('T', a, b, output);
}

void gemm_plain(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> output) {
  assert(a.columns() == b.rows() && output.rows() == a.rows() && output.columns() == b.columns());
  multiply('N', a, b, output);
}

}  // namespace flame::kernels
