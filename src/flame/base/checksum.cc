#include "flame/base/checksum.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <array>
#include <charconv>
#include <new>

#if defined(FLAME_XXHASH_DISPATCH)
// XXH3 in the vector registers that this processor has. The library's plain functions use those that all have, at a
// third of the speed; the values are the same.
#include <xxh_x86dispatch.h>
#endif

namespace flame {

struct Checksum::State {
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> xxh3;
};

std::uint64_t checksum_of(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

Checksum::Checksum() : state_(std::make_unique<State>()) {
  state_->xxh3.reset(XXH3_createState());
  if (state_->xxh3 == nullptr) throw std::bad_alloc();
  XXH3_64bits_reset(state_->xxh3.get());
}

Checksum::~Checksum() = default;
Checksum::Checksum(Checksum&&) noexcept = default;
Checksum& Checksum::operator=(Checksum&&) noexcept = default;

void Checksum::add(std::span<const std::byte> bytes) {
  if (!bytes.empty()) XXH3_64bits_update(state_->xxh3.get(), bytes.data(), bytes.size());
}

void Checksum::add_text(std::string_view text) {
  add_number(text.size());
  add(std::as_bytes(std::span(text)));
}

void Checksum::add_number(std::uint64_t number) {
  std::array<std::byte, 8> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(number >> (8 * i));
  add(bytes);
}

std::uint64_t Checksum::value() const { return XXH3_64bits_digest(state_->xxh3.get()); }

std::string checksum_text(std::uint64_t checksum) { return fmt::format("{:016x}", checksum); }

bool parse_checksum(std::string_view text, std::uint64_t& checksum) {
  if (text.size() != 16 || text.find_first_not_of("0123456789abcdef") != std::string_view::npos) return false;
  std::from_chars(text.data(), text.data() + text.size(), checksum, 16);
  return true;
}

}  // namespace flame
