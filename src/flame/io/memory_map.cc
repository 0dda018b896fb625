#include "flame/io/memory_map.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cassert>
#include <utility>

#include "flame/io/mapping_faults.h"

namespace flame::io {
namespace {

int native(Advice advice) {
  switch (advice) {
    case Advice::kNormal:
      return MADV_NORMAL;
    case Advice::kSequential:
      return MADV_SEQUENTIAL;
    case Advice::kRandom:
      return MADV_RANDOM;
    case Advice::kWillNeed:
      return MADV_WILLNEED;
    case Advice::kDontNeed:
      return MADV_DONTNEED;
  }
  return MADV_NORMAL;
}

}  // namespace

MemoryMap MemoryMap::of_mapping(void* mapped, std::size_t mapped_length, std::size_t skip, std::size_t length) {
  assert(skip <= mapped_length && length <= mapped_length - skip);
  MemoryMap map;
  map.mapped_ = mapped;
  map.mapped_length_ = mapped_length;
  map.bytes_ = {static_cast<const std::byte*>(mapped) + skip, length};
  return map;
}

MemoryMap MemoryMap::of_buffer(std::shared_ptr<const void> owner, std::span<const std::byte> bytes) {
  MemoryMap map;
  map.owner_ = std::move(owner);
  map.bytes_ = bytes;
  return map;
}

MemoryMap::~MemoryMap() { unmap(); }

MemoryMap::MemoryMap(MemoryMap&& other) noexcept
    : mapped_(std::exchange(other.mapped_, nullptr)),
      mapped_length_(std::exchange(other.mapped_length_, 0)),
      owner_(std::move(other.owner_)),
      bytes_(std::exchange(other.bytes_, {})) {}

MemoryMap& MemoryMap::operator=(MemoryMap&& other) noexcept {
  if (this != &other) {
    unmap();
    mapped_ = std::exchange(other.mapped_, nullptr);
    mapped_length_ = std::exchange(other.mapped_length_, 0);
    owner_ = std::move(other.owner_);
    bytes_ = std::exchange(other.bytes_, {});
  }
  return *this;
}

void MemoryMap::unmap() noexcept {
  if (mapped_ == nullptr) return;
  forget_mapping(mapped_);
  munmap(mapped_, mapped_length_);
}

void MemoryMap::advise(std::span<const std::byte> part, Advice advice) const {
  if (mapped_ == nullptr || part.empty()) return;
  assert(part.data() >= bytes_.data() && part.data() + part.size() <= bytes_.data() + bytes_.size());
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  auto begin = static_cast<std::size_t>(part.data() - static_cast<const std::byte*>(mapped_));
  std::size_t end = begin + part.size();
  if (advice == Advice::kDontNeed) {
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
  } else {
    begin = begin / page * page;
  }
  if (begin < end) madvise(static_cast<std::byte*>(mapped_) + begin, end - begin, native(advice));
}

}  // namespace flame::io
