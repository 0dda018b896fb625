#include "flame/accel/expert_layout.h"

#include <fmt/format.h>

#include <bit>

#include "flame/base/error.h"

namespace flame::accel {

namespace {

std::size_t round_up(std::size_t value, std::size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

/// Kept weights of one padded row: values and indices within their group of M.
struct KeptRow {
  std::vector<std::int8_t> values;
  std::vector<std::uint8_t> indices;
};

KeptRow keep(std::span<const std::int8_t> row, std::size_t padded, DevicePattern pattern, const char* matrix,
             std::size_t row_number) {
  const std::size_t n = pattern.n();
  const std::size_t m = pattern.m();
  KeptRow kept;
  kept.values.reserve(padded / m * n);
  kept.indices.reserve(padded / m * n);
  for (std::size_t group = 0; group < padded; group += m) {
    const auto at = [&](std::size_t i) { return group + i < row.size() ? row[group + i] : std::int8_t{0}; };
    std::size_t nonzero = 0;
    for (std::size_t i = 0; i < m; ++i) nonzero += at(i) != 0 ? 1 : 0;
    if (nonzero > n) {
      throw ModelError(
          fmt::format("{} row {}, columns {} to {}: {} non-zero weights where the pattern {} allows {}; prune "
                      "the model to that pattern, or load it as dense",
                      matrix, row_number, group, group + m - 1, nonzero, pattern.name(), n));
    }
    // Zeros fill the places that the kept weights leave, lowest index first, so that a group's indices rise.
    std::size_t spare = n - nonzero;
    for (std::size_t i = 0; i < m; ++i) {
      const std::int8_t value = at(i);
      if (value == 0) {
        if (spare == 0) continue;
        --spare;
      }
      kept.values.push_back(value);
      kept.indices.push_back(static_cast<std::uint8_t>(i));
    }
  }
  return kept;
}

/// Writes the words of one bank in order.
class BankImage {
 public:
  BankImage(std::vector<std::uint8_t>& bytes, std::size_t bank, std::size_t banks, std::size_t planes,
            std::size_t word_bytes)
      : bytes_(bytes), bank_(bank), banks_(banks), planes_(planes), word_bytes_(word_bytes) {}

  std::uint8_t* word(std::size_t index) { return bytes_.data() + (index * banks_ + bank_) * word_bytes_; }

  void put(std::size_t step, std::size_t first_word, std::size_t row, std::int8_t value, std::uint8_t index) {
    const std::size_t group = first_word + step / kGroupSteps * (planes_ + kGroupSteps);
    const std::size_t in_group = step % kGroupSteps;
    word(group + planes_ + in_group)[row] = static_cast<std::uint8_t>(value);
    for (std::size_t plane = 0; plane < planes_; ++plane) {
      const auto bit = static_cast<std::uint8_t>(index >> plane & 1U);
      word(group + plane)[(in_group * word_bytes_ + row) / 8] |= static_cast<std::uint8_t>(bit << (row % 8));
    }
  }

 private:
  std::vector<std::uint8_t>& bytes_;
  std::size_t bank_;   // within the channel
  std::size_t banks_;  // of the channel
  std::size_t planes_;
  std::size_t word_bytes_;
};

}  // namespace

DevicePattern DevicePattern::from(std::uint32_t n, std::uint32_t m) {
  if (!std::has_single_bit(n) || !std::has_single_bit(m) || n > m || m > 8 || m > 4 * n) {
    throw UsageError(
        fmt::format("the accelerator cannot run the pattern {}:{}; N and M must be powers of two with M <= 8 and "
                    "M <= 4 N: 1:2, 1:4, 2:4, 2:8, 4:8 or dense (1:1)",
                    n, m));
  }
  if (n == m) return {};
  return {static_cast<std::uint32_t>(std::countr_zero(n)), static_cast<std::uint32_t>(std::countr_zero(m))};
}

std::string DevicePattern::name() const { return dense() ? "dense" : fmt::format("{}:{}", n(), m()); }

const char* larger_kernels(std::size_t axi_bytes) {
  return axi_bytes < kLineBytes ? "; --lanes 64 and 256 hold more" : "";
}

ExpertLayout ExpertLayout::make(std::size_t d_model, std::size_t d_ff, DevicePattern pattern, std::size_t positions,
                                std::size_t channels, std::size_t axi_bytes, std::size_t max_d_model,
                                std::size_t max_d_ff) {
  if (d_model == 0 || d_ff == 0 || d_model > max_d_model || d_ff > max_d_ff) {
    throw UsageError(
        fmt::format("an expert of d_model {} and d_ff {} does not fit the accelerator, built for at most {} and {}{}",
                    d_model, d_ff, max_d_model, max_d_ff, larger_kernels(axi_bytes)));
  }
  if (channels == 0 || positions % channels != 0) {
    throw UsageError(fmt::format("{} positions cannot be fed by {} channels", positions, channels));
  }
  return {d_model, d_ff, pattern, positions, channels, axi_bytes};
}

std::size_t ExpertLayout::padded_d_model() const { return round_up(d_model, kShapeUnit); }
std::size_t ExpertLayout::padded_d_ff() const { return round_up(d_ff, kShapeUnit); }
std::size_t ExpertLayout::input_steps() const { return padded_d_model() / pattern.m() * pattern.n() / positions; }
std::size_t ExpertLayout::output_steps() const { return padded_d_ff() / pattern.m() * pattern.n() / positions; }
std::size_t ExpertLayout::steps() const { return input_blocks() * input_steps() + output_blocks() * output_steps(); }

std::size_t ExpertLayout::header_words() const {
  return round_up(padded_d_ff(), scales_per_word() * positions) / (scales_per_word() * positions);
}

std::size_t ExpertLayout::bank_words() const {
  const std::size_t groups = round_up(steps(), kGroupSteps) / kGroupSteps;
  return round_up(header_words() + groups * (kGroupSteps + pattern.log2_m), 2);
}

std::size_t ExpertLayout::channel_stride() const { return round_up(channel_beats() * axi_bytes, kStrideBytes); }

std::size_t ExpertLayout::kept_macs() const { return 2 * d_model * d_ff * pattern.n() / pattern.m(); }

std::vector<std::uint8_t> pack_expert_channel(const ExpertLayout& layout, const kernels::Int8ExpertView& expert,
                                              std::size_t channel) {
  const std::size_t banks = layout.positions / layout.channels;
  std::vector<std::uint8_t> bytes(layout.channel_beats() * layout.axi_bytes);
  std::vector<BankImage> images;
  for (std::size_t b = 0; b < banks; ++b) images.emplace_back(bytes, b, banks, layout.pattern.log2_m, layout.axi_bytes);

  for (std::size_t r = 0; r < layout.d_ff; ++r) {
    const std::size_t word = r / layout.scales_per_word();
    const std::size_t bank = word % layout.positions;
    if (bank / banks != channel) continue;
    std::uint8_t* target = images[bank % banks].word(word / layout.positions) + r % layout.scales_per_word() * 2;
    target[0] = static_cast<std::uint8_t>(expert.multiplier[r] & 0xFFU);
    target[1] = static_cast<std::uint8_t>(expert.multiplier[r] >> 8);
  }

  std::size_t first_step = 0;
  const auto pack_matrix = [&](std::span<const std::int8_t> weights, std::size_t rows, std::size_t columns,
                               std::size_t padded_columns, std::size_t steps, const char* name) {
    for (std::size_t row = 0; row < rows; ++row) {
      const KeptRow kept = keep(weights.subspan(row * columns, columns), padded_columns, layout.pattern, name, row);
      for (std::size_t k = 0; k < kept.values.size(); ++k) {
        const std::size_t position = k % layout.positions;
        if (position / banks != channel) continue;
        const std::size_t step = first_step + row / layout.rows() * steps + k / layout.positions;
        images[position % banks].put(step, layout.header_words(), row % layout.rows(), kept.values[k], kept.indices[k]);
      }
    }
  };
  pack_matrix(expert.wi, layout.d_ff, layout.d_model, layout.padded_d_model(), layout.input_steps(), "wi");
  first_step = layout.input_blocks() * layout.input_steps();
  pack_matrix(expert.wo, layout.d_model, layout.d_ff, layout.padded_d_ff(), layout.output_steps(), "wo");
  return bytes;
}

}  // namespace flame::accel
