#include "flame/accel/waveform_file.h"

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <fstream>
#include <set>

#include "flame/base/error.h"
#include "flame/io/file.h"

namespace flame::accel {

namespace {

constexpr std::uint8_t kHeader = 0;
constexpr std::uint8_t kGeometry = 3;
constexpr std::uint8_t kUnfinished = 255;
constexpr std::size_t kLengthBytes = 8;  // counts itself, not the type before it

}  // namespace

void prepare_waveform(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) {
    io::FileSystem::real().create(path)->close();
    io::FileSystem::real().remove(path);
    return;
  }
  if (!std::filesystem::is_regular_file(path)) {
    throw FileError(path, "a waveform needs a file of its own, and something else stands here");
  }
  if (!std::ofstream(path, std::ios::app)) throw FileError(path, "is not writable; name another file for the waveform");
}

void check_waveform(const std::filesystem::path& path) {
  const std::unique_ptr<io::ReadableFile> file = io::FileSystem::real().open(path);
  const auto fail = [&](std::uint64_t offset) {
    throw FileError(path,
                    fmt::format("the waveform is not whole (its {} bytes make no sense from byte {}); is the disk "
                                "full?",
                                file->size(), offset));
  };
  std::set<std::uint8_t> types;
  std::uint64_t offset = 0;
  while (offset < file->size()) {
    std::array<std::byte, 1 + kLengthBytes> start{};
    if (file->size() - offset < start.size()) fail(offset);
    file->read_at(offset, start);
    const auto type = static_cast<std::uint8_t>(start[0]);
    std::uint64_t length = 0;
    for (std::size_t i = 1; i < start.size(); ++i) length = length << 8 | static_cast<std::uint8_t>(start[i]);
    if (type == kUnfinished || length < kLengthBytes || length > file->size() - offset - 1) fail(offset);
    types.insert(type);
    offset += 1 + length;
  }
  if (!types.contains(kHeader) || !types.contains(kGeometry)) fail(offset);
}

}  // namespace flame::accel
