#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "flame/accel/commands.h"
#include "flame/accel/expert_layout.h"
#include "flame/accel/kernel_backend.h"
#include "flame/accel/kernel_counters.h"
#include "flame/accel/kernel_limits.h"

namespace flame::accel {

/// One ranked context of the predictor's table.
struct TableEntry {
  std::size_t layer = 0;
  std::vector<std::uint8_t> context;  ///< experts before the position, oldest first; at most `order` of them
  std::vector<std::uint8_t> ranked;   ///< likeliest first; the kernel keeps KernelLimits::ranked of them
};

/// A token as the kernel reads it: the router's fixed-point part, then the codes of the experts.
struct TokenRecord {
  std::vector<std::uint8_t> bytes;
  float activation_scale = 0.0F;  ///< x ~ code * scale
  float router_scale = 0.0F;      ///< x ~ fixed-point part * scale
};

/// What a layer command left in memory.
struct LayerResult {
  std::size_t expert = 0;
  LookupClass lookup = LookupClass::kNone;
  std::uint32_t hidden_maximum = 0;
  std::uint32_t cycles = 0;                ///< from the command's decoding to its result
  std::vector<std::int32_t> logits;        ///< [experts], sums of the router / 2^19
  std::vector<std::int32_t> accumulators;  ///< [d_model], empty where nothing was computed
};

/// Talks to flame_kernel through a back end: lays out tokens, tables and experts in device memory, builds command
/// lists, runs them, reads results and counters. One driver owns one kernel.
class Driver {
 public:
  /// Reads what the kernel can do. Throws DeviceError when it is not flame_kernel of this version.
  explicit Driver(std::unique_ptr<KernelBackend> backend);

  [[nodiscard]] const KernelLimits& limits() const { return limits_; }
  [[nodiscard]] KernelBackend& backend() { return *backend_; }
  [[nodiscard]] const ExpertLayout& layout() const { return layout_; }
  [[nodiscard]] std::size_t slots() const { return slots_; }
  /// Device address of a channel's first expert; the others follow every layout().channel_stride() bytes, by layer,
  /// then expert.
  [[nodiscard]] std::uint64_t weights_address(std::size_t channel) const { return weights_[channel]; }

  /// The model: `layers` MoE layers of `experts` experts, all of one shape and pattern, and the slots to use (0: as
  /// many as fit). Reserves device memory for the experts. Throws UsageError where the kernel's limits are exceeded.
  /// Nothing that the kernel kept of an earlier user outlives it: slots, keep values and histories start empty.
  void configure(std::size_t d_model, std::size_t d_ff, DevicePattern pattern, std::size_t layers, std::size_t experts,
                 std::size_t slots);
  /// As KernelLimits::choose_slots, for the configured model. Experts in slots are forgotten before the next run, as
  /// they are when an expert's weights change.
  void set_slots(std::size_t slots, std::uint64_t budget_bytes = 0);
  /// Throws as KernelLimits::check_policy.
  void set_policy(const PolicySettings& policy);

  void load_expert(std::size_t layer, std::size_t expert, const kernels::Int8ExpertView& view);
  /// For measurements: the same expert in every place whose number is `first` modulo `step`.
  void load_expert_everywhere(const kernels::Int8ExpertView& view, std::size_t first, std::size_t step);
  /// Quantises the router's weights [experts, d_model] of one layer to 18 bits and keeps their scale.
  void load_router(std::size_t layer, std::span<const float> weights);
  /// Replaces the predictor's table.
  void load_table(std::span<const TableEntry> entries);
  /// Keep values [layers][experts], 0 .. 255: a victim is the slot with the smallest, then the least recently used.
  void load_keep(std::span<const std::uint8_t> values);

  /// Quantises a token. `x` has d_model elements.
  [[nodiscard]] TokenRecord make_token(std::span<const float> x, bool with_router, bool with_codes) const;
  /// Fixed-point router sums as fp32 logits.
  [[nodiscard]] float logit(std::size_t layer, std::int32_t sum, float router_scale) const;

  /// Device memory for `tokens` token records and result records at least; what was in them is lost where it grows.
  void reserve(std::size_t tokens);
  [[nodiscard]] std::uint64_t token_address(std::size_t token) const;
  [[nodiscard]] std::uint64_t result_address(std::size_t token) const;
  void upload_token(std::size_t token, const TokenRecord& record);
  [[nodiscard]] LayerResult download_result(std::size_t token, bool computed);

  /// Runs a list to its end. Throws DeviceError naming the command when the kernel reports an error.
  void run(const CommandList& commands, bool clear_counters = false);
  [[nodiscard]] KernelCounters counters();

 private:
  /// Memory of the host port.
  struct HostBuffer {
    std::uint64_t address = 0;
    std::size_t bytes = 0;
  };
  /// Makes `buffer` hold `bytes` at least; what was in it is lost where it grows.
  void grow(HostBuffer& buffer, std::size_t bytes);
  /// Uploads `bytes` to the scratch buffer. Result: its address.
  std::uint64_t upload_scratch(std::span<const std::uint8_t> bytes);
  void write64(std::uint32_t offset, std::uint64_t value);
  std::uint64_t read64(std::uint32_t offset);
  void write_predictor();
  [[nodiscard]] std::size_t table_address(std::size_t layer, std::span<const std::uint8_t> context) const;

  std::unique_ptr<KernelBackend> backend_;
  KernelLimits limits_;
  ExpertLayout layout_;
  PolicySettings policy_;
  std::size_t layers_ = 0, experts_ = 0, slots_ = 0;
  bool slots_are_stale_ = true;  // what is in the slots may not be the model's
  std::array<std::uint64_t, 4> weights_{};
  HostBuffer commands_, scratch_, tokens_;
  std::size_t tokens_capacity_ = 0;
  std::vector<float> router_scales_;  // [layers]
};

}  // namespace flame::accel
