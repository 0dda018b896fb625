#include "flame/routing/rankings.h"

#include <algorithm>
#include <cassert>

namespace flame::routing {
namespace {

constexpr std::uint32_t kWholeUpTo = 16;
constexpr std::uint32_t kHead = 8;

}  // namespace

Rankings::Rankings(std::uint32_t experts, std::size_t rows)
    : kept_(experts <= kWholeUpTo ? experts : kHead), whole_(experts <= kWholeUpTo), lines_a_row_((kept_ + 7) / 8) {
  lines_.resize(rows * lines_a_row_);
}

std::size_t Rankings::copy(std::size_t row, std::span<RankedExpert> out) const {
  assert(covers(out.size()));
  const RankedExpert* const from = lines_[row * lines_a_row_].data();
  const std::size_t count = std::min(out.size(), kept_);
  if (count == 8) {
    // The whole line of eight experts, at a length the compiler knows.
    std::copy_n(from, 8, out.data());
  } else {
    for (std::size_t i = 0; i < count; ++i) out[i] = from[i];
  }
  return count;
}

}  // namespace flame::routing
