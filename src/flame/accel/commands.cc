#include "flame/accel/commands.h"

#include <cstring>

namespace flame::accel {

namespace {

// Opcodes of flame_pkg.sv.
constexpr std::uint8_t kOpLayer = 1;
constexpr std::uint8_t kOpClearSequence = 2;
constexpr std::uint8_t kOpCopySequence = 3;
constexpr std::uint8_t kOpDelay = 4;
constexpr std::uint8_t kOpLoadRouter = 5;
constexpr std::uint8_t kOpLoadTable = 6;
constexpr std::uint8_t kOpLoadKeep = 7;
constexpr std::uint8_t kOpFlush = 8;
constexpr std::uint8_t kOpPrefetch = 9;
constexpr std::size_t kFetched = 8;  // the kernel reads commands eight at a time

template <class Record, class Value>
void put(Record& record, std::size_t offset, Value value) {
  std::memcpy(record.data() + offset, &value, sizeof(value));
}

}  // namespace

CommandList::Record& CommandList::add(std::uint8_t opcode) {
  Record& record = records_.emplace_back();
  record.fill(0);
  record[0] = opcode;
  return record;
}

void CommandList::layer(LayerFlags flags, std::size_t layer, std::size_t expert, std::size_t sequence,
                        std::uint64_t input, std::uint64_t output) {
  Record& record = add(kOpLayer);
  record[1] = flags.bits();
  record[2] = static_cast<std::uint8_t>(layer);
  record[3] = static_cast<std::uint8_t>(expert);
  record[4] = static_cast<std::uint8_t>(sequence);
  put(record, 8, input);
  put(record, 16, output);
}

void CommandList::clear_sequence(std::size_t sequence) {
  add(kOpClearSequence)[4] = static_cast<std::uint8_t>(sequence);
}

void CommandList::copy_sequence(std::size_t target, std::size_t source) {
  Record& record = add(kOpCopySequence);
  record[4] = static_cast<std::uint8_t>(target);
  record[5] = static_cast<std::uint8_t>(source);
}

void CommandList::delay(std::uint32_t cycles) {
  if (cycles != 0) put(add(kOpDelay), 24, cycles);
}

void CommandList::load_router(std::size_t layer, std::uint64_t address) {
  Record& record = add(kOpLoadRouter);
  record[2] = static_cast<std::uint8_t>(layer);
  put(record, 8, address);
}

void CommandList::load_table(std::uint64_t address, std::size_t first_beat, std::size_t beats) {
  Record& record = add(kOpLoadTable);
  put(record, 6, static_cast<std::uint16_t>(first_beat));
  put(record, 8, address);
  put(record, 24, static_cast<std::uint32_t>(beats));
}

void CommandList::load_keep(std::uint64_t address, std::size_t layers) {
  Record& record = add(kOpLoadKeep);
  put(record, 8, address);
  put(record, 24, static_cast<std::uint32_t>(layers));
}

void CommandList::flush() { add(kOpFlush); }

void CommandList::prefetch(std::size_t layer, std::size_t expert) {
  Record& record = add(kOpPrefetch);
  record[2] = static_cast<std::uint8_t>(layer);
  record[3] = static_cast<std::uint8_t>(expert);
}

std::vector<std::uint8_t> CommandList::bytes() const {
  const std::size_t padded = (records_.size() + 1 + kFetched - 1) / kFetched * kFetched;  // at least one end command
  std::vector<std::uint8_t> result(padded * sizeof(Record));
  for (std::size_t i = 0; i < records_.size(); ++i) {
    std::memcpy(result.data() + i * sizeof(Record), records_[i].data(), sizeof(Record));
  }
  return result;
}

}  // namespace flame::accel
