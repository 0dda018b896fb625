#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace flame::io {

/// What the kernel is told about the coming use of mapped bytes.
enum class Advice : std::uint8_t {
  kNormal,
  kSequential,  ///< read ahead far
  kRandom,      ///< do not read ahead
  kWillNeed,    ///< begin to read now
  kDontNeed,    ///< drop the pages from this process; they come back from the file when touched
};

/// Read-only bytes of a file, owned: a mapping that goes when the object does (or a buffer that stands for one, in the
/// in-memory file system). Move-only. Made by FileSystem::map.
/// A mapped file that another program makes shorter meanwhile kills the process (SIGBUS); nothing can prevent that.
class MemoryMap {
 public:
  MemoryMap() = default;
  ~MemoryMap();
  MemoryMap(MemoryMap&& other) noexcept;
  MemoryMap& operator=(MemoryMap&& other) noexcept;

  /// Takes over an mmap()ed region of `mapped_length` bytes at `mapped`; the caller's bytes start `skip` bytes into it.
  static MemoryMap of_mapping(void* mapped, std::size_t mapped_length, std::size_t skip, std::size_t length);
  /// Bytes kept alive by `owner`.
  static MemoryMap of_buffer(std::shared_ptr<const void> owner, std::span<const std::byte> bytes);

  /// Valid until this object is destroyed or moved into; moving out of it keeps the addresses.
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

  /// For a part of bytes(). Advice is only advice: failures are ignored. kDontNeed covers only whole pages inside
  /// `part`, so that neighbours keep theirs; other advice covers every page that `part` touches.
  void advise(std::span<const std::byte> part, Advice advice) const;
  void advise(Advice advice) const { advise(bytes_, advice); }

 private:
  void unmap() noexcept;

  void* mapped_ = nullptr;
  std::size_t mapped_length_ = 0;
  std::shared_ptr<const void> owner_;
  std::span<const std::byte> bytes_;
};

}  // namespace flame::io
