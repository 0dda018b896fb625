#include "flame/eval/buffer_simulation.h"

#include <algorithm>
#include <utility>

namespace flame::eval {
namespace {

experts::PipelineOptions options_for(const BufferTimes& times, bool speculate_always) {
  experts::PipelineOptions options;
  options.speculate_always = speculate_always;
  options.expert_bytes = kExpertUnits;
  options.chunk_bytes.slow =
      times.load > 0.0 ? static_cast<std::uint64_t>(times.chunk / times.load * static_cast<double>(kExpertUnits)) : 0;
  return options;
}

}  // namespace

BufferSimulation::BufferSimulation(const experts::ExpertGrid& grid, std::size_t slots, const BufferTimes& times,
                                   bool speculate_always, std::unique_ptr<experts::ReplacementPolicy> policy,
                                   std::unique_ptr<experts::Forecaster> forecaster, std::span<const float> popularity)
    : times_(times),
      loader_(slots, kExpertUnits, {times.load, times.chunk}),
      pipeline_(grid, slots, options_for(times, speculate_always), loader_, std::move(policy), std::move(forecaster),
                popularity) {}

void BufferSimulation::approach(model::MoeLayer layer, MatrixView<const float> approach) {
  if (approach.rows() == 0) {
    loader_.advance(times_.gap);
    return;
  }
  loader_.advance(times_.gap / 2);
  pipeline_.approach(layer, approach);
  loader_.advance(times_.gap / 2);
}

void BufferSimulation::pass(model::MoeLayer layer, std::span<const model::RoutingDecision> decisions,
                            std::span<const std::uint32_t> rows) {
  pipeline_.routed(layer, decisions, rows);
  while (std::optional<experts::ExpertWork> work = pipeline_.next()) {
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
}

}  // namespace flame::eval
