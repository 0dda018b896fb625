#include "flame/accel/axi_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "flame/base/byte_size.h"
#include "flame/base/error.h"

namespace flame::accel {

namespace {
constexpr std::size_t kPage = 4096;
constexpr std::size_t kLine = 64;
}  // namespace

std::uint64_t MemoryBank::allocate(std::size_t bytes) {
  const std::uint64_t length = (std::uint64_t{bytes} + kPage - 1) / kPage * kPage;
  std::uint64_t offset = 0;
  std::uint64_t taken = 0;
  for (const auto& [start, reserved] : reservations_) {
    if (start - offset < length) offset = start + reserved;
    taken += reserved;
  }
  if (length > capacity_ || offset > capacity_ - length) {
    throw DeviceError(fmt::format("a memory bank of the card is full: {} of {} are taken, {} more are asked for",
                                  format_byte_size(taken), format_byte_size(capacity_), format_byte_size(length)));
  }
  reservations_.emplace(offset, length);
  if (bytes_.size() < offset + length) bytes_.resize(offset + length);
  std::fill_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), length, std::uint8_t{0});
  return offset;
}

bool MemoryBank::grant(std::size_t number, std::uint64_t cycle) {
  const std::uint32_t mine = 1U << number;
  if (!timing_->accepts(cycle) || ((waiting_ & ~mine) != 0 && last_granted_ == number)) {
    waiting_ |= mine;
    return false;
  }
  waiting_ &= ~mine;
  last_granted_ = number;
  return true;
}

void AxiPort::set_stalls(const StallRates& rates, std::uint64_t seed) {
  stalls_ = rates;
  random_.seed(seed);
}

void AxiPort::inject_read_error(std::uint64_t first, std::uint64_t last) {
  error_first_ = first;
  error_last_ = last;
}

void AxiPort::fail(const char* rule, std::uint64_t cycle) const {
  throw DeviceError(fmt::format("AXI port {} broke a rule in cycle {}: {}", number_, cycle, rule));
}

bool AxiPort::withhold(unsigned rate) { return rate != 0 && (random_() & 0xFF) < rate; }

void AxiPort::check_burst(std::uint64_t address, unsigned beats, const char* what, std::uint64_t cycle) const {
  if (address % kPage + std::uint64_t{beats} * beat_bytes_ > kPage) fail("a burst crosses a 4 KiB boundary", cycle);
  if (address % beat_bytes_ != 0) fail("an address is not a multiple of the beat", cycle);
  const std::uint64_t offset = address - base_;
  if (address < base_ || offset > bank_.size() || bank_.size() - offset < beats * beat_bytes_) {
    throw DeviceError(
        fmt::format("AXI port {}, cycle {}: {} of {} beats at {:#x} lies outside the {} bytes of its bank at {:#x}",
                    number_, cycle, what, beats, address, bank_.size(), base_));
  }
}

void AxiPort::respond(const AxiMasterSignals& kernel, std::uint64_t cycle, AxiSlaveSignals& memory) {
  // The kernel's side: nothing that was offered and not taken may change.
  if (before_.ar_valid && !answered_.ar_ready &&
      (!kernel.ar_valid || kernel.ar_address != before_.ar_address || kernel.ar_length != before_.ar_length)) {
    fail("ARVALID or its payload changed before ARREADY", cycle);
  }
  if (before_.aw_valid && !answered_.aw_ready &&
      (!kernel.aw_valid || kernel.aw_address != before_.aw_address || kernel.aw_length != before_.aw_length)) {
    fail("AWVALID or its payload changed before AWREADY", cycle);
  }
  if (before_.w_valid && !answered_.w_ready &&
      (!kernel.w_valid || kernel.w_last != before_.w_last || *kernel.w_data != before_data_)) {
    fail("WVALID or its payload changed before WREADY", cycle);
  }

  memory.ar_ready = kernel.ar_valid && !withhold(stalls_.ar) && bank_.grant(number_, cycle);
  if (memory.ar_ready) {
    const unsigned beats = kernel.ar_length + 1U;
    check_burst(kernel.ar_address, beats, "a read", cycle);
    if (observer_ != nullptr) observer_->read_requested(number_, kernel.ar_address, cycle);
    std::uint64_t ready = 0;
    for (unsigned i = 0; i < beats; ++i) {
      const std::uint64_t address = kernel.ar_address - base_ + i * beat_bytes_;
      if (i == 0 || address % kLine == 0) ready = bank_.timing().schedule(address, false, cycle);
      reads_.push_back({address, ready, i + 1 == beats});
    }
  }

  if (!r_held_) memory.r_valid = !reads_.empty() && reads_.front().ready <= cycle && !withhold(stalls_.r);
  if (memory.r_valid) {
    const ReadBeat& beat = reads_.front();
    std::memcpy(memory.r_data.data(), bank_.bytes().data() + beat.address, beat_bytes_);
    memory.r_last = beat.last;
    const bool bad = beat.address >= error_first_ && beat.address < error_last_;
    memory.r_response = bad ? 2 : 0;
    r_held_ = !kernel.r_ready;
    if (kernel.r_ready) {
      if (observer_ != nullptr) observer_->beat_read(number_, base_ + beat.address, cycle);
      reads_.pop_front();
    }
  }

  memory.aw_ready = !withhold(stalls_.aw);
  if (kernel.aw_valid && memory.aw_ready) {
    check_burst(kernel.aw_address, kernel.aw_length + 1U, "a write", cycle);
    writes_.push_back({kernel.aw_address - base_, kernel.aw_length + 1U, 0});
  }

  memory.w_ready = !withhold(stalls_.w);
  if (kernel.w_valid && memory.w_ready) {
    WriteBurst* open = nullptr;
    for (WriteBurst& burst : writes_) {
      if (burst.done < burst.beats) {
        open = &burst;
        break;
      }
    }
    if (open == nullptr) fail("write data before its address", cycle);
    const std::uint64_t address = open->address + open->done * beat_bytes_;
    std::memcpy(bank_.bytes().data() + address, kernel.w_data->data(), beat_bytes_);
    ++open->done;
    if ((address + beat_bytes_) % kLine == 0 || open->done == open->beats) {
      open->response = bank_.timing().schedule(address, true, cycle);
    }
    if (kernel.w_last != (open->done == open->beats)) fail("WLAST is not on the burst's last beat", cycle);
  }

  if (!b_held_) {
    memory.b_valid = !writes_.empty() && writes_.front().done == writes_.front().beats &&
                     writes_.front().response <= cycle && !withhold(stalls_.b);
  }
  memory.b_response = 0;
  if (memory.b_valid) {
    b_held_ = !kernel.b_ready;
    if (kernel.b_ready) {
      if (observer_ != nullptr) observer_->written(number_, base_ + writes_.front().address, cycle);
      writes_.pop_front();
    }
  }

  before_ = kernel;
  if (kernel.w_valid) before_data_ = *kernel.w_data;
  answered_ = memory;
}

}  // namespace flame::accel
