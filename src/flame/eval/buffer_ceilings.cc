#include "flame/eval/buffer_ceilings.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "flame/eval/buffer_simulation.h"

namespace flame::eval {
namespace {

using experts::BeladyReplacement;
using experts::ExpertGrid;
using experts::ExpertIndex;
using model::RoutingDecision;

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
  experts::LookupCounts all = statistics.encoder;
  return all += statistics.decoder;
}

experts::PipelineStatistics replay_uses(const experts::UseLog& uses, const ExpertGrid& grid,
                                        BufferSimulation& simulation, KnownFuture* future) {
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
    const model::MoeLayer layer = grid.layer(uses.layer(pass));
    simulation.approach(layer, {});
    simulation.pass(layer, decisions, rows);
  }
  simulation.pipeline().collect();
  return simulation.pipeline().statistics();
}

}  // namespace

DecoderBounds decoder_bounds(double decoder_seconds, const experts::PipelineStatistics& run, double load_seconds,
                             const BufferCeilings& ceilings) {
  DecoderBounds bounds;
  const double loading = static_cast<double>(run.decoder.loaded) * load_seconds;
  bounds.resident_seconds = std::max(0.0, decoder_seconds - run.decoder_wait_seconds);
  bounds.needed_seconds = std::max(bounds.resident_seconds, loading);
  // Where a pass wants several experts, there are better orders than that of their numbers: a run may have needed less.
  bounds.least_seconds = std::max(bounds.resident_seconds, std::min(loading, ceilings.least_decoder_load_seconds));
  return bounds;
}

std::uint64_t decoder_misses_at_least(const experts::UseLog& uses, const ExpertGrid& grid, std::size_t slots) {
  std::vector<ExpertIndex> lookups;
  for (std::size_t pass = 0; pass < uses.passes(); ++pass) {
    if (uses.layer(pass) < grid.encoder_layers) continue;
    lookups.insert(lookups.end(), uses.experts(pass).begin(), uses.experts(pass).end());
  }
  BeladyReplacement belady(grid, lookups);
  const experts::Outlook outlook(grid, {});
  std::vector<ExpertIndex> resident;
  std::uint64_t misses = 0;
  for (const ExpertIndex expert : lookups) {
    belady.used(expert);
    if (std::find(resident.begin(), resident.end(), expert) != resident.end()) continue;
    ++misses;
    if (resident.size() < slots) {
      resident.push_back(expert);
    } else {
      resident[belady.weakest(resident, outlook)] = expert;
    }
  }
  // What the first misses asked for may have been there from the start.
  return misses - std::min<std::uint64_t>(misses, slots);
}

BufferCeilings buffer_ceilings(const experts::UseLog& uses, const ExpertGrid& grid, std::size_t slots, double load,
                               double gap) {
  BufferCeilings ceilings;
  if (uses.all().empty()) return ceilings;
  const BufferTimes times{load, load / 20, 0.0, gap};
  BufferSimulation demand(grid, slots, times, false, std::make_unique<BeladyReplacement>(grid, uses.all()), nullptr,
                          {});
  const experts::PipelineStatistics belady = replay_uses(uses, grid, demand, nullptr);
  const experts::LookupCounts best = all_lookups(belady);
  ceilings.belady_hit_ratio = static_cast<double>(best.hits) / static_cast<double>(best.all());
  ceilings.least_load_seconds = static_cast<double>(best.misses) * load;
  const std::uint64_t least = decoder_misses_at_least(uses, grid, slots);
  ceilings.least_decoder_load_seconds = static_cast<double>(least) * load;
  if (belady.decoder.all() > 0) {
    ceilings.decoder_hit_ratio = 1.0 - static_cast<double>(least) / static_cast<double>(belady.decoder.all());
  }

  auto known = std::make_unique<KnownFuture>(uses, grid);
  KnownFuture* future = known.get();
  BufferSimulation ahead(grid, slots, times, false, std::make_unique<BeladyReplacement>(grid, uses.all()),
                         std::make_unique<experts::Forecaster>(std::move(known), grid, experts::Outlook::kDepths), {});
  const experts::PipelineStatistics oracle = replay_uses(uses, grid, ahead, future);
  const experts::LookupCounts counts = all_lookups(oracle);
  ceilings.oracle_hit_ratio = static_cast<double>(counts.hits) / static_cast<double>(counts.all());
  ceilings.oracle_wait_seconds = oracle.wait_seconds;
  return ceilings;
}

}  // namespace flame::eval
