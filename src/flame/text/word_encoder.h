#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flame::text {

using TokenId = std::int32_t;

/// The mark that stands for a space in pieces: U+2581.
inline constexpr std::string_view kSpaceMark = "\xe2\x96\x81";

/// Cuts normalized words into pieces of a vocabulary. Immutable.
class WordEncoder {
 public:
  virtual ~WordEncoder() = default;

  /// Appends the ids of the best cut of `word`: valid UTF-8, not empty, kSpaceMark at most at its beginning.
  virtual void encode(std::string_view word, std::vector<TokenId>& ids) const = 0;
  /// Pieces by id.
  [[nodiscard]] virtual const std::vector<std::string>& pieces() const = 0;
};

}  // namespace flame::text
