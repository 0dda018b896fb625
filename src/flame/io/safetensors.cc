#include "flame/io/safetensors.h"

#include <algorithm>

namespace flame::io {

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path, FileSystem& files)
    : path_(path), map_(files.map(path)) {
  const std::span<const std::byte> bytes = map_.bytes();
  const std::uint64_t length =
      safetensors_header_length(bytes.first(std::min<std::size_t>(8, bytes.size())), bytes.size(), path);
  const std::span<const std::byte> json = bytes.subspan(8, length);
  header_ = parse_safetensors_header({reinterpret_cast<const char*>(json.data()), json.size()}, bytes.size(), path);
  names_.reserve(header_.entries.size());
  for (const SafetensorsEntry& entry : header_.entries) {
    names_.push_back(entry.name);
    tensors_.emplace(entry.name, TensorView{entry.type, entry.shape, bytes.subspan(entry.offset, entry.bytes)});
  }
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto found = tensors_.find(std::string(name));
  return found == tensors_.end() ? nullptr : &found->second;
}

void SafetensorsFile::release(std::string_view name) const { map_.advise(tensor(name).bytes, Advice::kDontNeed); }

}  // namespace flame::io
