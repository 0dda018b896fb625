#include "flame/accel/driver.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "flame/accel/registers.h"
#include "flame/base/error.h"

namespace flame::accel {

namespace {

constexpr std::size_t kRouterBits = 27;        // of a token's fixed-point element
constexpr std::size_t kRouterWeightBits = 18;  // of a router weight
constexpr unsigned kLogitShift = 19;           // the kernel hands out sums / 2^19
constexpr std::size_t kEntriesPerLine = kLineBytes / 4;

const char* describe_error(std::uint32_t code) {
  switch (code) {
    case 1:
      return "unknown opcode";
    case 2:
      return "layer out of range";
    case 3:
      return "expert out of range";
    case 4:
      return "shape beyond the kernel's limits, or steps and sizes that are not its";
    case 5:
      return "more slots than the kernel's memory holds";
    case 6:
      return "the memory answered a read with an error";
    case 7:
      return "the memory answered a write with an error";
    case 8:
      return "sequence out of range";
    case 9:
      return "predictor beyond the kernel's limits";
    case 10:
      return "an address that is not a multiple of 64";
    case 11:
      return "more entries than a table has";
    default:
      return "unknown error";
  }
}

/// x as integers of `bits` bits, and the scale that undoes it.
float quantise(std::span<const float> x, unsigned bits, std::span<std::int32_t> codes) {
  float largest = 0.0F;
  for (const float value : x) largest = std::max(largest, std::fabs(value));
  if (largest == 0.0F) {
    std::fill(codes.begin(), codes.end(), 0);
    return 0.0F;
  }
  const double limit = static_cast<double>((std::int64_t{1} << (bits - 1)) - 1);
  const double scale = static_cast<double>(largest) / limit;
  for (std::size_t i = 0; i < x.size(); ++i) {
    codes[i] = static_cast<std::int32_t>(std::nearbyint(static_cast<double>(x[i]) / scale));
  }
  return static_cast<float>(scale);
}

std::span<const std::uint8_t> as_bytes(std::span<const std::int32_t> words) {
  return {reinterpret_cast<const std::uint8_t*>(words.data()), words.size_bytes()};
}

}  // namespace

Driver::Driver(std::unique_ptr<KernelBackend> backend) : backend_(std::move(backend)) {
  const std::uint32_t version = backend_->read_register(registers::kVersion);
  if (version != registers::kExpectedVersion) {
    throw DeviceError(
        fmt::format("the kernel calls itself {:#010x}, this program drives {:#010x}; load a bitstream made from this "
                    "version's rtl/",
                    version, registers::kExpectedVersion));
  }
  limits_.axi_bytes = backend_->read_register(registers::kAxiBytes);
  if (limits_.axi_bytes != 16 && limits_.axi_bytes != 32 && limits_.axi_bytes != 64) {
    throw DeviceError(fmt::format("the kernel says that a beat of its memory ports has {} bytes, not 16, 32 or 64",
                                  limits_.axi_bytes));
  }
  const std::uint32_t capabilities = backend_->read_register(registers::kCapabilities);
  limits_.positions = capabilities & 0xFF;
  limits_.channels = capabilities >> 8 & 0xFF;
  limits_.max_slots = capabilities >> 16 & 0xFF;
  limits_.max_experts = capabilities >> 24;
  limits_.bank_words = backend_->read_register(registers::kCapacity);
  const std::uint32_t shape = backend_->read_register(registers::kLimits);
  limits_.max_d_model = (shape & 0xFF) * kShapeUnit;
  limits_.max_d_ff = (shape >> 8 & 0xFF) * kShapeUnit;
  limits_.max_layers = shape >> 16 & 0xFF;
  limits_.sequences = shape >> 24;
  const std::uint32_t predictor = backend_->read_register(registers::kPredictorLimits);
  limits_.table_address_bits = predictor >> 8 & 0xFF;
  limits_.max_order = predictor >> 16 & 0xFF;
  limits_.ranked = predictor >> 24;
}

void Driver::write64(std::uint32_t offset, std::uint64_t value) {
  backend_->write_register(offset, static_cast<std::uint32_t>(value));
  backend_->write_register(offset + 4, static_cast<std::uint32_t>(value >> 32));
}

std::uint64_t Driver::read64(std::uint32_t offset) {
  const std::uint64_t low = backend_->read_register(offset);
  return low | std::uint64_t{backend_->read_register(offset + 4)} << 32;
}

void Driver::configure(std::size_t d_model, std::size_t d_ff, DevicePattern pattern, std::size_t layers,
                       std::size_t experts, std::size_t slots) {
  layout_ = limits_.layout(d_model, d_ff, pattern);
  limits_.check_model(layers, experts);
  layers_ = layers;
  experts_ = experts;
  router_scales_.assign(layers, 0.0F);
  for (std::size_t channel = 0; channel < limits_.channels; ++channel) {
    weights_[channel] = backend_->allocate(layers * experts * layout_.channel_stride(), channel);
    write64(registers::kWeights0 + static_cast<std::uint32_t>(channel) * registers::kWeightsStep, weights_[channel]);
  }
  const auto word = [](std::size_t value) { return static_cast<std::uint32_t>(value); };
  backend_->write_register(registers::kShape,
                           word(layout_.padded_d_model() / kShapeUnit | layout_.padded_d_ff() / kShapeUnit << 8 |
                                std::size_t{pattern.log2_n} << 16 | std::size_t{pattern.log2_m} << 18 | experts << 24));
  backend_->write_register(registers::kSteps, word(layout_.input_steps() | layout_.output_steps() << 16));
  backend_->write_register(registers::kHeaderWords, word(layout_.header_words()));
  backend_->write_register(registers::kBankWords, word(layout_.bank_words()));
  backend_->write_register(registers::kStride, word(layout_.channel_stride()));
  set_slots(slots);
  policy_.path_layers = layers;
  write_predictor();
  CommandList fresh;
  for (std::size_t sequence = 0; sequence < limits_.sequences; ++sequence) fresh.clear_sequence(sequence);
  run(fresh);
  load_keep(std::vector<std::uint8_t>(layers * experts));
}

void Driver::set_slots(std::size_t slots, std::uint64_t budget_bytes) {
  slots_ = limits_.choose_slots(layout_, slots, budget_bytes, layers_ * experts_);
  backend_->write_register(registers::kSlots, static_cast<std::uint32_t>(slots_));
  slots_are_stale_ = true;
}

void Driver::write_predictor() {
  backend_->write_register(
      registers::kPredictor,
      static_cast<std::uint32_t>(policy_.order | expert_bits(experts_) << 4 | policy_.prefetch_count << 8 |
                                 policy_.path_layers << 12 | std::size_t{policy_.drop_contradicted ? 1U : 0U} << 16 |
                                 layers_ << 20));
}

void Driver::set_policy(const PolicySettings& policy) {
  limits_.check_policy(policy, experts_);
  policy_ = policy;
  write_predictor();
}

void Driver::grow(HostBuffer& buffer, std::size_t bytes) {
  if (bytes <= buffer.bytes) return;
  bytes = (bytes + kStrideBytes - 1) / kStrideBytes * kStrideBytes;  // a card gives out pages
  if (buffer.bytes != 0) backend_->release(buffer.address);
  buffer = {};
  buffer = {backend_->allocate(bytes, kHostPort), bytes};
}

std::uint64_t Driver::upload_scratch(std::span<const std::uint8_t> bytes) {
  grow(scratch_, bytes.size());
  backend_->upload(scratch_.address, bytes);
  return scratch_.address;
}

void Driver::load_expert(std::size_t layer, std::size_t expert, const kernels::Int8ExpertView& view) {
  slots_are_stale_ = true;
  const std::size_t index = layer * experts_ + expert;
  for (std::size_t channel = 0; channel < limits_.channels; ++channel) {
    backend_->upload(weights_[channel] + index * layout_.channel_stride(), pack_expert_channel(layout_, view, channel));
  }
}

void Driver::load_expert_everywhere(const kernels::Int8ExpertView& view, std::size_t first, std::size_t step) {
  slots_are_stale_ = true;
  for (std::size_t channel = 0; channel < limits_.channels; ++channel) {
    const std::vector<std::uint8_t> image = pack_expert_channel(layout_, view, channel);
    for (std::size_t index = first; index < layers_ * experts_; index += step) {
      backend_->upload(weights_[channel] + index * layout_.channel_stride(), image);
    }
  }
}

void Driver::load_router(std::size_t layer, std::span<const float> weights) {
  const std::size_t padded = layout_.padded_d_model();
  std::vector<std::int32_t> codes(experts_ * layout_.d_model);
  router_scales_[layer] = quantise(weights, kRouterWeightBits, codes);
  std::vector<std::int32_t> rows(experts_ * padded);
  for (std::size_t e = 0; e < experts_; ++e) {
    for (std::size_t k = 0; k < layout_.d_model; ++k) rows[e * padded + k] = codes[e * layout_.d_model + k];
  }
  const std::uint64_t address = upload_scratch(as_bytes(rows));
  CommandList commands;
  commands.load_router(layer, address);
  run(commands);
}

std::size_t Driver::table_address(std::size_t layer, std::span<const std::uint8_t> context) const {
  const std::size_t bits = expert_bits(experts_);
  std::size_t address = 1;
  for (const std::uint8_t expert : context) address = address << bits | expert;
  return address + (layer << (policy_.order * bits + 1));
}

void Driver::load_table(std::span<const TableEntry> entries) {
  const std::size_t used =
      std::max<std::size_t>(policy_.path_layers << (policy_.order * expert_bits(experts_) + 1), kEntriesPerLine);
  std::vector<std::int32_t> words((used + kEntriesPerLine - 1) / kEntriesPerLine * kEntriesPerLine);
  for (const TableEntry& entry : entries) {
    if (entry.layer >= policy_.path_layers || entry.context.size() > policy_.order || entry.ranked.empty()) {
      throw UsageError("a predictor table entry does not fit the predictor's layers and order");
    }
    std::uint32_t word = 1U << (4 * limits_.ranked);
    for (std::size_t i = 0; i < limits_.ranked; ++i) {
      // A context with fewer experts repeats its last: prefetching it twice is one prefetch.
      const std::uint8_t expert = entry.ranked[std::min(i, entry.ranked.size() - 1)];
      word |= static_cast<std::uint32_t>(expert) << (4 * i);
    }
    words[table_address(entry.layer, entry.context)] = static_cast<std::int32_t>(word);
  }
  const std::uint64_t address = upload_scratch(as_bytes(words));
  CommandList commands;
  commands.load_table(address, 0, words.size() * 4 / limits_.axi_bytes);
  run(commands);
}

void Driver::load_keep(std::span<const std::uint8_t> values) {
  std::vector<std::uint8_t> beats(layers_ * limits_.axi_bytes);
  for (std::size_t layer = 0; layer < layers_; ++layer) {
    for (std::size_t e = 0; e < experts_; ++e) beats[layer * limits_.axi_bytes + e] = values[layer * experts_ + e];
  }
  const std::uint64_t address = upload_scratch(beats);
  CommandList commands;
  commands.load_keep(address, layers_);
  run(commands);
}

TokenRecord Driver::make_token(std::span<const float> x, bool with_router, bool with_codes) const {
  TokenRecord record;
  const std::size_t padded = layout_.padded_d_model();
  if (with_router) {
    std::vector<std::int32_t> fixed(padded);
    record.router_scale = quantise(x, kRouterBits, std::span(fixed).first(x.size()));
    const auto bytes = as_bytes(fixed);
    record.bytes.insert(record.bytes.end(), bytes.begin(), bytes.end());
  }
  if (with_codes) {
    std::vector<std::int8_t> codes(padded);
    record.activation_scale = kernels::quantise_symmetric(x, std::span(codes).first(x.size()));
    for (const std::int8_t code : codes) record.bytes.push_back(static_cast<std::uint8_t>(code));
  }
  return record;
}

float Driver::logit(std::size_t layer, std::int32_t sum, float router_scale) const {
  return static_cast<float>(std::ldexp(static_cast<double>(sum), kLogitShift) * static_cast<double>(router_scale) *
                            static_cast<double>(router_scales_[layer]));
}

void Driver::reserve(std::size_t tokens) {
  if (tokens <= tokens_capacity_) return;
  const std::size_t padded = layout_.padded_d_model();
  grow(tokens_, tokens * (padded * 5 + 2 * kLineBytes + padded * 4));
  tokens_capacity_ = tokens;
}

std::uint64_t Driver::token_address(std::size_t token) const {
  return tokens_.address + token * layout_.padded_d_model() * 5;
}

std::uint64_t Driver::result_address(std::size_t token) const {
  const std::size_t padded = layout_.padded_d_model();
  return tokens_.address + tokens_capacity_ * padded * 5 + token * (2 * kLineBytes + padded * 4);
}

void Driver::upload_token(std::size_t token, const TokenRecord& record) {
  backend_->upload(token_address(token), record.bytes);
}

LayerResult Driver::download_result(std::size_t token, bool computed) {
  std::vector<std::uint8_t> bytes(2 * kLineBytes + (computed ? layout_.padded_d_model() * 4 : 0));
  backend_->download(result_address(token), bytes);
  const auto word = [&](std::size_t index) {
    std::int32_t value = 0;
    std::memcpy(&value, bytes.data() + 4 * index, sizeof(value));
    return value;
  };
  if (static_cast<std::uint32_t>(word(0)) != registers::kExpectedVersion) {
    throw DeviceError("a result record without its mark: the kernel did not write it");
  }
  LayerResult result;
  result.expert = static_cast<std::size_t>(word(1)) & 0xFF;
  result.lookup = static_cast<LookupClass>(word(1) >> 8 & 3);
  result.hidden_maximum = static_cast<std::uint32_t>(word(2));
  result.cycles = static_cast<std::uint32_t>(word(3));
  for (std::size_t e = 0; e < experts_; ++e) result.logits.push_back(word(16 + e));
  if (computed) {
    for (std::size_t i = 0; i < layout_.d_model; ++i) result.accumulators.push_back(word(32 + i));
  }
  return result;
}

void Driver::run(const CommandList& commands, bool clear_counters) {
  if (slots_are_stale_) {
    slots_are_stale_ = false;
    CommandList forget;
    forget.flush();
    run(forget);
  }
  const std::vector<std::uint8_t> bytes = commands.bytes();
  if (bytes.size() > commands_.bytes) {
    grow(commands_, bytes.size());
    write64(registers::kCommands, commands_.address);
  }
  backend_->upload(commands_.address, bytes);
  backend_->write_register(registers::kCommandCount, static_cast<std::uint32_t>(commands.size()));
  backend_->write_register(registers::kFlags, (clear_counters ? 1U : 0U) | (policy_.wait_for_whole ? 2U : 0U));
  backend_->run();
  const std::uint32_t status = backend_->read_register(registers::kStatus);
  if ((status & 0xFF) != 0) {
    throw DeviceError(fmt::format("the kernel stopped at command {} of {}: {}", status >> 8, commands.size(),
                                  describe_error(status & 0xFF)));
  }
}

KernelCounters Driver::counters() {
  KernelCounters result;
  for (std::size_t kind = 0; kind < kCycleKinds; ++kind) {
    result.cycles[kind] = read64(registers::kCycleCounters + static_cast<std::uint32_t>(8 * kind));
  }
  std::array<std::uint64_t, 7> traffic{};
  for (std::size_t i = 0; i < traffic.size(); ++i) {
    traffic[i] = read64(registers::kTrafficCounters + static_cast<std::uint32_t>(8 * i));
  }
  result.load_bytes = traffic[0] * limits_.axi_bytes;
  result.demand_loads = traffic[1];
  result.prefetch_loads = traffic[2];
  result.prefetch_used = traffic[3];
  result.prefetch_dropped = traffic[4];
  result.read_bytes = traffic[5] * limits_.axi_bytes;
  result.write_bytes = traffic[6] * limits_.axi_bytes;
  for (std::size_t layer = 0; layer < layers_; ++layer) {
    const std::uint32_t base = registers::kClassCounters + static_cast<std::uint32_t>(16 * layer);
    result.layers.push_back(
        {backend_->read_register(base + 4), backend_->read_register(base + 8), backend_->read_register(base + 12)});
  }
  return result;
}

}  // namespace flame::accel
