#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "flame/base/data_type.h"
#include "flame/io/file.h"

namespace flame::io {

/// Longest JSON header that the reference implementation accepts.
inline constexpr std::uint64_t kMaximumSafetensorsHeader = 100'000'000;

/// Where one tensor lies in a safetensors file.
struct SafetensorsEntry {
  std::string name;
  DataType type = DataType::kF32;
  std::vector<std::uint64_t> shape;
  std::uint64_t offset = 0;  ///< of its first byte, from the beginning of the file
  std::uint64_t bytes = 0;   ///< product of shape * size_of(type)
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;        ///< sorted by name
  std::map<std::string, std::string> metadata;  ///< "__metadata__"
  std::uint64_t data_offset = 0;                ///< of the first tensor byte: 8 + length of the JSON header

  /// Null when there is none of that name.
  [[nodiscard]] const SafetensorsEntry* find(std::string_view name) const;
};

/// Checks and reads the header's JSON text of a file of `file_bytes` bytes. As the reference implementation
/// (safetensors 0.4 to 0.6) demands: tensors lie end to end in the order of their offsets, without gap or overlap, and
/// end where the file ends. Throws FormatError naming file, tensor, expected and found for anything else, and for an
/// element type that FLAME does not know.
[[nodiscard]] SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t file_bytes,
                                                         const std::filesystem::path& source);

/// Reads only the header of a file: for those who read tensors themselves, with direct or asynchronous reads.
[[nodiscard]] SafetensorsHeader read_safetensors_header(const ReadableFile& file);

/// Length of the JSON header from the file's first 8 bytes (little-endian). Throws FormatError when it is longer than
/// the file or than kMaximumSafetensorsHeader.
[[nodiscard]] std::uint64_t safetensors_header_length(std::span<const std::byte> first_bytes, std::uint64_t file_bytes,
                                                      const std::filesystem::path& source);

}  // namespace flame::io
