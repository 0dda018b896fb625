#pragma once

#include <cstdint>
#include <string_view>

namespace flame::text {

using TokenId = std::int32_t;

/// The mark that stands for a space in pieces: U+2581.
inline constexpr std::string_view kSpaceMark = "\xe2\x96\x81";

}  // namespace flame::text
