#include "flame/routing/linear_solve.h"

#include <algorithm>
#include <cmath>

namespace flame::routing {

void solve(std::vector<double>& a, std::vector<double>& b, std::size_t n, std::size_t columns) {
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = a[i * n + j];
      for (std::size_t k = 0; k < j; ++k) sum -= a[i * n + k] * a[j * n + k];
      a[i * n + j] = i == j ? std::sqrt(std::max(sum, 1e-12)) : sum / a[j * n + j];
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t c = 0; c < columns; ++c) {
      double sum = b[i * columns + c];
      for (std::size_t k = 0; k < i; ++k) sum -= a[i * n + k] * b[k * columns + c];
      b[i * columns + c] = sum / a[i * n + i];
    }
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t c = 0; c < columns; ++c) {
      double sum = b[i * columns + c];
      for (std::size_t k = i + 1; k < n; ++k) sum -= a[k * n + i] * b[k * columns + c];
      b[i * columns + c] = sum / a[i * n + i];
    }
  }
}

}  // namespace flame::routing
