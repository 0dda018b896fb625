#include "flame/accel/kernel_limits.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "flame/base/byte_size.h"
#include "flame/base/error.h"

namespace flame::accel {

ExpertLayout KernelLimits::layout(std::size_t d_model, std::size_t d_ff, DevicePattern pattern) const {
  return ExpertLayout::make(d_model, d_ff, pattern, positions, channels, axi_bytes, max_d_model, max_d_ff);
}

void KernelLimits::check_model(std::size_t layers, std::size_t experts) const {
  if (experts != 0 && experts <= max_experts && layers != 0 && layers <= max_layers) return;
  throw UsageError(
      fmt::format("the accelerator is built for at most {} MoE layers of {} experts, this model has {} of {}{}",
                  max_layers, max_experts, layers, experts, larger_kernels(axi_bytes)));
}

void KernelLimits::check_policy(const PolicySettings& policy, std::size_t experts) const {
  if (policy.order > max_order) {
    throw UsageError(
        fmt::format("the accelerator predicts from at most {} decisions, not {}", max_order, policy.order));
  }
  if (policy.prefetch_count > ranked) {
    throw UsageError(fmt::format("the accelerator ranks at most {} experts, not {}", ranked, policy.prefetch_count));
  }
  const std::size_t bits = policy.order * expert_bits(experts) + 1;
  if (policy.prefetch_count != 0 && policy.path_layers << bits > std::size_t{1} << table_address_bits) {
    throw UsageError(fmt::format(
        "a table of order {} over {} layers does not fit the accelerator's {} entries; use a lower --context{}",
        policy.order, policy.path_layers, std::size_t{1} << table_address_bits, larger_kernels(axi_bytes)));
  }
}

std::size_t KernelLimits::slots_that_fit(const ExpertLayout& layout) const {
  return std::min(bank_words / layout.bank_words(), max_slots);
}

void KernelLimits::check_slots(const ExpertLayout& layout, std::size_t slots) const {
  const std::size_t fit = slots_that_fit(layout);
  if (slots <= fit) return;
  throw UsageError(fmt::format("{} slots of {} bytes do not fit the accelerator's {} bytes ({} slots do){}", slots,
                               layout.slot_bytes(), slot_bytes(), fit, larger_kernels(axi_bytes)));
}

std::size_t KernelLimits::choose_slots(const ExpertLayout& layout, std::size_t slots, std::uint64_t budget_bytes,
                                       std::size_t experts) const {
  if (slots != 0) {
    check_slots(layout, slots);
    return slots;
  }
  const std::size_t fit = std::min(slots_that_fit(layout), experts);
  if (budget_bytes == 0) return fit;
  if (budget_bytes > slot_bytes()) {
    throw UsageError(fmt::format("{} of expert memory are asked for, the accelerator has {} of slots",
                                 format_byte_size(budget_bytes), format_byte_size(slot_bytes())));
  }
  if (budget_bytes < layout.slot_bytes()) {
    throw UsageError(fmt::format("{} of expert memory hold no expert: one ({}) takes {} bytes",
                                 format_byte_size(budget_bytes), layout.pattern.name(), layout.slot_bytes()));
  }
  return std::min<std::size_t>(fit, budget_bytes / layout.slot_bytes());
}

std::size_t expert_bits(std::size_t experts) {
  return std::max<std::size_t>(1, static_cast<std::size_t>(std::bit_width(experts - 1)));
}

KernelLimits limits_of(RtlConfiguration configuration) {
  // What rtl/configurations gives, and flame_kernel.v's own values for the rest (a test holds them to the kernels').
  KernelLimits limits{.axi_bytes = 64,
                      .positions = 1,
                      .channels = 1,
                      .max_slots = 64,
                      .max_experts = 16,
                      .bank_words = 425984,  // 26 MiB of slots
                      .max_d_model = 1024,
                      .max_d_ff = 4096,
                      .max_layers = 12,
                      .sequences = 64,
                      .table_address_bits = 16,
                      .max_order = 4,
                      .ranked = 4};
  switch (configuration) {
    case RtlConfiguration::kLanes16:
      limits.axi_bytes = 16;
      limits.max_slots = 8;
      limits.max_experts = 8;
      limits.bank_words = 16384;
      limits.max_d_model = 256;
      limits.max_d_ff = 256;
      limits.max_layers = 8;
      limits.table_address_bits = 13;
      break;
    case RtlConfiguration::kLanes64:
      break;
    case RtlConfiguration::kLanes256:
      limits.positions = limits.channels = 4;
      limits.bank_words /= 4;
      break;
  }
  return limits;
}

}  // namespace flame::accel
