#pragma once

#include <cstddef>
#include <filesystem>

namespace flame::io {

/// From now on the process ends with a message that names the file, and exit code 1, when a page of a mapped file
/// cannot be had: the file was cut short, or its storage failed. Unhandled, the kernel's SIGBUS ends it without a word.
/// Called by the command line only: a library must not take its host's signals.
void install_mapping_fault_handler();

/// For MemoryMap: what the handler knows of `length` bytes mapped at `begin`. Of more than some hundred mappings at a
/// time the later ones are left out, and faults in them end the process as if unhandled.
void remember_mapping(const void* begin, std::size_t length, const std::filesystem::path& path);
/// Before the bytes at `begin` are unmapped.
void forget_mapping(const void* begin) noexcept;

}  // namespace flame::io
