#include "flame/io/descriptor_input.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "flame/base/error.h"
#include "flame/base/interrupt.h"

namespace flame::io {

std::size_t read_some(int descriptor, std::span<char> into, const std::filesystem::path& name) {
  // Waits in poll(), which a signal ends even where its handler lets read() go on (SA_RESTART).
  while (true) {
    throw_if_interrupted();
    pollfd wanted{descriptor, POLLIN, 0};
    if (poll(&wanted, 1, -1) < 0) {
      if (errno == EINTR) continue;
      throw FileError(name, "cannot wait for input", errno);
    }
    const ssize_t got = ::read(descriptor, into.data(), into.size());
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR && errno != EAGAIN) throw FileError(name, "cannot read", errno);
  }
}

std::string read_all(int descriptor, const std::filesystem::path& name, std::uint64_t limit) {
  constexpr std::size_t kBlockBytes = std::size_t{64} << 10;
  std::string content;
  while (true) {
    const std::size_t size = content.size();
    content.resize(size + kBlockBytes);
    const std::size_t got = read_some(descriptor, std::span(content).subspan(size), name);
    content.resize(size + got);
    if (got == 0) return content;
    if (content.size() > limit) throw FileError(name, fmt::format("has more than the {} bytes that are read", limit));
  }
}

}  // namespace flame::io
