#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "flame/routing/profile.h"
#include "flame/routing/trace.h"

namespace flame::cli {

/// `flame bench --device fpga-sim`: the accelerator's rows of Table 1 at the model's sizes, routed as a trace.
struct BenchAcceleratorOptions {
  std::string model;
  std::vector<std::string> patterns;
  std::string lanes = "256";
  std::uint64_t budget_bytes = 0;
  std::size_t context = 2;
  std::size_t prefetches = 2;
  bool keep_popular = false;
  bool overlap = true;             ///< compute an expert while it arrives
  std::vector<std::size_t> slots;  ///< also sweep slots x sparsity over these
  std::size_t tokens = 40;
  std::size_t warm_up = 10;  ///< tokens run before counting
  bool moe_only = false;     ///< without the rows that have the dense layers' time between MoE layers
  bool transactions = false;
  bool json = false;
};

void bench_accelerator(const BenchAcceleratorOptions& options, const routing::Trace& run,
                       const routing::Profile& profile);

/// `--resident`: one expert in a slot, dense and of each pattern; needs no routing.
void bench_resident_experts(const BenchAcceleratorOptions& options);

}  // namespace flame::cli
