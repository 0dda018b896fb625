#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace flame::text {

/// Unicode's White_Space property, as Rust's char::is_whitespace.
[[nodiscard]] bool is_white_space(char32_t code_point);

/// Bytes of the white space that the text begins or ends with.
[[nodiscard]] std::size_t leading_white_space(std::string_view valid_text);
[[nodiscard]] std::size_t trailing_white_space(std::string_view valid_text);

/// The text with every occurrence of `pattern`, from left to right, replaced. An empty pattern replaces nothing.
[[nodiscard]] std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content);

/// Throws ModelError when steps of a tokenizer have made far more of a text than any honest one does: a file may describe a
/// chain of replacements each of which doubles what it gets.
void check_growth(std::size_t bytes_before, std::size_t bytes_after);

/// Decodes base64 (RFC 4648, with padding). Returns false for anything else.
[[nodiscard]] bool decode_base64(std::string_view text, std::string& bytes);

}  // namespace flame::text
