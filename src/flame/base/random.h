#pragma once

#include <cstdint>

namespace flame {

/// Pseudo-random numbers that are the same on every machine, compiler and C library: SplitMix64 (Steele, Lea and Flood,
/// OOPSLA 2014), whose n-th value can be had directly, so that work split over threads gives the same values.
/// Not for secrets.
class Random {
 public:
  /// Different (seed, stream) pairs give unrelated sequences; use one stream a tensor, request, ….
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0);

  /// The value that the next_*() calls would give at `position`; leaves the sequence where it is.
  [[nodiscard]] std::uint64_t bits_at(std::uint64_t position) const;
  [[nodiscard]] double uniform_at(std::uint64_t position) const;
  [[nodiscard]] double normal_at(std::uint64_t position) const;

  /// 64 random bits.
  std::uint64_t next_bits() { return bits_at(position_++); }
  /// Uniform in [0, 1), a multiple of 2^-53.
  double next_uniform() { return uniform_at(position_++); }
  /// Standard normal, from one uniform value by the inverse of its distribution (Wichura, AS 241).
  double next_normal() { return normal_at(position_++); }
  /// Uniform in [0, bound), without bias; bound must not be 0. Takes one value, rarely more.
  std::uint64_t next_below(std::uint64_t bound);

  [[nodiscard]] std::uint64_t position() const { return position_; }
  void seek(std::uint64_t position) { position_ = position; }

 private:
  std::uint64_t start_;
  std::uint64_t position_ = 0;
};

}  // namespace flame
