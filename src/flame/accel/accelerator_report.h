#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "flame/accel/kernel_counters.h"
#include "flame/base/json.h"

namespace flame::accel {

/// What the accelerator did for a batch or a run, beyond model::MoeStatistics. Its time is the kernel's: cycles at a
/// clock that nobody has measured.
struct AcceleratorReport {
  KernelCounters counters;
  std::uint64_t decoder_layer_runs = 0;    ///< experts computed for decoder tokens
  std::uint64_t router_decisions = 0;      ///< made by the router unit
  std::uint64_t router_disagreements = 0;  ///< of them, those that fp32 decided otherwise
  double clock_mhz = 0.0;

  /// Of a run that gave out `output_tokens`: its encoders and all its beams included. 0 for 0 tokens.
  [[nodiscard]] double cycles_per_token(std::uint64_t output_tokens) const;
  /// `cycles` at the assumed clock.
  [[nodiscard]] double seconds(std::uint64_t cycles) const;
  /// Several lines for --stats: cycles per token, where they went, bytes, time at the clock.
  [[nodiscard]] std::string describe(std::uint64_t output_tokens) const;

  /// Of two batches of one device.
  AcceleratorReport& operator+=(const AcceleratorReport& other);
};

/// What describe() says, as an object: "cycles" of the whole run and "cycles_by_kind" that add up to it,
/// "cycles_per_token", "clock_mhz" (assumed) and "kernel_seconds", "kernel_wait_seconds" at it, "hits", "late",
/// "misses", "hit_ratio", "loads", "bytes" and the router unit's agreement with fp32.
[[nodiscard]] Json to_json(const AcceleratorReport& report, std::uint64_t output_tokens);

}  // namespace flame::accel
