#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace flame::accel {

/// What a kOpLayer command does; the bits of flame_pkg's flags.
struct LayerFlags {
  bool route = false;    ///< run the router on the record's fixed-point part
  bool forced = false;   ///< take the command's expert, whatever the router says
  bool lookup = false;   ///< count hit, late or miss
  bool observe = false;  ///< tell the predictor; what it ranks for the next layer is prefetched
  bool compute = false;  ///< run the expert

  [[nodiscard]] std::uint8_t bits() const {
    return static_cast<std::uint8_t>((route ? 1 : 0) | (forced ? 2 : 0) | (lookup ? 4 : 0) | (observe ? 8 : 0) |
                                     (compute ? 16 : 0));
  }
};

/// How a lookup ended.
enum class LookupClass : std::uint8_t { kNone = 0, kHit = 1, kLate = 2, kMiss = 3 };

/// A list of 64-byte commands for the kernel, in the order in which it runs them.
///
/// Record, little endian: byte 0 opcode, 1 flags, 2 layer, 3 expert, 4 sequence, 5 source sequence, 6-7 first table
/// beat, 8-15 input address, 16-23 output address, 24-27 count, the rest zero.
class CommandList {
 public:
  /// Reads a token record at `input`, writes a result record to `output`.
  void layer(LayerFlags flags, std::size_t layer, std::size_t expert, std::size_t sequence, std::uint64_t input,
             std::uint64_t output);
  void clear_sequence(std::size_t sequence);
  void copy_sequence(std::size_t target, std::size_t source);
  void delay(std::uint32_t cycles);
  void load_router(std::size_t layer, std::uint64_t address);
  void load_table(std::uint64_t address, std::size_t first_beat, std::size_t beats);
  void load_keep(std::uint64_t address, std::size_t layers);
  void flush();
  void prefetch(std::size_t layer, std::size_t expert);

  [[nodiscard]] std::size_t size() const { return records_.size(); }
  void clear() { records_.clear(); }
  /// The list's bytes, ended and padded to a multiple of eight records.
  [[nodiscard]] std::vector<std::uint8_t> bytes() const;

 private:
  using Record = std::array<std::uint8_t, 64>;
  Record& add(std::uint8_t opcode);
  std::vector<Record> records_;
};

}  // namespace flame::accel
