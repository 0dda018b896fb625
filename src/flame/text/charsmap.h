#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace flame::text {

/// SentencePiece's "precompiled charsmap": a double-array trie (darts-clone) from byte sequences to their normal form,
/// as spiece.model and tokenizer.json carry it. Applied as Hugging Face's tokenizers library does ("Precompiled"),
/// which differs from SentencePiece's own use in rare sequences of combining characters: docs/checkpoints.md.
class Charsmap {
 public:
  /// Throws FormatError naming `source` when the blob is not one. Layout: the trie's length in bytes (4,
  /// little-endian), the trie (units of 4 bytes), the normal forms, each ended by a zero byte.
  Charsmap(std::string_view blob, const std::filesystem::path& source);

  /// The normal form of valid UTF-8.
  [[nodiscard]] std::string normalize(std::string_view text) const;

 private:
  /// What the shortest prefix of `part` that the trie knows becomes; nothing when it knows none.
  [[nodiscard]] std::optional<std::string_view> transform(std::string_view part) const;

  std::vector<std::uint32_t> trie_;
  std::string forms_;
};

}  // namespace flame::text
