#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace flame {

/// XXH3, 64 bits, seed 0, of `bytes`: finds damage, not forgery.
[[nodiscard]] std::uint64_t checksum_of(std::span<const std::byte> bytes);

/// The same value from bytes that come in pieces.
class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(Checksum&&) noexcept;
  Checksum& operator=(Checksum&&) noexcept;

  void add(std::span<const std::byte> bytes);
  /// The text's length (8 bytes, little-endian) and its bytes, so that consecutive texts cannot run into each other.
  void add_text(std::string_view text);
  /// 8 bytes, little-endian.
  void add_number(std::uint64_t number);
  /// Of all that was added so far; more may be added afterwards.
  [[nodiscard]] std::uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// 16 lower-case hexadecimal digits, most significant first: how FLAME's files write checksums.
[[nodiscard]] std::string checksum_text(std::uint64_t checksum);
/// Reads what checksum_text writes. Returns false for anything else.
[[nodiscard]] bool parse_checksum(std::string_view text, std::uint64_t& checksum);

}  // namespace flame
