#include "flame/accel/accelerator_table.h"

#include <fmt/format.h>

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
  const char* configuration = nullptr;
  DevicePattern pattern;
  bool predicted = false;
  std::size_t slots = 0;  // 0: as many as the budget holds
};

/// Runs plans, in every scope that the options ask for. Speed-ups are over the first plan.
class Measurement {
 public:
  Measurement(const model::SwitchConfig& config, const routing::Trace& run, const routing::Profile& profile,
              const AcceleratorTableOptions& options)
      : config_(config),
        options_(options),
        replay_(replay_of(run, options.tokens + options.warm_up)),
        table_(predictor_table(profile, options.order, 4)) {
    if (replay_.steps() <= options.warm_up) {
      throw UsageError("the trace has fewer decode steps than are run to warm the buffer up; give a longer one");
    }
    limits_of(options.configuration).check_model(replay_.layers, replay_.experts);
    if (options.keep_popular) keep_ = keep_values(profile);
    dense_.push_back(0);
    if (options.with_dense_layers) dense_.push_back(dense_layer_cycles(config, options));
  }

  std::vector<AcceleratorRow> rows(const std::vector<Plan>& plans,
                                   const std::function<void(std::size_t, std::size_t)>& progress) const {
    std::vector<AcceleratorRow> rows;
    if (progress) progress(0, plans.size() * dense_.size());
    for (const std::uint64_t dense_cycles : dense_) {
      double first = 0.0;
      for (const Plan& plan : plans) {
        rows.push_back(row(plan, dense_cycles));
        if (first == 0.0) first = rows.back().result.seconds_per_token;
        rows.back().speedup = first / rows.back().result.seconds_per_token;
        if (progress) progress(rows.size(), plans.size() * dense_.size());
      }
    }
    return rows;
  }

 private:
  AcceleratorRow row(const Plan& plan, std::uint64_t dense_cycles) const {
    AcceleratorBenchOptions bench;
    bench.configuration = options_.configuration;
    bench.ddr4 = options_.ddr4;
    bench.d_model = config_.d_model;
    bench.d_ff = config_.d_ff;
    bench.budget_bytes = options_.budget_bytes;
    bench.slots = plan.slots;
    bench.pattern = plan.pattern;
    bench.policy.order = options_.order;
    bench.policy.prefetch_count = plan.predicted ? options_.prefetch_count : 0;
    bench.policy.wait_for_whole = options_.wait_for_whole;
    bench.table = table_;
    if (plan.predicted) bench.keep = keep_;
    bench.dense_cycles = dense_cycles;
    bench.warm_up = options_.warm_up;
    AcceleratorRow row;
    row.configuration = plan.configuration;
    row.pattern = plan.pattern.name();
    row.scope = dense_cycles == 0 ? "moe" : "decoder";
    row.dense_cycles = dense_cycles;
    row.result = options_.transactions ? run_transaction_model(bench, replay_) : run_accelerator_bench(bench, replay_);
    row.result.belady_hit_ratio = belady_hit_ratio(replay_, row.result.slots, options_.warm_up);
    return row;
  }

  const model::SwitchConfig& config_;
  const AcceleratorTableOptions& options_;
  RoutingReplay replay_;
  std::vector<TableEntry> table_;
  std::vector<std::uint8_t> keep_;
  std::vector<std::uint64_t> dense_;
};

}  // namespace

std::uint64_t dense_layer_cycles(const model::SwitchConfig& config, const AcceleratorTableOptions& options) {
  const std::uint64_t moe_layers = std::max<std::uint32_t>(config.moe_layers(model::Stack::kDecoder), 1);
  const std::uint64_t blocks = config.num_decoder_layers;
  // Self-attention has four matrices; cross-attention's keys and values are computed once per input, not per token.
  const std::uint64_t attention = blocks * 6 * config.d_model * config.inner_dim();
  const std::uint64_t feed_forward = (blocks - std::min(blocks, moe_layers)) * 2 * config.d_model * config.d_ff;
  const std::uint64_t bytes = (attention + feed_forward) / moe_layers;
  const KernelLimits limits = limits_of(options.configuration);
  const double per_channel = std::min(sequential_lines_per_cycle(options.ddr4) * static_cast<double>(kLineBytes),
                                      static_cast<double>(limits.axi_bytes));
  const double per_cycle = per_channel * static_cast<double>(limits.channels);
  return static_cast<std::uint64_t>(static_cast<double>(bytes) / per_cycle);
}

std::vector<AcceleratorRow> measure_accelerator(const model::SwitchConfig& config, const routing::Trace& run,
                                                const routing::Profile& profile, const AcceleratorTableOptions& options,
                                                const std::function<void(std::size_t, std::size_t)>& progress) {
  std::vector<Plan> plans{{"neither", {}, false}, {"CEPR", {}, true}};
  for (const DevicePattern& pattern : options.patterns) {
    plans.push_back({"N:M", pattern, false});
    plans.push_back({"both", pattern, true});
  }
  return Measurement(config, run, profile, options).rows(plans, progress);
}

std::vector<AcceleratorRow> measure_resident_experts(const model::SwitchConfig& config,
                                                     const AcceleratorTableOptions& options,
                                                     const std::function<void(std::size_t, std::size_t)>& progress) {
  constexpr std::size_t kRuns = 8;  // a fetch of commands, so that each carries its share of one
  const RoutingReplay replay{1, 1, std::vector<std::uint16_t>(kRuns, 0), std::vector<std::int32_t>(kRuns, 0)};
  std::vector<DevicePattern> patterns{{}};
  patterns.insert(patterns.end(), options.patterns.begin(), options.patterns.end());
  std::vector<AcceleratorRow> rows;
  for (const DevicePattern& pattern : patterns) {
    AcceleratorBenchOptions bench;
    bench.configuration = options.configuration;
    bench.ddr4 = options.ddr4;
    bench.d_model = config.d_model;
    bench.d_ff = config.d_ff;
    bench.pattern = pattern;
    bench.policy.prefetch_count = 0;
    bench.all_resident = true;
    AcceleratorRow row;
    row.configuration = rows.empty() ? "neither" : "N:M";
    row.pattern = pattern.name();
    row.scope = "resident";
    row.result = run_accelerator_bench(bench, replay);
    row.result.belady_hit_ratio = 1.0;
    row.speedup = rows.empty() ? 1.0 : rows.front().result.cycles_per_token / row.result.cycles_per_token;
    rows.push_back(row);
    if (progress) progress(rows.size(), patterns.size());
  }
  return rows;
}

std::vector<AcceleratorRow> sweep_accelerator(const model::SwitchConfig& config, const routing::Trace& run,
                                              const routing::Profile& profile, const AcceleratorTableOptions& options,
                                              const std::vector<std::size_t>& slots,
                                              const std::function<void(std::size_t, std::size_t)>& progress) {
  const KernelLimits limits = limits_of(options.configuration);
  std::vector<DevicePattern> patterns{{}};
  patterns.insert(patterns.end(), options.patterns.begin(), options.patterns.end());
  std::vector<Plan> plans;
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    const ExpertLayout layout = limits.layout(config.d_model, config.d_ff, patterns[p]);
    for (const std::size_t count : slots) {
      if (count > limits.slots_that_fit(layout)) continue;
      plans.push_back({p == 0 ? "neither" : "N:M", patterns[p], false, count});
      plans.push_back({p == 0 ? "CEPR" : "both", patterns[p], true, count});
    }
  }
  if (plans.empty()) {
    throw UsageError(
        "none of these numbers of slots fits the accelerator's memory: give fewer slots, or more sparsity");
  }
  return Measurement(config, run, profile, options).rows(plans, progress);
}

}  // namespace flame::accel
