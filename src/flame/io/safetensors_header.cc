#include "flame/io/safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/io/tensor_file.h"

namespace flame::io {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::size_t kMaximumRank = 64;

/// One member of the header object; offsets are still relative to the data section.
SafetensorsEntry parse_entry(const std::string& name, const JsonView& value, std::uint64_t data_bytes) {
  SafetensorsEntry entry;
  entry.name = name;
  const JsonView type = value.at("dtype");
  if (!parse_data_type(type.as_string(), entry.type)) {
    type.fail(fmt::format("the element type \"{}\" is not one FLAME knows", type.as_string()));
  }

  const JsonView shape = value.at("shape");
  if (shape.size() > kMaximumRank) shape.fail(fmt::format("{} dimensions; at most {}", shape.size(), kMaximumRank));
  for (std::size_t i = 0; i < shape.size(); ++i) entry.shape.push_back(shape.element(i).as_unsigned());
  std::uint64_t expected = 0;
  if (!tensor_bytes(entry.type, entry.shape, expected)) {
    value.fail(fmt::format("{} has more bytes than 64 bits count", describe(entry.type, entry.shape)));
  }

  const JsonView offsets = value.at("data_offsets");
  if (offsets.size() != 2) offsets.fail(fmt::format("expected [begin, end], found {} numbers", offsets.size()));
  const std::uint64_t begin = offsets.element(0).as_unsigned();
  const std::uint64_t end = offsets.element(1).as_unsigned();
  if (end < begin) offsets.fail(fmt::format("ends at {} before it begins at {}", end, begin));
  if (end > data_bytes) offsets.fail(fmt::format("ends at {}, but the file has {} bytes of data", end, data_bytes));
  entry.offset = begin;
  entry.bytes = end - begin;
  if (entry.bytes != expected) {
    value.fail(fmt::format("{} needs {} bytes, but data_offsets span {}", describe(entry.type, entry.shape), expected,
                           entry.bytes));
  }
  return entry;
}

/// Tensors must lie end to end and fill the data section: what the reference implementation demands, so that no bytes
/// hide in a file (polyglots) and no two tensors share any.
void check_layout(const std::vector<SafetensorsEntry>& entries, std::uint64_t data_bytes,
                  const std::filesystem::path& source) {
  std::vector<const SafetensorsEntry*> in_order;
  in_order.reserve(entries.size());
  for (const SafetensorsEntry& entry : entries) in_order.push_back(&entry);
  std::sort(in_order.begin(), in_order.end(), [](const SafetensorsEntry* a, const SafetensorsEntry* b) {
    return std::pair(a->offset, a->bytes) < std::pair(b->offset, b->bytes);
  });
  std::uint64_t position = 0;
  for (const SafetensorsEntry* entry : in_order) {
    if (entry->offset != position) {
      const char* const wrong = entry->offset < position ? "overlaps the tensor before it" : "leaves a gap before it";
      throw FormatError(source, fmt::format("the tensor \"{}\" {}: it begins at {}, expected {}", entry->name, wrong,
                                            entry->offset, position));
    }
    position += entry->bytes;
  }
  if (position != data_bytes) {
    throw FormatError(source,
                      fmt::format("the tensors end at {}, but the file has {} bytes of data", position, data_bytes));
  }
}

}  // namespace

const SafetensorsEntry* SafetensorsHeader::find(std::string_view name) const {
  const auto found = std::lower_bound(entries.begin(), entries.end(), name,
                                      [](const SafetensorsEntry& entry, std::string_view n) { return entry.name < n; });
  return found != entries.end() && found->name == name ? &*found : nullptr;
}

std::uint64_t safetensors_header_length(std::span<const std::byte> first_bytes, std::uint64_t file_bytes,
                                        const std::filesystem::path& source) {
  if (file_bytes < kLengthBytes || first_bytes.size() < kLengthBytes) {
    throw FormatError(source, fmt::format("a file of {} bytes is too short to be safetensors", file_bytes));
  }
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) length |= static_cast<std::uint64_t>(first_bytes[i]) << (8 * i);
  if (length > file_bytes - kLengthBytes) {
    throw FormatError(source, fmt::format("its header claims {} bytes, but only {} follow; the file is cut off, or is "
                                          "not safetensors",
                                          length, file_bytes - kLengthBytes));
  }
  if (length > kMaximumSafetensorsHeader) {
    throw FormatError(
        source, fmt::format("its header claims {} bytes; at most {} are allowed", length, kMaximumSafetensorsHeader));
  }
  return length;
}

SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t file_bytes,
                                           const std::filesystem::path& source) {
  if (!json.starts_with('{')) throw FormatError(source, "its header does not begin with \"{\"");
  if (file_bytes < kLengthBytes || json.size() > file_bytes - kLengthBytes) {
    throw FormatError(source, fmt::format("a header of {} bytes in a file of {}", json.size(), file_bytes));
  }
  const std::uint64_t data_bytes = file_bytes - kLengthBytes - json.size();
  const Json parsed = parse_json(json, source, {.bytes = kMaximumSafetensorsHeader, .depth = 4});
  const JsonView root(parsed, source);

  SafetensorsHeader header;
  header.data_offset = kLengthBytes + json.size();
  for (const std::string& name : root.keys()) {  // sorted
    const JsonView value = root.at(name);
    if (name == "__metadata__") {
      for (const std::string& key : value.keys()) header.metadata[key] = value.at(key).as_string();
      continue;
    }
    header.entries.push_back(parse_entry(name, value, data_bytes));
  }
  check_layout(header.entries, data_bytes, source);
  for (SafetensorsEntry& entry : header.entries) entry.offset += header.data_offset;
  return header;
}

SafetensorsHeader read_safetensors_header(const ReadableFile& file) {
  std::array<std::byte, kLengthBytes> first{};
  if (file.size() >= kLengthBytes) file.read_at(0, first);
  const std::uint64_t length = safetensors_header_length(first, file.size(), file.path());
  std::string json(length, '\0');
  file.read_at(kLengthBytes, std::as_writable_bytes(std::span(json)));
  return parse_safetensors_header(json, file.size(), file.path());
}

}  // namespace flame::io
