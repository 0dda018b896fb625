#include "flame/experts/slot_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <new>

#include "flame/base/byte_size.h"
#include "flame/base/error.h"

namespace flame::experts {

SlotMemory::SlotMemory(std::size_t slots, std::uint64_t slot_bytes)
    : slot_bytes_(static_cast<std::size_t>(slot_bytes)) {
  const bool fits = slot_bytes_ > 0 && slots <= std::numeric_limits<std::size_t>::max() / 2 / slot_bytes_;
  try {
    if (!fits) throw std::bad_alloc();
    memory_ = LargePageMemory(slots * slot_bytes_);
  } catch (const std::bad_alloc&) {
    throw DeviceError(fmt::format("{} slots of {} cannot be had: {}", slots, format_byte_size(slot_bytes),
                                  fits ? std::strerror(ENOMEM) : "too large"));
  }
  // Touched now, so that no load pays for a page fault, and a machine that is too small says so at the start.
  if (::madvise(all().data(), all().size(), MADV_POPULATE_WRITE) != 0) {
    if (errno == ENOMEM || errno == EFAULT) {
      throw DeviceError(fmt::format("{} slots of {} do not fit into this machine's memory: give less --expert-memory",
                                    slots, format_byte_size(slot_bytes)));
    }
    std::memset(all().data(), 0, all().size());  // kernels before 5.14
  }
}

}  // namespace flame::experts
