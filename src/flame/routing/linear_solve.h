#pragma once

#include <cstddef>
#include <vector>

namespace flame::routing {

/// Solves A x = b for several b at once (columns of `b`, [n, columns]), with A symmetric positive definite, [n, n], of
/// which the lower triangle is read (Cholesky). A is overwritten with its factor, `b` with the solutions.
void solve(std::vector<double>& a, std::vector<double>& b, std::size_t n, std::size_t columns);

}  // namespace flame::routing
