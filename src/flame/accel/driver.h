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

namespace flame::accel {

/// Where the kernel's cycles went; the order of flame_pkg's cycle kinds.
enum class CycleKind : std::uint8_t {
  kCommand,
  kInput,
  kDecide,
  kCompute,
  kMemory,
  kOverhead,
  kOutput,
  kDelay,
  kTables,
  kIdle,
};
inline constexpr std::size_t kCycleKinds = 10;
/// "fetching commands", "array busy", ... for reports.
const char* describe(CycleKind kind);

struct KernelCounters {
  std::array<std::uint64_t, kCycleKinds> cycles{};
  std::uint64_t load_beats = 0;  ///< 64-byte beats of experts, all channels
  std::uint64_t demand_loads = 0, prefetch_loads = 0, prefetch_used = 0, prefetch_dropped = 0;  ///< experts
  std::uint64_t read_beats = 0, write_beats = 0;  ///< commands, tokens, tables; results
  struct Lookups {
    std::uint64_t hits = 0, late = 0, misses = 0;

    /// hits / all lookups; 0 where there were none.
    [[nodiscard]] double hit_ratio() const;
  };
  std::vector<Lookups> layers;

  [[nodiscard]] std::uint64_t operator[](CycleKind kind) const { return cycles[static_cast<std::size_t>(kind)]; }
  /// Cycles between start and done: all kinds but idle.
  [[nodiscard]] std::uint64_t busy_cycles() const;
  [[nodiscard]] Lookups lookups() const;
};

/// What the bitstream (or the simulation) was built with; read from the kernel.
struct KernelLimits {
  std::size_t positions = 0, channels = 0, max_slots = 0, max_experts = 0;
  std::size_t bank_words = 0, max_d_model = 0, max_d_ff = 0, max_layers = 0, sequences = 0;
  std::size_t table_address_bits = 0, max_order = 0, ranked = 0;

  [[nodiscard]] std::size_t lanes() const { return kRows * positions; }
  [[nodiscard]] std::size_t slot_bytes() const { return bank_words * positions * kBeatBytes; }
};

/// Predictor and buffer policy.
struct PolicySettings {
  std::size_t order = 0;           ///< m of CEPR(m)
  std::size_t prefetch_count = 0;  ///< how many of the ranked experts are prefetched; 0: no prediction
  std::size_t path_layers = 1;     ///< L: decoder layers, numbered from 0
  bool drop_contradicted = true;   ///< give up loads for a layer whose router chose another expert
  bool wait_for_whole = false;  ///< for comparison: a missed expert computes when all of it is there, not as it comes
};

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
  void configure(std::size_t d_model, std::size_t d_ff, DevicePattern pattern, std::size_t layers, std::size_t experts,
                 std::size_t slots);
  /// Slots that `budget_bytes` of fast memory and the kernel's own allow for a configured model.
  [[nodiscard]] std::size_t slots_for(std::size_t budget_bytes) const;
  void set_slots(std::size_t slots);
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

  /// Device memory for `tokens` token records and result records; grows as needed.
  void reserve(std::size_t tokens);
  [[nodiscard]] std::uint64_t token_address(std::size_t token) const;
  [[nodiscard]] std::uint64_t result_address(std::size_t token) const;
  void upload_token(std::size_t token, const TokenRecord& record);
  [[nodiscard]] LayerResult download_result(std::size_t token, bool computed);

  /// Runs a list to its end. Throws DeviceError naming the command when the kernel reports an error.
  void run(const CommandList& commands, bool clear_counters = false);
  [[nodiscard]] KernelCounters counters();

 private:
  void write64(std::uint32_t offset, std::uint64_t value);
  std::uint64_t read64(std::uint32_t offset);
  void write_predictor();
  [[nodiscard]] std::size_t table_address(std::size_t layer, std::span<const std::uint8_t> context) const;
  [[nodiscard]] std::size_t expert_bits() const;

  std::unique_ptr<KernelBackend> backend_;
  KernelLimits limits_;
  ExpertLayout layout_;
  PolicySettings policy_;
  std::size_t layers_ = 0, experts_ = 0, slots_ = 0;
  std::array<std::uint64_t, 4> weights_{};
  std::uint64_t commands_address_ = 0;
  std::size_t commands_capacity_ = 0;
  std::uint64_t scratch_address_ = 0;
  std::size_t scratch_capacity_ = 0;
  std::uint64_t tokens_address_ = 0;
  std::size_t tokens_capacity_ = 0;
  std::vector<float> router_scales_;  // [layers]
  std::uint64_t scratch(std::size_t bytes);
};

}  // namespace flame::accel
