#include "flame/io/safetensors_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/io/tensor_file.h"

namespace flame::io {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
/// The reference implementation pads headers so that the data begins at a multiple of 8.
constexpr std::uint64_t kLeastAlignment = 8;
constexpr std::uint64_t kLargestAlignment = std::uint64_t{1} << 20;
constexpr std::string_view kFillerPrefix = "__padding__.";

std::uint64_t round_up(std::uint64_t value, std::uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

/// The header as the reference implementation writes it: compact JSON, then spaces up to the alignment of the data.
std::string header_text(const std::vector<SafetensorsEntry>& entries,
                        const std::map<std::string, std::string>& metadata, std::uint64_t alignment) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::string text = header.dump();
  // Members one by one: an ordered_json object looks keys up one after another, which is slow for many thousand
  // tensors.
  text.pop_back();
  for (const SafetensorsEntry& entry : entries) {
    if (text.size() > 1) text += ',';
    const nlohmann::ordered_json member = {{"dtype", name_of(entry.type)},
                                           {"shape", entry.shape},
                                           {"data_offsets", {entry.offset, entry.offset + entry.bytes}}};
    text += nlohmann::ordered_json(entry.name).dump() + ':' + member.dump();
  }
  text += '}';
  text.resize(round_up(kLengthBytes + text.size(), alignment) - kLengthBytes, ' ');
  return text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(WritableFile& file, std::map<std::string, std::string> metadata)
    : file_(file), metadata_(std::move(metadata)) {}

void SafetensorsWriter::declare(std::string name, DataType type, std::vector<std::uint64_t> shape,
                                std::uint64_t alignment) {
  if (begun_) throw std::logic_error("SafetensorsWriter: declare after begin");
  if (!std::has_single_bit(alignment) || alignment > kLargestAlignment) {
    throw std::logic_error(fmt::format("SafetensorsWriter: alignment {}", alignment));
  }
  if (name.empty() || name == "__metadata__" || name.starts_with(kFillerPrefix)) {
    throw std::logic_error(fmt::format("SafetensorsWriter: \"{}\" is not a name for a tensor", name));
  }
  Declaration declaration{{std::move(name), type, std::move(shape), 0, 0}, alignment};
  if (!tensor_bytes(type, declaration.entry.shape, declaration.entry.bytes)) {
    throw std::logic_error(fmt::format("SafetensorsWriter: \"{}\" is too large", declaration.entry.name));
  }
  declared_.push_back(std::move(declaration));
}

void SafetensorsWriter::place_tensors() {
  std::uint64_t position = 0;
  std::size_t fillers = 0;
  for (const Declaration& declaration : declared_) {
    const std::uint64_t aligned = round_up(position, declaration.alignment);
    if (aligned != position) {
      const std::uint64_t gap = aligned - position;
      entries_.push_back({fmt::format("{}{}", kFillerPrefix, fillers++), DataType::kU8, {gap}, position, gap});
    }
    entries_.push_back(declaration.entry);
    entries_.back().offset = aligned;
    position = aligned + declaration.entry.bytes;
  }
  std::vector<std::string_view> names;
  names.reserve(entries_.size());
  for (const SafetensorsEntry& entry : entries_) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end()) {
    throw std::logic_error(fmt::format("SafetensorsWriter: \"{}\" is declared twice", *twice));
  }
}

void SafetensorsWriter::begin() {
  if (begun_) throw std::logic_error("SafetensorsWriter: begin twice");
  begun_ = true;
  place_tensors();
  std::uint64_t alignment = kLeastAlignment;
  for (const Declaration& declaration : declared_) alignment = std::max(alignment, declaration.alignment);
  const std::string header = header_text(entries_, metadata_, alignment);
  if (header.size() > kMaximumSafetensorsHeader) {
    throw FormatError(file_.path(), fmt::format("a header of {} bytes; safetensors allows {}", header.size(),
                                                kMaximumSafetensorsHeader));
  }
  std::string start;
  for (std::size_t i = 0; i < kLengthBytes; ++i) start += static_cast<char>((header.size() >> (8 * i)) & 0xffU);
  file_.append(start + header);
  for (SafetensorsEntry& entry : entries_) entry.offset += kLengthBytes + header.size();
  write_fillers();
}

void SafetensorsWriter::write_fillers() {
  while (current_ < entries_.size()) {
    const SafetensorsEntry& entry = entries_[current_];
    const bool filler = entry.name.starts_with(kFillerPrefix);
    if (filler) file_.append(std::vector<std::byte>(entry.bytes));
    if (!filler && entry.bytes != 0) return;  // an empty tensor is complete without an append
    ++current_;
  }
}

void SafetensorsWriter::append(std::string_view name, std::span<const std::byte> bytes) {
  if (!begun_) throw std::logic_error("SafetensorsWriter: append before begin");
  if (bytes.empty()) return;
  if (current_ == entries_.size() || entries_[current_].name != name) {
    throw std::logic_error(fmt::format("SafetensorsWriter: bytes of \"{}\", expected those of \"{}\"", name,
                                       current_ == entries_.size() ? "" : entries_[current_].name));
  }
  const SafetensorsEntry& entry = entries_[current_];
  if (bytes.size() > entry.bytes - written_of_current_) {
    throw std::logic_error(fmt::format("SafetensorsWriter: \"{}\" gets more than its {} bytes", name, entry.bytes));
  }
  file_.append(bytes);
  written_of_current_ += bytes.size();
  if (written_of_current_ == entry.bytes) {
    ++current_;
    written_of_current_ = 0;
    write_fillers();
  }
}

void SafetensorsWriter::finish() {
  if (!begun_ || current_ != entries_.size()) {
    throw std::logic_error(fmt::format("SafetensorsWriter: finished before \"{}\" was complete",
                                       current_ < entries_.size() ? entries_[current_].name : "the header"));
  }
}

std::uint64_t SafetensorsWriter::file_bytes() const {
  std::uint64_t end = file_.size();
  for (const SafetensorsEntry& entry : entries_) end = std::max(end, entry.offset + entry.bytes);
  return end;
}

}  // namespace flame::io
