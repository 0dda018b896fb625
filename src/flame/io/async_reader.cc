#include "flame/io/async_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "flame/base/error.h"
#include "flame/io/thread_reader.h"
#include "flame/io/uring_reader.h"

namespace flame::io {
namespace {

constexpr std::array kBackends{StorageBackend::kAutomatic, StorageBackend::kUring, StorageBackend::kThreads,
                               StorageBackend::kMemoryMap};

}  // namespace

std::vector<std::string_view> storage_backend_names() {
  std::vector<std::string_view> names;
  for (const StorageBackend backend : kBackends) names.push_back(name_of(backend));
  return names;
}

StorageBackend parse_storage_backend(std::string_view name) {
  for (const StorageBackend backend : kBackends) {
    if (name == name_of(backend)) return backend;
  }
  throw UsageError(
      fmt::format("unknown storage back end \"{}\": use one of {}", name, fmt::join(storage_backend_names(), ", ")));
}

std::string_view name_of(StorageBackend backend) {
  switch (backend) {
    case StorageBackend::kAutomatic:
      return "auto";
    case StorageBackend::kUring:
      return "io_uring";
    case StorageBackend::kThreads:
      return "threads";
    case StorageBackend::kMemoryMap:
      return "mmap";
  }
  return "unknown";
}

std::unique_ptr<AsyncReader> open_reader(const std::filesystem::path& path, const ReaderOptions& options) {
  switch (options.backend) {
    case StorageBackend::kThreads:
      return open_thread_reader(path, options.depth, options.direct);
    case StorageBackend::kMemoryMap:
      return open_memory_map_reader(path);
    case StorageBackend::kAutomatic:
    case StorageBackend::kUring:
      break;
  }
  int refused = 0;
  if (auto reader = open_uring_reader(path, options.depth, options.direct, refused)) return reader;
  if (options.backend == StorageBackend::kUring) {
    throw DeviceError(fmt::format("the kernel refuses io_uring ({}): use --storage threads", std::strerror(refused)));
  }
  return open_thread_reader(path, options.depth, options.direct);
}

}  // namespace flame::io
