#pragma once

#include <cstddef>
#include <span>

namespace flame {

/// Zeroed memory that begins on a large page (2 MiB) and lies on large pages where the system gives them: reading
/// through it asks for a five-hundredth of the address translations. What is not touched costs nothing; a rest shorter
/// than a large page lies on small ones.
class LargePageMemory {
 public:
  LargePageMemory() = default;
  /// Throws std::bad_alloc.
  explicit LargePageMemory(std::size_t bytes);
  ~LargePageMemory();
  LargePageMemory(LargePageMemory&& other) noexcept;
  LargePageMemory& operator=(LargePageMemory&& other) noexcept;

  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

 private:
  void unmap() noexcept;

  void* mapping_ = nullptr;
  std::size_t mapped_bytes_ = 0;
  std::span<std::byte> bytes_;
};

}  // namespace flame
