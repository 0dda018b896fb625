#pragma once

#include <string>
#include <string_view>

namespace flame {

/// Seconds in "100us", "2ms", "0.5s", "3 s". Throws UsageError naming `option` for anything else, a negative time and
/// one beyond a million seconds.
[[nodiscard]] double parse_duration(std::string_view text, std::string_view option = "time");

}  // namespace flame
