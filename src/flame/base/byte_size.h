#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace flame {

/// Bytes in "4096", "16MiB", "1.5 GiB", "500MB", "64k" (binary suffixes Ki, Mi, Gi, Ti with or without B; decimal ones
/// kB, MB, GB, TB; a bare K, M, G or T is binary; letter case does not matter). A fraction is rounded down to whole
/// bytes. Throws UsageError naming `option` for anything else, a negative size and one past 2^63 - 1.
[[nodiscard]] std::uint64_t parse_byte_size(std::string_view text, std::string_view option = "size");

/// Bytes a second in "500MB/s" or "500MB": a size above 0, with or without "/s". Throws as parse_byte_size.
[[nodiscard]] double parse_bandwidth(std::string_view text, std::string_view option = "bandwidth");

/// "25%" of `whole` bytes (above 0 and at most 100 %, to the nearest byte), or a size above 0 as parse_byte_size reads
/// it. Throws UsageError naming `option` for anything else.
[[nodiscard]] std::uint64_t parse_byte_budget(std::string_view text, std::uint64_t whole, std::string_view option);

/// For people: "512 B", "16.0 MiB", "2.33 GiB".
[[nodiscard]] std::string format_byte_size(std::uint64_t bytes);

}  // namespace flame
