#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>

namespace flame::io {

/// Reads what a pipe, terminal or device has next; 0 at its end. Waits where Ctrl-C is seen: throws Interrupted after
/// it. `name` is for messages. Throws FileError.
[[nodiscard]] std::size_t read_some(int descriptor, std::span<char> into, const std::filesystem::path& name);

/// Everything up to the end. Throws FileError also when that is more than `limit` bytes.
[[nodiscard]] std::string read_all(int descriptor, const std::filesystem::path& name,
                                   std::uint64_t limit = std::numeric_limits<std::uint64_t>::max());

}  // namespace flame::io
