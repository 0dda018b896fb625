#include "flame/accel/accelerator_table.h"

#include <algorithm>
#include <map>

#include "flame/accel/predictor_table.h"
#include "flame/accel/transaction_model.h"
#include "flame/base/error.h"

namespace flame::accel {

namespace {

RoutingReplay replay_of(const routing::Trace& trace, std::size_t steps) {
  RoutingReplay replay;
  replay.layers = trace.decoder.layers;
  replay.experts = trace.info.experts;
  const std::size_t count = std::min(steps, trace.decoder.steps());
  replay.example.assign(trace.decoder.example.begin(),
                        trace.decoder.example.begin() + static_cast<std::ptrdiff_t>(count));
  replay.decisions.assign(trace.decoder.experts.begin(),
                          trace.decoder.experts.begin() + static_cast<std::ptrdiff_t>(count * replay.layers));
  return replay;
}

struct Plan {
  const char* configuration;
  DevicePattern pattern;
  bool predicted;
};

}  // namespace

std::uint64_t dense_layer_cycles(const model::SwitchConfig& config, const AcceleratorTableOptions& options) {
  const std::uint64_t moe_layers = std::max<std::uint32_t>(config.moe_layers(model::Stack::kDecoder), 1);
  const std::uint64_t blocks = config.num_decoder_layers;
  // Self-attention has four matrices; cross-attention's keys and values are computed once per input, not per token.
  const std::uint64_t attention = blocks * 6 * config.d_model * config.inner_dim();
  const std::uint64_t feed_forward = (blocks - std::min(blocks, moe_layers)) * 2 * config.d_model * config.d_ff;
  const std::uint64_t bytes = (attention + feed_forward) / moe_layers;
  const std::size_t channels = options.configuration == RtlConfiguration::kLanes64 ? 1 : 4;
  const double per_cycle = sequential_beats_per_cycle(options.ddr4) * static_cast<double>(channels * kBeatBytes);
  return static_cast<std::uint64_t>(static_cast<double>(bytes) / per_cycle);
}

std::vector<AcceleratorRow> measure_accelerator(const model::SwitchConfig& config, const routing::Trace& run,
                                                const routing::Profile& profile, const AcceleratorTableOptions& options,
                                                const std::function<void(std::size_t, std::size_t)>& progress) {
  const RoutingReplay replay = replay_of(run, options.tokens + options.warm_up);
  if (replay.steps() <= options.warm_up) {
    throw UsageError("the trace has fewer decode steps than are run to warm the buffer up; give a longer one");
  }
  const std::vector<TableEntry> table = predictor_table(profile, options.order, 4);

  std::vector<Plan> plans{{"neither", {}, false}, {"CEPR", {}, true}};
  for (const DevicePattern& pattern : options.patterns) {
    plans.push_back({"N:M", pattern, false});
    plans.push_back({"both", pattern, true});
  }
  std::vector<std::uint64_t> dense{0};
  if (options.with_dense_layers) dense.push_back(dense_layer_cycles(config, options));

  std::vector<AcceleratorRow> rows;
  for (const std::uint64_t dense_cycles : dense) {
    double neither = 0.0;
    for (const Plan& plan : plans) {
      AcceleratorBenchOptions bench;
      bench.configuration = options.configuration;
      bench.ddr4 = options.ddr4;
      bench.d_model = config.d_model;
      bench.d_ff = config.d_ff;
      bench.budget_bytes = options.budget_bytes;
      bench.pattern = plan.pattern;
      bench.policy.order = options.order;
      bench.policy.prefetch_count = plan.predicted ? options.prefetch_count : 0;
      bench.table = table;
      bench.dense_cycles = dense_cycles;
      bench.warm_up = options.warm_up;
      AcceleratorRow row;
      row.configuration = plan.configuration;
      row.pattern = plan.pattern.name();
      row.scope = dense_cycles == 0 ? "moe" : "decoder";
      row.dense_cycles = dense_cycles;
      row.result = options.transactions ? run_transaction_model(bench, replay) : run_accelerator_bench(bench, replay);
      if (neither == 0.0) neither = row.result.seconds_per_token;
      row.speedup = neither / row.result.seconds_per_token;
      rows.push_back(std::move(row));
      if (progress) progress(rows.size(), plans.size() * dense.size());
    }
  }
  return rows;
}

}  // namespace flame::accel
