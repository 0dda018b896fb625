#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace flame {

/// Bytes in "4096", "16MiB", "1.5 GiB", "500MB", "64k" (binary suffixes Ki, Mi, Gi, Ti with or without B; decimal ones
/// kB, MB, GB, TB; a bare K, M, G or T is binary; letter case does not matter). A fraction is rounded down to whole
/// bytes. Throws UsageError naming `option` for anything else, a negative size and one past 2^63 - 1.
[[nodiscard]] std::uint64_t parse_byte_size(std::string_view text, std::string_view option = "size");

/// For people: "512 B", "16.0 MiB", "2.33 GiB".
[[nodiscard]] std::string format_byte_size(std::uint64_t bytes);

}  // namespace flame
