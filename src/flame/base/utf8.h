#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace flame {

/// Position of the first byte that is not part of valid UTF-8 (Unicode 15, table 3-7: no overlong forms, surrogates or
/// code points past U+10FFFF; a sequence cut short by the end of the text is invalid from its first byte on).
/// Nothing for valid text.
[[nodiscard]] std::optional<std::size_t> first_invalid_utf8(std::string_view text);

/// Length of the text without an incomplete sequence at its end, that is, one that further bytes might complete.
/// The whole length when there is none.
[[nodiscard]] std::size_t complete_utf8_length(std::string_view text);

/// The text with each maximal invalid part replaced by U+FFFD, as Python's errors="replace" and Rust's from_utf8_lossy
/// do.
[[nodiscard]] std::string replace_invalid_utf8(std::string_view text);

/// The code point's UTF-8 bytes. The code point must be a Unicode scalar value.
[[nodiscard]] std::string utf8_of(char32_t code_point);

/// One code point taken from valid UTF-8 at `position`, which moves behind it.
[[nodiscard]] char32_t next_code_point(std::string_view valid_text, std::size_t& position);

}  // namespace flame
