#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>

namespace flame::io {

/// The files stored, uncompressed, in the zip archive that fills `archive`: name to bytes inside `archive`. Zip64 is
/// understood. Throws FormatError naming `source` and entry for anything broken: offsets out of range, overlapping
/// entries, names given twice, entries that are compressed or encrypted, archives in several volumes. The entries'
/// CRC-32 is not checked: PyTorch does not check it either, and may write files without it (set_crc32_options).
[[nodiscard]] std::map<std::string, std::span<const std::byte>> read_zip_directory(std::span<const std::byte> archive,
                                                                                   const std::filesystem::path& source);

}  // namespace flame::io
