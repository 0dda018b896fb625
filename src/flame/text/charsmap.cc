#include "flame/text/charsmap.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include "flame/base/error.h"
#include "flame/base/utf8.h"

namespace flame::text {
namespace {

// Fields of a darts-clone unit.
constexpr bool has_leaf(std::uint32_t unit) { return ((unit >> 8) & 1U) != 0; }
constexpr std::uint32_t value_of(std::uint32_t unit) { return unit & 0x7fffffffU; }
constexpr std::uint32_t label_of(std::uint32_t unit) { return unit & 0x800000ffU; }
constexpr std::uint32_t offset_of(std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200U) >> 6); }

/// tokenizers looks whole grapheme clusters up only when they are shorter than this.
constexpr std::size_t kLongestGrapheme = 5;

std::uint32_t read_unit(std::string_view bytes, std::size_t offset) {
  std::uint32_t unit = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    unit |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[offset + i])) << (8 * i);
  }
  return unit;
}

/// End of the extended grapheme cluster that begins at `position`.
std::size_t grapheme_end(std::string_view text, std::size_t position) {
  utf8proc_int32_t state = 0;
  char32_t previous = next_code_point(text, position);
  while (position < text.size()) {
    std::size_t after = position;
    const char32_t following = next_code_point(text, after);
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(previous),
                                         static_cast<utf8proc_int32_t>(following), &state)) {
      break;
    }
    previous = following;
    position = after;
  }
  return position;
}

}  // namespace

Charsmap::Charsmap(std::string_view blob, const std::filesystem::path& source) {
  constexpr std::size_t kUnit = 4;
  const std::size_t trie_bytes = blob.size() < kUnit ? 0 : read_unit(blob, 0);
  if (trie_bytes == 0 || trie_bytes % kUnit != 0 || trie_bytes > blob.size() - kUnit) {
    throw FormatError(source, fmt::format("a character map of {} bytes claims a trie of {}", blob.size(), trie_bytes));
  }
  trie_.reserve(trie_bytes / kUnit);
  for (std::size_t i = 0; i < trie_bytes; i += kUnit) trie_.push_back(read_unit(blob, kUnit + i));
  forms_ = blob.substr(kUnit + trie_bytes);
  if (const auto invalid = first_invalid_utf8(forms_)) {
    throw FormatError(source, fmt::format("a character map's normal forms have invalid UTF-8 at byte {}", *invalid));
  }
}

std::optional<std::string_view> Charsmap::transform(std::string_view part) const {
  // The trie comes from a file: every step is checked against its end.
  std::size_t node = offset_of(trie_[0]);
  for (const char c : part) {
    const auto byte = static_cast<unsigned char>(c);
    node ^= byte;
    if (node >= trie_.size() || label_of(trie_[node]) != byte) return std::nullopt;
    const std::uint32_t unit = trie_[node];
    node ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    if (node >= trie_.size()) return std::nullopt;
    const std::uint32_t begin = value_of(trie_[node]);
    if (begin >= forms_.size()) return std::nullopt;
    const std::string_view rest = std::string_view(forms_).substr(begin);
    return rest.substr(0, rest.find('\0'));
  }
  return std::nullopt;
}

std::string Charsmap::normalize(std::string_view text) const {
  std::string result;
  result.reserve(text.size());
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t end = grapheme_end(text, position);
    const std::string_view grapheme = text.substr(position, end - position);
    if (grapheme.size() <= kLongestGrapheme) {
      if (const auto form = transform(grapheme)) {
        result.append(*form);
        position = end;
        continue;
      }
    }
    while (position < end) {
      const std::size_t begin = position;
      static_cast<void>(next_code_point(text, position));
      const std::string_view character = text.substr(begin, position - begin);
      result.append(transform(character).value_or(character));
    }
  }
  return result;
}

}  // namespace flame::text
