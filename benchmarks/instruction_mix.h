#pragma once

// How fast a processor runs instructions in given shares when nothing else holds them up: each is independent of those
// just before it, and all operands are in registers or in one cache line. Counting pipes says less: an instruction is
// bound to a pipe before it is known which one will be free.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <utility>

#include "flame/kernels/packed_cost.h"

namespace flame::bench {

#if defined(__x86_64__)

/// Units of work that one round of the loop executes; makes small fractions of an instruction whole ones.
inline constexpr std::size_t kMixUnits = 8;

enum class MixKind : std::uint8_t { kShift, kPermute, kOther, kLoad };

struct MixStep {
  MixKind kind = MixKind::kShift;
  std::size_t number = 0;  ///< among those of its kind
};

/// The instructions of kMixUnits times `work`, each kind spread evenly.
template <std::size_t Count>
constexpr std::array<MixStep, Count> mix_order(const std::array<std::size_t, 4>& counts) {
  std::array<MixStep, Count> order = {};
  std::array<std::size_t, 4> done = {};
  for (std::size_t i = 0; i < Count; ++i) {
    // The kind that is furthest behind its share.
    std::size_t next = 0;
    std::size_t best = 0;
    for (std::size_t kind = 0; kind < 4; ++kind) {
      const std::size_t due = counts[kind] * (i + 1);
      const std::size_t behind = due > done[kind] * Count ? due - done[kind] * Count : 0;
      if (done[kind] < counts[kind] && behind >= best) {
        best = behind;
        next = kind;
      }
    }
    order[i] = {static_cast<MixKind>(next), done[next]++};
  }
  return order;
}

/// One instruction. Half of the multiplications and shifts are products added to one of eight sums, none of which is
/// needed again soon; nothing reads what the others write.
template <MixKind Kind, std::size_t Number>
__attribute__((always_inline)) inline void execute_one(const std::byte* line) {
  constexpr std::size_t kSum = Number / 2 % 8;
  constexpr std::size_t kUnread = 8 + Number % 6;
  if constexpr (Kind == MixKind::kShift && Number % 2 == 0) {
    asm volatile("vpdpbusd %%zmm14, %%zmm15, %%zmm%c0" : : "i"(kSum));
  } else if constexpr (Kind == MixKind::kShift) {
    asm volatile("vprorvq %%zmm14, %%zmm15, %%zmm%c0" : : "i"(kUnread));
  } else if constexpr (Kind == MixKind::kPermute) {
    asm volatile("vpermb %%zmm14, %%zmm15, %%zmm%c0" : : "i"(kUnread));
  } else if constexpr (Kind == MixKind::kOther) {
    asm volatile("vpsubb %%zmm14, %%zmm15, %%zmm%c0" : : "i"(kUnread));
  } else {
    asm volatile("vmovdqa64 (%0), %%zmm%c1" : : "r"(line), "i"(kUnread));
  }
}

template <const kernels::VectorWork& Work>
struct InstructionMix {
  static constexpr std::array<std::size_t, 4> kCounts = [] {
    const auto whole = [](double count) { return static_cast<std::size_t>(count * kMixUnits + 0.5); };
    return std::array<std::size_t, 4>{whole(Work.shifts), whole(Work.permutes), whole(Work.others), whole(Work.loads)};
  }();
  static constexpr std::size_t kCount = kCounts[0] + kCounts[1] + kCounts[2] + kCounts[3];
  static constexpr std::array<MixStep, kCount> kOrder = mix_order<kCount>(kCounts);

  /// The instructions from `First` on: in pieces, as compilers limit the length of a fold.
  template <std::size_t First>
  __attribute__((always_inline)) static void execute(const std::byte* line) {
    constexpr std::size_t kPiece = std::min<std::size_t>(kCount - First, 128);
    [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
      (execute_one<kOrder[First + I].kind, kOrder[First + I].number>(line), ...);
    }
    (std::make_index_sequence<kPiece>());
    if constexpr (First + kPiece < kCount) execute<First + kPiece>(line);
  }

  /// Processor time of `rounds` rounds. All vector registers are given up around them.
  __attribute__((noinline)) static double seconds(std::size_t rounds) {
    alignas(64) static const std::byte line[64] = {};
    const std::clock_t start = std::clock();
    for (std::size_t i = 0; i < rounds; ++i) {
      execute<0>(line);
      asm volatile(""
                   :
                   :
                   : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                     "xmm12", "xmm13", "xmm14", "xmm15");
    }
    asm volatile("vzeroupper");
    return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  }
};

/// Cycles of a clock of `clock` Hz that one unit of Work takes: the best of several runs.
template <const kernels::VectorWork& Work>
double measure_mix(double clock) {
  constexpr std::size_t kRounds = 100000;
  double best = InstructionMix<Work>::seconds(kRounds);
  for (int repeat = 0; repeat < 8; ++repeat) best = std::min(best, InstructionMix<Work>::seconds(kRounds));
  return best * clock / (static_cast<double>(kRounds) * kMixUnits);
}

#endif

}  // namespace flame::bench
