#include "flame/eval/buffer_ceilings.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
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

/// Fills the slots with what the run found in them, then replays its passes.
experts::PipelineStatistics replay_uses(const experts::UseLog& uses, const ExpertGrid& grid,
                                        BufferSimulation& simulation, KnownFuture& future) {
  std::vector<RoutingDecision> decisions;
  std::vector<std::uint32_t> rows;
  const auto pass = [&](experts::LayerIndex layer, std::span<const ExpertIndex> wanted) {
    decisions.clear();
    for (const ExpertIndex expert : wanted) {
      decisions.push_back({static_cast<std::uint16_t>(grid.number_of(expert)), false, 1.0F});
    }
    rows.assign(decisions.size(), 0);
    simulation.approach(grid.layer(layer), {});
    simulation.pass(grid.layer(layer), decisions, rows);
  };
  future.next_pass = uses.passes();
  for (const ExpertIndex& expert : uses.found()) pass(grid.layer_of(expert), {&expert, 1});
  simulation.pipeline().begin_statistics();
  std::size_t example = 0;
  for (std::size_t number = 0; number < uses.passes(); ++number) {
    future.next_pass = number;
    while (example < uses.examples().size() && uses.examples()[example] == number) {
      simulation.pipeline().begin_batch(1);
      ++example;
    }
    future.next_pass = number + 1;
    pass(uses.layer(number), uses.experts(number));
  }
  simulation.pipeline().collect();
  return simulation.pipeline().statistics();
}

/// Experts of a log, and when each is used next.
class Keeping {
 public:
  Keeping(const experts::UseLog& uses, std::size_t slots)
      : uses_(uses), slots_(slots), next_(uses.all().size(), kNever) {
    std::unordered_map<ExpertIndex, std::size_t> last;
    for (std::size_t pass = 0, use = 0; pass < uses.passes(); ++pass) {
      for (const ExpertIndex expert : uses.experts(pass)) {
        if (const auto before = last.find(expert); before != last.end())
          next_[before->second] = pass;
        else
          first_.emplace(expert, pass);
        last[expert] = use++;
      }
    }
  }

  /// Whichever experts are in the slots at first: the next to be used of all, where `found` is not given.
  [[nodiscard]] std::uint64_t most(const std::optional<std::span<const ExpertIndex>>& found) {
    kept_.clear();
    if (found) {
      for (const ExpertIndex expert : *found) {
        if (const auto first = first_.find(expert); first != first_.end()) kept_.emplace(first->second, expert);
      }
    } else {
      for (const auto& [expert, pass] : first_) kept_.emplace(pass, expert);
    }
    drop(slots_);
    std::uint64_t most = 0;
    for (std::size_t pass = 0, use = 0; pass < uses_.passes(); ++pass) {
      const std::span<const ExpertIndex> wanted = uses_.experts(pass);
      for (const ExpertIndex expert : wanted) most += kept_.erase({pass, expert});
      // Each of the wanted needs a slot at some moment of its pass.
      if (!wanted.empty()) drop(slots_ - 1);
      for (const ExpertIndex expert : wanted) {
        if (next_[use] != kNever) kept_.emplace(next_[use], expert);
        ++use;
      }
      drop(slots_);
    }
    return most;
  }

 private:
  static constexpr std::size_t kNever = static_cast<std::size_t>(-1);

  /// Keeps no more than so many: those that are used last go.
  void drop(std::size_t most) {
    while (kept_.size() > most) kept_.erase(std::prev(kept_.end()));
  }

  const experts::UseLog& uses_;
  std::size_t slots_;
  std::vector<std::size_t> next_;                       ///< [uses]: the pass of the same expert's following use
  std::unordered_map<ExpertIndex, std::size_t> first_;  ///< the pass of an expert's first use
  std::set<std::pair<std::size_t, ExpertIndex>> kept_;  ///< by the pass of their next use
};

/// The log of the decoder's passes alone.
experts::UseLog decoder_uses(const experts::UseLog& uses, const ExpertGrid& grid) {
  experts::UseLog decoder;
  decoder.begin({uses.found().begin(), uses.found().end()});
  for (std::size_t pass = 0; pass < uses.passes(); ++pass) {
    if (uses.layer(pass) >= grid.encoder_layers) decoder.add(uses.layer(pass), uses.experts(pass));
  }
  return decoder;
}

double share(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

DecoderBounds decoder_bounds(double decoder_seconds, const experts::PipelineStatistics& run, double load_seconds,
                             double least_loads) {
  const auto loaded = static_cast<double>(run.decoder.loaded);
  DecoderBounds bounds;
  bounds.resident_seconds = std::max(0.0, decoder_seconds - run.decoder_wait_seconds);
  const auto with = [&](double loads) {
    return std::max(bounds.resident_seconds, std::min(decoder_seconds, loads * load_seconds));
  };
  bounds.needed_seconds = with(loaded);
  // The least is reckoned, not counted, where the run's log ends before the run does.
  bounds.least_seconds = with(std::min(loaded, least_loads));
  return bounds;
}

std::uint64_t kept_at_most(const experts::UseLog& uses, std::size_t slots, std::span<const ExpertIndex> found) {
  return Keeping(uses, slots).most(found);
}

std::uint64_t decoder_misses_at_least(const experts::UseLog& uses, const ExpertGrid& grid, std::size_t slots) {
  const experts::UseLog decoder = decoder_uses(uses, grid);
  return decoder.all().size() - Keeping(decoder, slots).most(std::nullopt);
}

experts::PipelineStatistics replay_oracle(const experts::UseLog& uses, const ExpertGrid& grid,
                                          const experts::BufferReport& run) {
  std::vector<ExpertIndex> sequence(uses.found().begin(), uses.found().end());
  sequence.insert(sequence.end(), uses.all().begin(), uses.all().end());
  auto known = std::make_unique<KnownFuture>(uses, grid);
  KnownFuture& future = *known;
  const BufferTimes times{run.load_seconds, run.chunk_seconds, 0.0, run.gap_seconds};
  BufferSimulation ahead(grid, run.slots, times, false, std::make_unique<BeladyReplacement>(grid, sequence),
                         std::make_unique<experts::Forecaster>(std::move(known), grid, experts::Outlook::kDepths), {});
  return replay_uses(uses, grid, ahead, future);
}

BufferCeilings buffer_ceilings(const experts::UseLog& uses, const ExpertGrid& grid, const experts::BufferReport& run) {
  if (run.slots >= grid.size() || uses.all().empty())
    return {.kept_ratio = 1.0, .decoder_kept_ratio = 1.0, .hit_ratio = 1.0, .decoder_hit_ratio = 1.0};
  BufferCeilings ceilings;
  const experts::LookupCounts looked_up = run.pipeline.lookups();
  if (looked_up.all() > uses.all().size()) ceilings.first_lookups = uses.all().size();
  const double scale = std::max(1.0, static_cast<double>(looked_up.all()) / static_cast<double>(uses.all().size()));
  const std::uint64_t kept = kept_at_most(uses, run.slots, uses.found());
  ceilings.kept_ratio = share(kept, uses.all().size());
  ceilings.least_load_seconds = scale * static_cast<double>(uses.all().size() - kept) * run.transfer_seconds;
  const experts::UseLog decoder = decoder_uses(uses, grid);
  ceilings.decoder_kept_ratio = share(kept_at_most(decoder, run.slots, decoder.found()), decoder.all().size());
  ceilings.least_decoder_loads = scale * static_cast<double>(decoder_misses_at_least(uses, grid, run.slots));

  const experts::PipelineStatistics oracle = replay_oracle(uses, grid, run);
  ceilings.hit_ratio = std::max(oracle.lookups().hit_ratio(), looked_up.hit_ratio());
  ceilings.hits_are_the_runs = looked_up.hit_ratio() > oracle.lookups().hit_ratio();
  ceilings.decoder_hits_are_the_runs = run.pipeline.decoder.hit_ratio() > oracle.decoder.hit_ratio();
  ceilings.wait_is_the_runs = run.pipeline.wait_seconds < scale * oracle.wait_seconds;
  ceilings.decoder_hit_ratio = std::max(oracle.decoder.hit_ratio(), run.pipeline.decoder.hit_ratio());
  ceilings.wait_seconds = std::min(scale * oracle.wait_seconds, run.pipeline.wait_seconds);
  return ceilings;
}

}  // namespace flame::eval
