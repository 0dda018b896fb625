#include "flame/base/random.h"

#include <cassert>
#include <cmath>

namespace flame {
namespace {

constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15U;  // 2^64 / golden ratio, odd

constexpr std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

/// Natural logarithm of a positive, normal number with nothing but exactly rounded operations: C libraries differ in
/// the last bit of std::log, and random weights must not. Relative error below 1e-15 for what next_normal asks.
double portable_log(double value) {
  int exponent = 0;
  double mantissa = std::frexp(value, &exponent);  // exact: [0.5, 1)
  if (mantissa < 0.70710678118654752440) {
    mantissa *= 2.0;
    --exponent;
  }
  // log(m) = 2 atanh(s) with s = (m - 1) / (m + 1), |s| < 0.1716; 11 terms leave less than 1e-18.
  const double s = (mantissa - 1.0) / (mantissa + 1.0);
  const double square = s * s;
  double sum = 0.0;
  for (int term = 21; term >= 1; term -= 2) sum = sum * square + 1.0 / term;
  return 2.0 * s * sum + exponent * 0.69314718055994530942;
}

/// Inverse of the standard normal distribution, algorithm AS 241 (PPND16), Wichura, Applied Statistics 37 (1988).
double inverse_normal(double p) {
  const double q = p - 0.5;
  if (std::abs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    const double upper = (((((((2509.0809287301226727 * r + 33430.575583588128105) * r + 67265.770927008700853) * r +
                              45921.953931549871457) *
                                 r +
                             13731.693765509461125) *
                                r +
                            1971.5909503065514427) *
                               r +
                           133.14166789178437745) *
                              r +
                          3.387132872796366608);
    const double lower = (((((((5226.495278852545925 * r + 28729.085735721942674) * r + 39307.89580009271061) * r +
                              21213.794301586595867) *
                                 r +
                             5394.1960214247511077) *
                                r +
                            687.1870074920579083) *
                               r +
                           42.313330701600911252) *
                              r +
                          1.0);
    return q * upper / lower;
  }
  double r = std::sqrt(-portable_log(q < 0.0 ? p : 1.0 - p));
  double magnitude = 0.0;
  if (r <= 5.0) {
    r -= 1.6;
    const double upper =
        (((((((7.7454501427834140764e-4 * r + 0.0227238449892691845833) * r + 0.24178072517745061177) * r +
             1.27045825245236838258) *
                r +
            3.64784832476320460504) *
               r +
           5.7694972214606914055) *
              r +
          4.6303378461565452959) *
             r +
         1.42343711074968357734);
    const double lower =
        (((((((1.05075007164441684324e-9 * r + 5.475938084995344946e-4) * r + 0.0151986665636164571966) * r +
             0.14810397642748007459) *
                r +
            0.68976733498510000455) *
               r +
           1.6763848301838038494) *
              r +
          2.05319162663775882187) *
             r +
         1.0);
    magnitude = upper / lower;
  } else {
    r -= 5.0;
    const double upper =
        (((((((2.01033439929228813265e-7 * r + 2.71155556874348757815e-5) * r + 0.0012426609473880784386) * r +
             0.026532189526576123093) *
                r +
            0.29656057182850489123) *
               r +
           1.7848265399172913358) *
              r +
          5.4637849111641143699) *
             r +
         6.6579046435011037772);
    const double lower =
        (((((((2.04426310338993978564e-15 * r + 1.4215117583164458887e-7) * r + 1.8463183175100546818e-5) * r +
             7.868691311456132591e-4) *
                r +
            0.0148753612908506148525) *
               r +
           0.13692988092273580531) *
              r +
          0.59983220655588793769) *
             r +
         1.0);
    magnitude = upper / lower;
  }
  return q < 0.0 ? -magnitude : magnitude;
}

}  // namespace

Random::Random(std::uint64_t seed, std::uint64_t stream) : start_(mix(mix(seed + kStep) ^ (stream * kStep + kStep))) {}

std::uint64_t Random::bits_at(std::uint64_t position) const { return mix(start_ + (position + 1) * kStep); }

double Random::uniform_at(std::uint64_t position) const {
  return static_cast<double>(bits_at(position) >> 11) * 0x1p-53;
}

double Random::normal_at(std::uint64_t position) const {
  // The middle of one of 2^52 equal steps: never 0 or 1, and symmetric around one half.
  return inverse_normal((static_cast<double>(bits_at(position) >> 12) + 0.5) * 0x1p-52);
}

std::uint64_t Random::next_below(std::uint64_t bound) {
  assert(bound > 0);
  // Values past the largest multiple of bound would favour small results.
  const std::uint64_t remainder = (0 - bound) % bound;  // 2^64 mod bound
  std::uint64_t bits = next_bits();
  while (bits < remainder) bits = next_bits();
  return bits % bound;
}

}  // namespace flame
