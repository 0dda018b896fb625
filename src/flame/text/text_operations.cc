#include "flame/text/text_operations.h"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>

#include "flame/base/error.h"
#include "flame/base/utf8.h"

namespace flame::text {

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

std::size_t leading_white_space(std::string_view text) {
  std::size_t position = 0;
  while (position < text.size()) {
    std::size_t next = position;
    if (!is_white_space(next_code_point(text, next))) break;
    position = next;
  }
  return position;
}

std::size_t trailing_white_space(std::string_view text) {
  std::size_t end = text.size();
  while (end > 0) {
    std::size_t begin = end - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xc0U) == 0x80U) --begin;
    std::size_t position = begin;
    if (!is_white_space(next_code_point(text, position))) break;
    end = begin;
  }
  return text.size() - end;
}

std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string result;
  if (pattern.empty()) return std::string(text);
  std::size_t position = 0;
  for (std::size_t found = text.find(pattern); found != std::string_view::npos; found = text.find(pattern, position)) {
    result.append(text.substr(position, found - position)).append(content);
    position = found + pattern.size();
  }
  return result.append(text.substr(position));
}

void check_growth(std::size_t bytes_before, std::size_t bytes_after) {
  constexpr std::size_t kLargestFactor = 64;  // U+FDFA, the longest of NFKC, grows elevenfold
  constexpr std::size_t kAlwaysFine = std::size_t{1} << 16;
  if (bytes_after > kAlwaysFine && bytes_after / kLargestFactor > bytes_before) {
    throw ModelError(
        fmt::format("the tokenizer makes {} bytes of {}; its files must be broken", bytes_after, bytes_before));
  }
}

bool decode_base64(std::string_view text, std::string& bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  bytes.clear();
  if (text.size() % 4 != 0) return false;
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  const std::string_view digits = text.substr(0, text.size() - padding);
  std::uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : digits) {
    const std::size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return false;
    bits = (bits << 6) | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes += static_cast<char>((bits >> count) & 0xffU);
    }
  }
  return true;
}

}  // namespace flame::text
