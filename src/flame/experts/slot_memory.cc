#include "flame/experts/slot_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <limits>

#include "flame/base/byte_size.h"
#include "flame/base/error.h"

namespace flame::experts {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

SlotMemory::SlotMemory(std::size_t slots, std::uint64_t slot_bytes)
    : slots_(slots), slot_bytes_(static_cast<std::size_t>(slot_bytes)) {
  const bool fits = slot_bytes_ > 0 && slots <= (std::numeric_limits<std::size_t>::max() / 2 - kHugePage) / slot_bytes_;
  // Room to begin at a huge page; what is not touched costs nothing.
  mapped_bytes_ = fits ? slots * slot_bytes_ + kHugePage : 0;
  mapping_ =
      fits ? ::mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : MAP_FAILED;
  if (mapping_ == MAP_FAILED) {
    throw DeviceError(fmt::format("{} slots of {} cannot be had: {}", slots, format_byte_size(slot_bytes),
                                  fits ? std::strerror(errno) : "too large"));
  }
  const auto address = reinterpret_cast<std::uintptr_t>(mapping_);
  begin_ = static_cast<std::byte*>(mapping_) + (kHugePage - address % kHugePage) % kHugePage;
  ::madvise(begin_, slots_ * slot_bytes_, MADV_HUGEPAGE);  // a wish
  // Touched now, so that no load pays for a page fault, and a machine that is too small says so at the start.
  if (::madvise(begin_, slots_ * slot_bytes_, MADV_POPULATE_WRITE) != 0) {
    if (errno == ENOMEM || errno == EFAULT) {
      ::munmap(mapping_, mapped_bytes_);
      throw DeviceError(fmt::format("{} slots of {} do not fit into this machine's memory: give less --expert-memory",
                                    slots, format_byte_size(slot_bytes)));
    }
    std::memset(begin_, 0, slots_ * slot_bytes_);  // kernels before 5.14
  }
}

SlotMemory::~SlotMemory() { ::munmap(mapping_, mapped_bytes_); }

}  // namespace flame::experts
