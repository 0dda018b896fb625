#include "flame/kernels/gemm.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <rapidcheck/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>

#include "flame/base/data_type.h"
#include "flame/base/matrix_view.h"
#include "flame/base/thread_pool.h"
#include "flame/kernels/linear.h"
#include "kernel_test.h"

namespace flame::kernels {
namespace {

std::atomic<std::size_t> signals_handled = 0;

// A handler that uses as much stack as real ones do.
void handle_signal(int /*number*/) {
  volatile std::byte used[8192];
  for (volatile std::byte& value : used) value = std::byte{0xAB};
  signals_handled.fetch_add(1, std::memory_order_relaxed);
}

/// Signals the thread that made it again and again, from another, until it is destroyed.
class SignalStorm {
 public:
  SignalStorm() {
    struct sigaction action {};
    action.sa_handler = handle_signal;
    action.sa_flags = static_cast<int>(SA_RESTART);
    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR1, &action, &before_);
    sender_ = std::thread([this, target = pthread_self()] {
      while (!stop_.load(std::memory_order_relaxed)) {
        pthread_kill(target, SIGUSR1);
        // The next only when this one has been handled: the signals are spread over the work, not merged.
        const std::size_t handled = signals_handled.load(std::memory_order_relaxed);
        for (int i = 0; i < 1000 && signals_handled.load(std::memory_order_relaxed) == handled; ++i) {
          std::this_thread::yield();
        }
      }
    });
  }
  ~SignalStorm() {
    stop_ = true;
    sender_.join();
    sigaction(SIGUSR1, &before_, nullptr);
  }

 private:
  std::atomic<bool> stop_ = false;
  struct sigaction before_ {};
  std::thread sender_;
};

TEST(GemmTest, SignalsDoNotDisturbAProduct) {
  const Matrix<float> a = random_matrix(200, 192, 1);
  const Matrix<float> b = random_matrix(192, 192, 2);
  Matrix<float> undisturbed(200, 192);
  gemm_transposed(a, b, undisturbed);
  Matrix<float> output(200, 192);
  signals_handled = 0;
  {
    const SignalStorm storm;
    for (std::size_t product = 0; product < 200 || signals_handled.load() < 50; ++product) {
      gemm_transposed(a, b, output);
      for (std::size_t row = 0; row < output.rows(); ++row) {
        ASSERT_TRUE(std::ranges::equal(output.row(row), undisturbed.row(row))) << "product " << product;
      }
    }
  }
}

// Inputs rounded to bf16 as a matrix of their own.
Matrix<float> rounded(const Matrix<float>& values) {
  Matrix<float> result = values;
  for (std::size_t r = 0; r < result.rows(); ++r) {
    for (float& value : result.row(r)) value = BFloat16::from_float(value).to_float();
  }
  return result;
}

RC_GTEST_PROP(GemmTest, Bf16InputsAreRoundedAndNothingElseIs, ()) {
  const auto tokens = *rc::gen::inRange<std::size_t>(1, 200);
  const auto rows = *rc::gen::inRange<std::size_t>(1, 420);
  const auto columns = *rc::gen::inRange<std::size_t>(1, 130);
  const StoredMatrix stored(DataType::kBF16, random_matrix(rows, columns, *rc::gen::arbitrary<unsigned>()));
  const Matrix<float> input = random_matrix(tokens, columns, *rc::gen::arbitrary<unsigned>());
  WeightMatrix weight = stored.view();
  for (const bool bf16_inputs : {false, true}) {
    weight.bf16_inputs = bf16_inputs;
    Matrix<float> expected(tokens, rows);
    linear_reference(weight, bf16_inputs && has_bf16_products() ? rounded(input) : input, expected);
    Matrix<float> padded(tokens, rows + 3, -7.0F);
    const MatrixView<float> output = padded.view().columns_from(0, rows);
    gemm(weight, input, output);
    expect_near(output, expected, sum_tolerance(columns), bf16_inputs ? "bf16 inputs" : "f32 inputs");
    RC_ASSERT(!testing::Test::HasFailure());
    for (std::size_t t = 0; t < tokens; ++t) RC_ASSERT(padded.row(t)[rows] == -7.0F);
  }
}

TEST(GemmTest, Bf16ProductsDoNotDependOnThreads) {
  const StoredMatrix stored(DataType::kBF16, random_matrix(500, 96, 3));
  WeightMatrix weight = stored.view();
  weight.bf16_inputs = true;
  const Matrix<float> input = random_matrix(100, 96, 4);
  Matrix<float> serial(100, 500);
  ThreadPool::set_threads(1);
  gemm(weight, input, serial);
  Matrix<float> parallel(100, 500);
  ThreadPool::set_threads(4);
  gemm(weight, input, parallel);
  ThreadPool::set_threads(0);
  for (std::size_t t = 0; t < 100; ++t) ASSERT_TRUE(std::ranges::equal(parallel.row(t), serial.row(t)));
}

}  // namespace
}  // namespace flame::kernels
