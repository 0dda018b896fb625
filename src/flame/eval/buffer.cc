#include "flame/eval/buffer.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/base/thread_pool.h"
#include "flame/experts/predictor_choice.h"
#include "flame/experts/simulated_loader.h"

namespace flame::eval {
namespace {

using experts::BeladyReplacement;
using experts::ExpertGrid;
using experts::ExpertIndex;
using experts::ExpertPipeline;
using experts::ExpertWork;
using experts::SimulatedLoader;
using model::RoutingDecision;
using model::Stack;

/// Loads are counted in thousandths of an expert.
constexpr std::uint64_t kExpertUnits = 1000;

ExpertGrid grid_of(const routing::TraceInfo& info) { return {info.encoder_layers, info.decoder_layers, info.experts}; }

/// A pipeline over simulated storage, and the loop that a MoE layer's compute() is.
class Simulation {
 public:
  Simulation(const ExpertGrid& grid, std::size_t slots, const BufferTimes& times, bool speculate_always,
             std::unique_ptr<experts::ReplacementPolicy> policy, std::unique_ptr<experts::Forecaster> forecaster,
             std::span<const float> popularity)
      : times_(times),
        loader_(slots, kExpertUnits, {times.load, times.chunk}),
        pipeline_(grid, slots, options_for(times, speculate_always), loader_, std::move(policy), std::move(forecaster),
                  popularity) {}

  void pass(model::MoeLayer layer, std::span<const RoutingDecision> decisions, std::span<const std::uint32_t> rows) {
    pipeline_.routed(layer, decisions, rows);
    while (std::optional<ExpertWork> work = pipeline_.next()) {
      const double compute = times_.compute * work->tokens;
      if (work->whole) {
        loader_.advance(compute);
      } else {
        // Rows are computed as they arrive; what came with the last chunk is left when the load has ended.
        const double begin = loader_.now();
        loader_.finish(work->pin.slot());
        const double loading = loader_.now() - begin;
        const double overlapped = std::min(loading, compute);
        pipeline_.waited(loading - overlapped);
        const double last_chunk = times_.load > 0.0 ? std::min(1.0, times_.chunk / times_.load) * compute : compute;
        loader_.advance(std::max(compute - overlapped, last_chunk));
      }
      pipeline_.done(std::move(*work));
    }
    loader_.advance(times_.gap);
  }

  ExpertPipeline& pipeline() { return pipeline_; }
  SimulatedLoader& loader() { return loader_; }

 private:
  static experts::PipelineOptions options_for(const BufferTimes& times, bool speculate_always) {
    experts::PipelineOptions options;
    options.speculate_always = speculate_always;
    options.expert_bytes = kExpertUnits;
    options.chunk_bytes =
        times.load > 0.0 ? static_cast<std::uint64_t>(times.chunk / times.load * static_cast<double>(kExpertUnits)) : 0;
    return options;
  }

  BufferTimes times_;
  SimulatedLoader loader_;
  ExpertPipeline pipeline_;
};

/// A stack's steps [first, end) of one example as a pass through `layer`.
void fill_decisions(const routing::StackTrace& stack, routing::StepRange steps, std::uint32_t layer,
                    std::vector<RoutingDecision>& decisions) {
  decisions.clear();
  for (std::size_t step = steps.first; step < steps.end; ++step) {
    const std::size_t at = step * stack.layers + layer;
    decisions.push_back({stack.experts[at], !stack.dropped.empty() && stack.dropped[at] != 0, 1.0F});
  }
}

/// Every lookup in the order in which a pipeline counts them: layer by layer, within a pass by expert.
std::vector<ExpertIndex> lookups_of(const routing::Trace& trace, const ExpertGrid& grid,
                                    const std::vector<routing::StepRange>& encoder,
                                    const std::vector<routing::StepRange>& decoder) {
  std::vector<ExpertIndex> lookups;
  std::vector<bool> used(grid.experts);
  for (std::size_t example = 0; example < decoder.size(); ++example) {
    for (std::uint32_t layer = 0; example < encoder.size() && layer < grid.encoder_layers; ++layer) {
      used.assign(grid.experts, false);
      for (std::size_t step = encoder[example].first; step < encoder[example].end; ++step) {
        const std::size_t at = step * trace.encoder.layers + layer;
        if (trace.encoder.dropped.empty() || trace.encoder.dropped[at] == 0) used[trace.encoder.experts[at]] = true;
      }
      for (std::uint32_t number = 0; number < grid.experts; ++number) {
        if (used[number]) lookups.push_back(grid.expert(layer, number));
      }
    }
    for (std::size_t step = decoder[example].first; step < decoder[example].end; ++step) {
      for (std::uint32_t layer = 0; layer < grid.decoder_layers; ++layer) {
        lookups.push_back(grid.expert(grid.encoder_layers + layer, trace.decoder.experts_of(step)[layer]));
      }
    }
  }
  return lookups;
}

void check_predictor(const experts::Forecaster& forecaster) {
  if (!forecaster.needs_hidden() && !forecaster.needs_approach()) return;
  throw UsageError(
      fmt::format("predictor {} looks at hidden states, which a replay of routing does not have", forecaster.name()));
}

BufferResult replay_paper(const routing::Trace& trace, const routing::Profile& profile, const BufferCase& setting) {
  BufferResult result;
  result.setting = setting;
  if (setting.predictor == "none") throw UsageError("paper mode needs a predictor: it fills the slots");
  routing::PredictorOptions options;
  options.context = setting.context;
  options.depth = 1;
  const auto predictor = routing::make_predictor(setting.predictor, options, profile);
  if (predictor->needs_hidden() || predictor->needs_approach()) {
    throw UsageError(
        fmt::format("predictor {} looks at hidden states, which a replay of routing does not have", predictor->name()));
  }
  const std::uint32_t layers = trace.info.decoder_layers;
  std::vector<routing::RankedExpert> top(std::min<std::size_t>(setting.slots, trace.info.experts));
  for (const routing::StepRange& steps : routing::examples_of(trace.decoder)) {
    throw_if_interrupted();
    predictor->begin(1);
    if (predictor->needs_future()) {
      predictor->foresee(
          0, std::span(trace.decoder.experts).subspan(steps.first * layers, (steps.end - steps.first) * layers));
    }
    for (std::size_t step = steps.first; step < steps.end; ++step) {
      predictor->feed({&trace.decoder.token[step], 1});
      for (std::uint32_t layer = 0; layer < layers; ++layer) {
        const std::uint16_t expert = trace.decoder.experts_of(step)[layer];
        const std::size_t count = predictor->rank(0, layer, top);
        const bool hit = std::any_of(top.begin(), top.begin() + static_cast<std::ptrdiff_t>(count),
                                     [&](const routing::RankedExpert& ranked) { return ranked.expert == expert; });
        ++(hit ? result.decoder.hits : result.decoder.misses);
        predictor->observe(0, layer, expert);
      }
    }
    result.steps += steps.end - steps.first;
  }
  // Nothing overlaps in this mode: a miss costs a whole load.
  const double lookups = static_cast<double>(result.decoder.all());
  result.wait_seconds = static_cast<double>(result.decoder.misses) * setting.times.load;
  const double total = result.wait_seconds + lookups * (setting.times.compute + setting.times.gap);
  result.latency_seconds = result.steps == 0 ? 0.0 : total / static_cast<double>(result.steps);
  return result;
}

BufferResult replay_runtime(const routing::Trace& trace, const routing::Profile& profile, const BufferCase& setting) {
  BufferResult result;
  result.setting = setting;
  const ExpertGrid grid = grid_of(trace.info);
  const std::vector<float> popularity = experts::popularity_of(profile, grid);
  const std::vector<routing::StepRange> encoder = routing::examples_of(trace.encoder);
  const std::vector<routing::StepRange> decoder = routing::examples_of(trace.decoder);

  const bool belady = setting.predictor == "belady";
  experts::PredictorChoice choice =
      experts::choose_predictor(belady ? "none" : setting.predictor, setting.replacement, true);
  std::unique_ptr<experts::Forecaster> forecaster;
  if (!choice.predictor.empty()) {
    forecaster = experts::make_forecaster(choice.predictor, setting.context, 1, profile, grid);
    check_predictor(*forecaster);
  }
  std::unique_ptr<experts::ReplacementPolicy> policy;
  if (belady) {
    policy = std::make_unique<BeladyReplacement>(grid, lookups_of(trace, grid, encoder, decoder));
  } else {
    policy = experts::make_replacement(choice.replacement, grid, popularity);
  }
  const std::size_t slots = std::min<std::size_t>(setting.slots, grid.size());
  Simulation simulation(grid, slots, setting.times, setting.speculate_always, std::move(policy), std::move(forecaster),
                        popularity);

  std::vector<RoutingDecision> decisions;
  std::vector<std::uint32_t> rows;
  double decoding = 0.0;
  for (std::size_t example = 0; example < decoder.size(); ++example) {
    throw_if_interrupted();
    const routing::StepRange steps = decoder[example];
    if (experts::Forecaster* known = simulation.pipeline().forecaster()) {
      known->set_future(
          std::span(trace.decoder.experts)
              .subspan(steps.first * grid.decoder_layers, (steps.end - steps.first) * grid.decoder_layers));
    }
    simulation.pipeline().begin_batch(1);
    for (std::uint32_t layer = 0; example < encoder.size() && layer < grid.encoder_layers; ++layer) {
      fill_decisions(trace.encoder, encoder[example], layer, decisions);
      rows.assign(decisions.size(), 0);
      simulation.pass({Stack::kEncoder, layer}, decisions, rows);
    }
    const double begin = simulation.loader().now();
    rows.assign(1, 0);
    for (std::size_t step = steps.first; step < steps.end; ++step) {
      simulation.pipeline().feed({&trace.decoder.token[step], 1});
      for (std::uint32_t layer = 0; layer < grid.decoder_layers; ++layer) {
        fill_decisions(trace.decoder, {step, step + 1}, layer, decisions);
        simulation.pass({Stack::kDecoder, layer}, decisions, rows);
      }
    }
    decoding += simulation.loader().now() - begin;
    result.steps += steps.end - steps.first;
  }
  simulation.pipeline().collect();
  result.loads = simulation.pipeline().statistics();
  result.encoder = result.loads.encoder;
  result.decoder = result.loads.decoder;
  result.wait_seconds = result.loads.wait_seconds;
  result.storage_busy_seconds = simulation.loader().busy_seconds();
  result.latency_seconds = result.steps == 0 ? 0.0 : decoding / static_cast<double>(result.steps);
  return result;
}

}  // namespace

double BufferResult::hit_ratio() const {
  const std::uint64_t lookups = decoder.all();
  return lookups == 0 ? 0.0 : static_cast<double>(decoder.hits) / static_cast<double>(lookups);
}

BufferResult replay_buffer(const routing::Trace& trace, const routing::Profile& profile, const BufferCase& setting) {
  if (setting.slots == 0) throw UsageError("a buffer needs at least one slot");
  return setting.mode == BufferMode::kPaper ? replay_paper(trace, profile, setting)
                                            : replay_runtime(trace, profile, setting);
}

std::vector<BufferResult> replay_buffer(const routing::Trace& trace, const routing::Profile& profile,
                                        const std::vector<BufferCase>& settings) {
  std::vector<BufferResult> results(settings.size());
  ThreadPool::parallel_for(settings.size(), 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) results[i] = replay_buffer(trace, profile, settings[i]);
  });
  return results;
}

Json to_json(const BufferResult& result) {
  const auto experts_of = [](std::uint64_t units) {
    return static_cast<double>(units) / static_cast<double>(kExpertUnits);
  };
  return {
      {"predictor", result.setting.predictor},
      {"m", result.setting.context},
      {"slots", result.setting.slots},
      {"mode", result.setting.mode == BufferMode::kPaper ? "paper" : "runtime"},
      {"replacement", experts::name_of(result.setting.replacement)},
      {"hits", result.decoder.hits},
      {"late", result.decoder.late},
      {"misses", result.decoder.misses},
      {"hit_ratio", result.hit_ratio()},
      {"latency_seconds", result.latency_seconds},
      {"steps", result.steps},
      {"encoder", {{"hits", result.encoder.hits}, {"late", result.encoder.late}, {"misses", result.encoder.misses}}},
      {"wait_seconds", result.wait_seconds},
      {"storage_busy_seconds", result.storage_busy_seconds},
      {"load_seconds", result.setting.times.load},
      {"experts_loaded",
       {{"demand", experts_of(result.loads.bytes_demand)},
        {"prefetch_used", experts_of(result.loads.bytes_prefetch_used)},
        {"prefetch_wasted", experts_of(result.loads.bytes_prefetch_wasted + result.loads.bytes_prefetch_open)}}}};
}

namespace {

/// Knows the decoder's next experts, told pass by pass.
class KnownFuture final : public routing::Predictor {
 public:
  explicit KnownFuture(const experts::UseLog& uses, const ExpertGrid& grid) : uses_(uses), grid_(grid) {}

  void begin(std::size_t) override {}
  void reorder(std::span<const std::uint32_t>) override {}
  void observe(std::size_t, std::uint32_t, std::uint16_t) override {}
  std::size_t rank(std::size_t, std::uint32_t layer, std::span<routing::RankedExpert> out) override {
    for (std::size_t pass = next_pass; pass < uses_.passes() && pass < next_pass + grid_.layers(); ++pass) {
      if (uses_.layer(pass) != grid_.encoder_layers + layer) continue;
      std::size_t count = 0;
      for (const ExpertIndex expert : uses_.experts(pass)) {
        out[count++] = {static_cast<std::uint16_t>(grid_.number_of(expert)), 1.0F};
      }
      return count;
    }
    return 0;
  }
  [[nodiscard]] routing::PredictorCost cost(std::size_t) const override { return {}; }
  [[nodiscard]] std::string name() const override { return "oracle"; }

  std::size_t next_pass = 0;

 private:
  const experts::UseLog& uses_;
  ExpertGrid grid_;
};

experts::LookupCounts all_lookups(const experts::PipelineStatistics& statistics) {
  return {statistics.encoder.hits + statistics.decoder.hits, statistics.encoder.late + statistics.decoder.late,
          statistics.encoder.misses + statistics.decoder.misses};
}

experts::PipelineStatistics replay_uses(const experts::UseLog& uses, const ExpertGrid& grid, Simulation& simulation,
                                        KnownFuture* future) {
  std::vector<RoutingDecision> decisions;
  std::vector<std::uint32_t> rows;
  std::size_t example = 0;
  for (std::size_t pass = 0; pass < uses.passes(); ++pass) {
    if (future != nullptr) future->next_pass = pass;
    while (example < uses.examples().size() && uses.examples()[example] == pass) {
      simulation.pipeline().begin_batch(1);
      ++example;
    }
    if (future != nullptr) future->next_pass = pass + 1;
    decisions.clear();
    for (const ExpertIndex expert : uses.experts(pass)) {
      decisions.push_back({static_cast<std::uint16_t>(grid.number_of(expert)), false, 1.0F});
    }
    rows.assign(decisions.size(), 0);
    simulation.pass(grid.layer(uses.layer(pass)), decisions, rows);
  }
  simulation.pipeline().collect();
  return simulation.pipeline().statistics();
}

}  // namespace

BufferCeilings buffer_ceilings(const experts::UseLog& uses, const ExpertGrid& grid, std::size_t slots, double load,
                               double gap) {
  BufferCeilings ceilings;
  if (uses.all().empty()) return ceilings;
  const BufferTimes times{load, load / 20, 0.0, gap};
  Simulation demand(grid, slots, times, false, std::make_unique<BeladyReplacement>(grid, uses.all()), nullptr, {});
  const experts::LookupCounts best = all_lookups(replay_uses(uses, grid, demand, nullptr));
  ceilings.belady_hit_ratio = static_cast<double>(best.hits) / static_cast<double>(best.all());
  ceilings.least_load_seconds = static_cast<double>(best.misses) * load;

  auto known = std::make_unique<KnownFuture>(uses, grid);
  KnownFuture* future = known.get();
  Simulation ahead(grid, slots, times, false, std::make_unique<BeladyReplacement>(grid, uses.all()),
                   std::make_unique<experts::Forecaster>(std::move(known), grid, 3), {});
  const experts::PipelineStatistics oracle = replay_uses(uses, grid, ahead, future);
  const experts::LookupCounts counts = all_lookups(oracle);
  ceilings.oracle_hit_ratio = static_cast<double>(counts.hits) / static_cast<double>(counts.all());
  ceilings.oracle_wait_seconds = oracle.wait_seconds;
  return ceilings;
}

}  // namespace flame::eval
