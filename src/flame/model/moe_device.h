#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "flame/base/matrix_view.h"

namespace flame::model {

enum class Stack : std::uint8_t { kEncoder, kDecoder };

/// One MoE layer: the index-th sparse layer of its stack, counted from 0 (not the number of its block).
struct MoeLayer {
  Stack stack = Stack::kDecoder;
  std::uint32_t index = 0;
  friend bool operator==(const MoeLayer&, const MoeLayer&) = default;
};

/// What the router decided for one token.
struct RoutingDecision {
  std::uint16_t expert = 0;  ///< the expert of highest router probability; equal ones: the lowest id
  bool dropped = false;      ///< past expert_capacity: the expert contributes zero
  float probability = 0.0F;  ///< the expert's output is multiplied by it
  friend bool operator==(const RoutingDecision&, const RoutingDecision&) = default;
};

/// The tokens that reach one MoE layer in one forward pass.
struct MoeInput {
  MoeLayer layer;
  MatrixView<const float> hidden;           ///< [tokens, d_model]: the normed input of router and experts
  std::span<const std::uint32_t> sequence;  ///< [tokens]: the batch row each token belongs to, non-decreasing
};

/// How the experts' bytes moved since begin_statistics(). hits + late + misses = expert lookups.
struct MoeStatistics {
  std::uint64_t hits = 0;    ///< the expert was whole in a slot when the router decided
  std::uint64_t late = 0;    ///< its load had begun, but not ended
  std::uint64_t misses = 0;  ///< neither
  std::uint64_t bytes_demand = 0;
  std::uint64_t bytes_prefetch_used = 0;
  std::uint64_t bytes_prefetch_wasted = 0;
  double wait_seconds = 0.0;  ///< the compute thread stood still for a load
  bool counted = true;        ///< false: by a device that cannot tell (a memory map), and all of these are 0
};

/// Router, predictor, expert buffer and experts behind one interface: what a transformer block needs to know of a
/// Mixture-of-Experts layer. Implementations: experts resident in memory, experts buffered from storage, an FPGA.
/// The results never depend on what is resident: prediction changes when bytes move, not what is computed.
///
/// One thread drives a device. Call order within a batch: begin_batch, then for the encoder and for every decode step
/// (feed first) route and compute of each MoE layer in order.
class MoeDevice {
 public:
  virtual ~MoeDevice() = default;

  /// `sequences` new examples start: routing histories of all batch rows are cleared.
  virtual void begin_batch(std::size_t sequences) = 0;

  /// Row i of the decoder's batch goes on from what was row parents[i] (beams reordered, finished rows removed, one
  /// example spread over several beams): histories are copied accordingly.
  virtual void reorder(std::span<const std::uint32_t> parents) = 0;

  /// The decoder tokens of the coming step, one a batch row, known before its layer 0.
  virtual void feed(std::span<const std::int32_t> tokens) = 0;

  /// A hint: `hidden` is the residual stream [tokens, d_model] at the input of the block that holds `layer`, before
  /// that block's attention. A predictor may rank the layer's experts from it.
  virtual void approach(MoeLayer layer, MatrixView<const float> hidden) = 0;

  /// Decides each token's expert; may start loading what that decision makes likely.
  /// `decisions` has one element a token.
  virtual void route(const MoeInput& input, std::span<RoutingDecision> decisions) = 0;

  /// output[t] = probability * expert(hidden[t]), or zero for a dropped token. `output` is [tokens, d_model].
  /// `decisions` are those of the last route() call for this very input (a decorator may have changed them).
  virtual void compute(const MoeInput& input, std::span<const RoutingDecision> decisions, MatrixView<float> output) = 0;

  /// Waits for nothing; sets the counters to zero.
  virtual void begin_statistics() = 0;
  [[nodiscard]] virtual MoeStatistics statistics() const = 0;

  /// The run is over: files that were written meanwhile (a timeline, a waveform) are completed. Throws FileError, which
  /// the destructor could not. Nothing is computed afterwards.
  virtual void finish() {}

  /// One phrase for the first line of --stats, for example "cpu, experts resident (bf16)".
  [[nodiscard]] virtual std::string describe() const = 0;
};

}  // namespace flame::model
