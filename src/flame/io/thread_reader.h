#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "flame/io/async_reader.h"

namespace flame::io {

/// Reads with pread on `threads` threads: for kernels and sandboxes without io_uring. Throws FileError.
[[nodiscard]] std::unique_ptr<AsyncReader> open_thread_reader(const std::filesystem::path& path, std::size_t threads,
                                                              bool direct);

/// Copies from a memory map on one thread, page faults and all: what llama.cpp-like loaders do. A file that shrinks is
/// met as the end of the file, except in the instant between the look at its size and the copy.
[[nodiscard]] std::unique_ptr<AsyncReader> open_memory_map_reader(const std::filesystem::path& path);

/// Any blocking read as an AsyncReader: `read` returns the bytes read or -errno, and is called from `threads` threads.
[[nodiscard]] std::unique_ptr<AsyncReader> make_thread_reader(std::function<std::int64_t(const ReadChunk&)> read,
                                                              std::size_t threads, std::string description);

}  // namespace flame::io
