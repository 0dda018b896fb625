#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/base/large_pages.h"
#include "flame/base/thread_pool.h"

namespace flame::bench {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

inline double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values.empty() ? 0.0 : values[values.size() / 2];
}

/// Memory that is really there: every page has been written, with numbers that are not all alike.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes) : memory_(bytes / sizeof(std::uint64_t) * sizeof(std::uint64_t)) {
    auto* words = reinterpret_cast<std::uint64_t*>(memory_.bytes().data());
    for (std::size_t i = 0; i < memory_.bytes().size() / sizeof(std::uint64_t); ++i) {
      words[i] = i * 0x9e3779b97f4a7c15U;
    }
  }
  [[nodiscard]] std::span<const std::uint64_t> words() const {
    return {reinterpret_cast<const std::uint64_t*>(memory_.bytes().data()),
            memory_.bytes().size() / sizeof(std::uint64_t)};
  }

 private:
  LargePageMemory memory_;  // as an expert's slot has it
};

/// Adds all words. Eight sums and a prefetch well ahead: as fast as a core can read memory.
inline std::uint64_t sum_words(std::span<const std::uint64_t> words) {
  constexpr std::size_t kStep = 8;
  constexpr std::size_t kAhead = 4096 / sizeof(std::uint64_t);
  std::uint64_t sums[kStep] = {};
  for (std::size_t i = 0; i + kStep <= words.size(); i += kStep) {
    __builtin_prefetch(words.data() + i + kAhead);
    for (std::size_t j = 0; j < kStep; ++j) sums[j] += words[i + j];
  }
  std::uint64_t total = 0;
  for (const std::uint64_t sum : sums) total += sum;
  return total;
}

/// Reads all of `buffer` with all threads of the pool. Returns bytes per second.
inline double measure_read_bandwidth(const Buffer& buffer) {
  const std::span<const std::uint64_t> words = buffer.words();
  const auto start = std::chrono::steady_clock::now();
  ThreadPool::parallel_for(words.size(), 4096, [&](std::size_t begin, std::size_t end) {
    volatile std::uint64_t sum = sum_words(words.subspan(begin, end - begin));
    static_cast<void>(sum);
  });
  return static_cast<double>(words.size_bytes()) / seconds_since(start);
}

}  // namespace flame::bench
