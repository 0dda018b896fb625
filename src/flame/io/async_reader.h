#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flame::io {

using Clock = std::chrono::steady_clock;

/// One positional read of a file, small enough that a more urgent one need not wait long behind it.
struct ReadChunk {
  std::uint64_t tag = 0;             ///< comes back with the completion
  std::uint64_t offset = 0;          ///< in the file; a multiple of kReadAlignment
  std::uint32_t bytes = 0;           ///< a multiple of kReadAlignment
  std::byte* destination = nullptr;  ///< aligned to kReadAlignment; the caller's until the completion came
};

/// What O_DIRECT needs of offsets, lengths and memory on every storage we know.
inline constexpr std::size_t kReadAlignment = 4096;

struct ReadCompletion {
  std::uint64_t tag = 0;
  std::int64_t result = 0;  ///< bytes read, possibly fewer than asked for (0 at the end of the file), or -errno
};

/// Asynchronous positional reads of one file: the narrow door behind which io_uring, threads, a memory map, a throttled
/// storage or a failing one stand. submit() and wait() belong to one thread; wake() may be called from any.
class AsyncReader {
 public:
  virtual ~AsyncReader() = default;

  /// Reads that may be in flight at once.
  [[nodiscard]] virtual std::size_t depth() const = 0;

  /// Starts a read. Never blocks for the storage; failures come back as completions. At most depth() in flight.
  virtual void submit(const ReadChunk& chunk) = 0;

  /// Blocks until at least one read completed, wake() was called, or the deadline passed; returns how many completions
  /// it wrote to `completions` (zero for the latter two). Completions come in any order.
  virtual std::size_t wait(Clock::time_point deadline, std::span<ReadCompletion> completions) = 0;

  /// Makes the present or the next wait() return.
  virtual void wake() = 0;

  /// Asks for a submitted read to end early. Its completion comes all the same, with -ECANCELED where that took effect;
  /// a storage that cannot break reads off does nothing. Belongs to the thread of submit().
  virtual void cancel(std::uint64_t tag) { static_cast<void>(tag); }

  /// A hint: reads will go to this memory, which stays where it is as long as the reader lives.
  virtual void register_memory(std::span<std::byte> memory) { static_cast<void>(memory); }

  /// One phrase, for example "io_uring, O_DIRECT, registered buffers".
  [[nodiscard]] virtual std::string describe() const = 0;
};

enum class StorageBackend : std::uint8_t { kAutomatic, kUring, kThreads, kMemoryMap };

/// Every name that parse_storage_backend takes, the default first.
[[nodiscard]] std::vector<std::string_view> storage_backend_names();
/// Throws UsageError for a name that is not one of them.
[[nodiscard]] StorageBackend parse_storage_backend(std::string_view name);
[[nodiscard]] std::string_view name_of(StorageBackend backend);

struct ReaderOptions {
  StorageBackend backend = StorageBackend::kAutomatic;  ///< io_uring where the kernel allows it, else threads
  std::size_t depth = 16;
  bool direct = true;  ///< O_DIRECT where the file system has it: no second copy in the page cache
};

/// Opens `path` for reading. Throws FileError when that fails, DeviceError when io_uring was asked for by name and the
/// kernel refuses it.
[[nodiscard]] std::unique_ptr<AsyncReader> open_reader(const std::filesystem::path& path, const ReaderOptions& options);

/// A storage slower than the one at hand: one server of this bandwidth, and a latency that overlaps between reads.
struct Throttle {
  double bytes_per_second = 0.0;  ///< 0: not limited
  double latency_seconds = 0.0;
  [[nodiscard]] bool active() const { return bytes_per_second > 0.0 || latency_seconds > 0.0; }
};

/// Delays the completions of `reader` until the storage described by `throttle` would have delivered them.
[[nodiscard]] std::unique_ptr<AsyncReader> throttle_reader(std::unique_ptr<AsyncReader> reader,
                                                           const Throttle& throttle);

}  // namespace flame::io
