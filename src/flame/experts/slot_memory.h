#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "flame/base/large_pages.h"
#include "flame/experts/slot_pool.h"

namespace flame::experts {

/// The memory of all slots: one allocation, made and touched at the start, in huge pages where the system gives them.
class SlotMemory {
 public:
  /// `slot_bytes` is a multiple of 4096. Throws DeviceError when the system has not so much memory.
  SlotMemory(std::size_t slots, std::uint64_t slot_bytes);

  [[nodiscard]] std::span<std::byte> slot(SlotIndex slot) const {
    return all().subspan(std::size_t{slot} * slot_bytes_, slot_bytes_);
  }
  [[nodiscard]] std::span<std::byte> all() const { return memory_.bytes(); }

 private:
  std::size_t slot_bytes_;
  LargePageMemory memory_;
};

}  // namespace flame::experts
