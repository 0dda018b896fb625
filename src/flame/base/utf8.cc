#include "flame/base/utf8.h"

#include <cassert>

namespace flame {
namespace {

/// One step through possibly invalid text.
struct Step {
  std::size_t length = 0;  // bytes of the sequence, or of its longest valid beginning (at least 1) when it is not valid
  bool valid = false;      // a whole, well-formed sequence
  bool incomplete = false;  // well-formed so far, but the text ends
};

Step step_at(std::string_view text, std::size_t position) {
  const auto byte_at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte_at(position);
  if (lead < 0x80) return {1, true, false};
  std::size_t length = 0;
  // Bounds of the second byte; they exclude overlong forms, surrogates and what lies past U+10FFFF.
  unsigned char low = 0x80;
  unsigned char high = 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  } else {
    return {1, false, false};
  }
  for (std::size_t i = 1; i < length; ++i) {
    if (position + i == text.size()) return {i, false, true};
    const unsigned char byte = byte_at(position + i);
    if (byte < low || byte > high) return {i, false, false};
    low = 0x80;
    high = 0xbf;
  }
  return {length, true, false};
}

}  // namespace

std::optional<std::size_t> first_invalid_utf8(std::string_view text) {
  for (std::size_t position = 0; position < text.size();) {
    const Step step = step_at(text, position);
    if (!step.valid) return position;
    position += step.length;
  }
  return std::nullopt;
}

std::size_t complete_utf8_length(std::string_view text) {
  // A sequence has at most 4 bytes, so an incomplete one begins at one of the last 3.
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const std::size_t position = text.size() - back;
    if (step_at(text, position).incomplete) return position;
    if ((static_cast<unsigned char>(text[position]) & 0xc0U) != 0x80U) break;
  }
  return text.size();
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t position = 0; position < text.size();) {
    const Step step = step_at(text, position);
    if (step.valid) {
      result.append(text.substr(position, step.length));
    } else {
      result.append("\xef\xbf\xbd");
    }
    position += step.length;
  }
  return result;
}

std::string utf8_of(char32_t code_point) {
  assert(code_point < 0xd800 || (code_point > 0xdfff && code_point <= 0x10ffff));
  const auto tail = [&](unsigned shift) { return static_cast<char>(0x80U | ((code_point >> shift) & 0x3fU)); };
  if (code_point < 0x80) return {static_cast<char>(code_point)};
  if (code_point < 0x800) return {static_cast<char>(0xc0U | (code_point >> 6)), tail(0)};
  if (code_point < 0x10000) return {static_cast<char>(0xe0U | (code_point >> 12)), tail(6), tail(0)};
  return {static_cast<char>(0xf0U | (code_point >> 18)), tail(12), tail(6), tail(0)};
}

char32_t next_code_point(std::string_view valid_text, std::size_t& position) {
  const auto lead = static_cast<unsigned char>(valid_text[position]);
  if (lead < 0x80) {
    ++position;
    return lead;
  }
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  char32_t code_point = lead & (0x7fU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    code_point = (code_point << 6) | (static_cast<unsigned char>(valid_text[position + i]) & 0x3fU);
  }
  position += length;
  return code_point;
}

}  // namespace flame
