#include "flame/base/large_pages.h"

#include <sys/mman.h>

#include <cstdint>
#include <limits>
#include <new>
#include <utility>

namespace flame {
namespace {

constexpr std::size_t kLargePage = std::size_t{2} << 20;

}  // namespace

LargePageMemory::LargePageMemory(std::size_t bytes) {
  if (bytes == 0) return;
  if (bytes > std::numeric_limits<std::size_t>::max() - kLargePage) throw std::bad_alloc();
  // Room to begin at a large page.
  const std::size_t mapped_bytes = bytes + kLargePage;
  void* const mapping = ::mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mapping_ = mapping;
  mapped_bytes_ = mapped_bytes;
  const auto address = reinterpret_cast<std::uintptr_t>(mapping_);
  bytes_ = {static_cast<std::byte*>(mapping_) + (kLargePage - address % kLargePage) % kLargePage, bytes};
  ::madvise(bytes_.data(), bytes / kLargePage * kLargePage, MADV_HUGEPAGE);  // a wish
}

LargePageMemory::~LargePageMemory() { unmap(); }

LargePageMemory::LargePageMemory(LargePageMemory&& other) noexcept
    : mapping_(std::exchange(other.mapping_, nullptr)),
      mapped_bytes_(std::exchange(other.mapped_bytes_, 0)),
      bytes_(std::exchange(other.bytes_, {})) {}

LargePageMemory& LargePageMemory::operator=(LargePageMemory&& other) noexcept {
  if (this != &other) {
    unmap();
    mapping_ = std::exchange(other.mapping_, nullptr);
    mapped_bytes_ = std::exchange(other.mapped_bytes_, 0);
    bytes_ = std::exchange(other.bytes_, {});
  }
  return *this;
}

void LargePageMemory::unmap() noexcept {
  if (mapping_ != nullptr) ::munmap(mapping_, mapped_bytes_);
}

}  // namespace flame
