#include "flame/kernels/gemm.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>

#include "flame/base/matrix_view.h"
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

}  // namespace
}  // namespace flame::kernels
