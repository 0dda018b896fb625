#pragma once

#include <filesystem>
#include <memory>

#include "flame/io/async_reader.h"

namespace flame::io {

/// Reads through io_uring (Linux 5.6 and later), with registered buffers where the memory-lock limit allows them.
/// Returns null and the reason (an errno value) when the kernel refuses a ring, as containers and sandboxes may.
/// Throws FileError when the file cannot be opened.
[[nodiscard]] std::unique_ptr<AsyncReader> open_uring_reader(const std::filesystem::path& path, std::size_t depth,
                                                             bool direct, int& refused);

}  // namespace flame::io
