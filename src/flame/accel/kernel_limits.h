#pragma once

#include <cstddef>
#include <cstdint>

#include "flame/accel/expert_layout.h"
#include "flame/accel/rtl_kernel.h"

namespace flame::accel {

/// Predictor and buffer policy.
struct PolicySettings {
  std::size_t order = 0;           ///< m of CEPR(m)
  std::size_t prefetch_count = 0;  ///< how many of the ranked experts are prefetched; 0: no prediction
  std::size_t path_layers = 1;     ///< L: decoder layers, numbered from 0
  bool drop_contradicted = true;   ///< give up loads for a layer whose router chose another expert
  bool wait_for_whole = false;  ///< for comparison: a missed expert computes when all of it is there, not as it comes
};

/// What the bitstream (or the simulation) was built with, and what that allows.
struct KernelLimits {
  std::size_t axi_bytes = 0;  ///< of a beat; rows of the array
  std::size_t positions = 0, channels = 0, max_slots = 0, max_experts = 0;
  std::size_t bank_words = 0, max_d_model = 0, max_d_ff = 0, max_layers = 0, sequences = 0;
  std::size_t table_address_bits = 0, max_order = 0, ranked = 0;

  [[nodiscard]] std::size_t lanes() const { return axi_bytes * positions; }
  [[nodiscard]] std::size_t slot_bytes() const { return bank_words * positions * axi_bytes; }

  /// Throws UsageError where the kernel was built for smaller experts.
  [[nodiscard]] ExpertLayout layout(std::size_t d_model, std::size_t d_ff, DevicePattern pattern) const;
  /// Throws UsageError for more layers, or experts a layer, than the kernel was built for.
  void check_model(std::size_t layers, std::size_t experts) const;
  /// Throws UsageError for a predictor that the CEPR unit cannot be, in a model of `experts` experts a layer.
  void check_policy(const PolicySettings& policy, std::size_t experts) const;

  /// Slots of this layout that the slot memory holds.
  [[nodiscard]] std::size_t slots_that_fit(const ExpertLayout& layout) const;
  /// Throws UsageError for more slots than that.
  void check_slots(const ExpertLayout& layout, std::size_t slots) const;
  /// The slots to use: `slots` where not 0, else those that `budget_bytes` of slot memory hold where not 0, else as
  /// many as fit; a budget and the last are of no use beyond the model's `experts` (of all layers). Throws UsageError
  /// for more than the kernel has, and for a budget that holds no expert.
  [[nodiscard]] std::size_t choose_slots(const ExpertLayout& layout, std::size_t slots, std::uint64_t budget_bytes,
                                         std::size_t experts) const;

  friend bool operator==(const KernelLimits&, const KernelLimits&) = default;
};

/// Bits of one expert's number in the predictor's contexts.
[[nodiscard]] std::size_t expert_bits(std::size_t experts);

/// What the kernel says of itself when it is built as `configuration`.
[[nodiscard]] KernelLimits limits_of(RtlConfiguration configuration);

}  // namespace flame::accel
