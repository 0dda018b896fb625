#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>

namespace flame::io {

/// The files stored, uncompressed, in the zip archive that fills `archive`: name to bytes inside `archive`. Zip64 is
/// understood. Throws FormatError naming `source` and entry for anything broken: offsets out of range, overlapping
/// entries, names given twice, entries that are compressed or encrypted, archives in several volumes, a wrong CRC-32 of
/// an entry that is at most `crc_limit` bytes long (larger ones are not read; their check costs a pass over the whole
/// file).
[[nodiscard]] std::map<std::string, std::span<const std::byte>> read_zip_directory(std::span<const std::byte> archive,
                                                                                   const std::filesystem::path& source,
                                                                                   std::size_t crc_limit = 1 << 20);

}  // namespace flame::io
