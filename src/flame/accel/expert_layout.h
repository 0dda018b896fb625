#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "flame/kernels/int8_expert.h"

namespace flame::accel {

inline constexpr std::size_t kLineBytes = 64;      ///< addresses of the host are multiples of it, whatever a beat is
inline constexpr std::size_t kShapeUnit = 64;      ///< d_model and d_ff are padded to multiples of it
inline constexpr std::size_t kGroupSteps = 8;      ///< value words that share one group of index words
inline constexpr std::size_t kStrideBytes = 4096;  ///< experts start on this boundary in every channel

/// What an error of a kernel that is too small adds: which larger ones there are, or nothing for the widest ports.
[[nodiscard]] const char* larger_kernels(std::size_t axi_bytes);

/// An N:M pattern the array runs: N and M powers of two, 1 <= N <= M <= 8, M <= 4 N. Dense is 1:1.
struct DevicePattern {
  std::uint32_t log2_n = 0;
  std::uint32_t log2_m = 0;

  /// Throws UsageError, naming the pattern, where the array cannot run it.
  static DevicePattern from(std::uint32_t n, std::uint32_t m);

  [[nodiscard]] std::uint32_t n() const { return 1U << log2_n; }
  [[nodiscard]] std::uint32_t m() const { return 1U << log2_m; }
  [[nodiscard]] bool dense() const { return log2_m == 0; }
  [[nodiscard]] std::string name() const;  ///< "dense" or "2:4"
  friend bool operator==(const DevicePattern&, const DevicePattern&) = default;
};

/// Sizes of one expert in slots and in DDR, all derived from the model's shape and the array's. Both dimensions are
/// padded to multiples of 64 with zero weights.
struct ExpertLayout {
  std::size_t d_model = 0;  ///< as the model has it
  std::size_t d_ff = 0;     ///< as the model has it
  DevicePattern pattern;
  std::size_t positions = 1;   ///< weights a row takes per cycle = slot memory banks
  std::size_t channels = 1;    ///< memory channels; divides positions
  std::size_t axi_bytes = 64;  ///< of a beat and of a word of slot memory: one for each row of the array

  /// Throws UsageError where the shape exceeds `max_d_model` or `max_d_ff` (the kernel's synthesis parameters).
  static ExpertLayout make(std::size_t d_model, std::size_t d_ff, DevicePattern pattern, std::size_t positions,
                           std::size_t channels, std::size_t axi_bytes = 64, std::size_t max_d_model = 1024,
                           std::size_t max_d_ff = 4096);

  [[nodiscard]] std::size_t rows() const { return axi_bytes; }  ///< of the PE array
  [[nodiscard]] std::size_t padded_d_model() const;
  [[nodiscard]] std::size_t padded_d_ff() const;
  [[nodiscard]] std::size_t input_blocks() const { return padded_d_ff() / rows(); }
  [[nodiscard]] std::size_t output_blocks() const { return padded_d_model() / rows(); }
  [[nodiscard]] std::size_t input_steps() const;   ///< steps of one block of wi
  [[nodiscard]] std::size_t output_steps() const;  ///< steps of one block of wo
  [[nodiscard]] std::size_t steps() const;         ///< steps of the whole expert: its cycles in a full array
  [[nodiscard]] std::size_t scales_per_word() const { return axi_bytes / 2; }  ///< 16-bit multipliers of rows
  [[nodiscard]] std::size_t header_words() const;  ///< words of row multipliers, in each bank
  [[nodiscard]] std::size_t bank_words() const;    ///< words of one expert in each bank, even
  [[nodiscard]] std::size_t channel_beats() const { return bank_words() * positions / channels; }
  [[nodiscard]] std::size_t channel_stride() const;  ///< bytes from one expert to the next in a channel
  [[nodiscard]] std::size_t slot_bytes() const { return bank_words() * axi_bytes * positions; }
  [[nodiscard]] std::size_t kept_macs() const;  ///< multiplications of kept weights, padding left out
};

/// Packs `expert` (row-major int8 with zeros where pruned) for one memory channel: channel_beats() * axi_bytes, read
/// from front to back. Throws ModelError when a group holds more than N non-zero weights.
///
/// Bank p of the image holds what position p of every row eats, in order of time: header_words() words of row
/// multipliers, then groups of log2(M) index words (bit planes: bit rows * step + row) and eight value words (byte
/// `row`). Step s of a block of rows takes kept weights s * positions + p of each row. Beat i of channel c goes to
/// bank c * K + i % K, K = positions / channels.
std::vector<std::uint8_t> pack_expert_channel(const ExpertLayout& layout, const kernels::Int8ExpertView& expert,
                                              std::size_t channel);

}  // namespace flame::accel
