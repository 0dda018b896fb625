#include "flame/experts/pipeline.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace flame::experts {
namespace {

/// Loads are begun for layers so many loads' time ahead (one that is under way, the one to begin, and one that may go
/// before it), and for the nearest in any case.
constexpr double kLoadsAhead = 3.0;
constexpr std::uint32_t kLeastDepth = 3;
/// Loads are begun as long as the storage has less to do than until the next router's decision and for this share of a
/// load: whatever is begun sooner is begun with less known.
constexpr double kLoadsQueued = 0.5;
/// Less likely experts are not worth the look.
constexpr double kLeastProbability = 0.02;
/// Loads under way when nobody asks whether they pay.
constexpr std::size_t kLoadsWhenAlways = 2;
/// A prefetch that the router contradicts is finished only when so much of it has arrived.
constexpr double kWorthFinishing = 0.5;

}  // namespace

LookupCounts& LookupCounts::operator+=(const LookupCounts& other) {
  hits += other.hits;
  late += other.late;
  misses += other.misses;
  loaded += other.loaded;
  return *this;
}

double LookupCounts::hit_ratio() const {
  return all() == 0 ? 0.0 : static_cast<double>(hits) / static_cast<double>(all());
}

double LookupCounts::kept_ratio() const {
  return all() == 0 ? 0.0 : static_cast<double>(all() - loaded) / static_cast<double>(all());
}

PipelineStatistics& PipelineStatistics::operator+=(const PipelineStatistics& other) {
  encoder += other.encoder;
  decoder += other.decoder;
  loads_demand += other.loads_demand;
  loads_prefetch += other.loads_prefetch;
  cancelled += other.cancelled;
  bytes_demand += other.bytes_demand;
  bytes_prefetch_used += other.bytes_prefetch_used;
  bytes_prefetch_wasted += other.bytes_prefetch_wasted;
  bytes_prefetch_open += other.bytes_prefetch_open;
  wait_seconds += other.wait_seconds;
  decoder_wait_seconds += other.decoder_wait_seconds;
  on_demand_wait_seconds += other.on_demand_wait_seconds;
  passes += other.passes;
  passes_set_aside += other.passes_set_aside;
  return *this;
}

LookupCounts PipelineStatistics::lookups() const {
  LookupCounts both = encoder;
  return both += decoder;
}

ExpertPipeline::ExpertPipeline(const ExpertGrid& grid, std::size_t slots, const PipelineOptions& options,
                               ExpertLoader& loader, std::unique_ptr<ReplacementPolicy> policy,
                               std::unique_ptr<Forecaster> forecaster, std::span<const float> popularity)
    : grid_(grid),
      options_(options),
      loader_(loader),
      pool_(slots, grid),
      outlook_(grid, popularity),
      costs_(grid, options.expert_bytes, options.chunk_bytes),
      policy_(std::move(policy)),
      forecaster_(std::move(forecaster)),
      records_(slots),
      pending_(grid.size()),
      unreadable_(grid.size()),
      tokens_of_(grid.experts),
      layer_(grid.layers()) {
  if (forecaster_ != nullptr && !options.speculate_always && slots < grid.size()) {
    hindsight_ = std::make_unique<Hindsight>(grid, slots, policy_->clone(), popularity);
    order_.reserve(grid.experts);
  }
  wanted_.reserve(grid.experts);
  used_.reserve(grid.experts);
  likely_.reserve(std::size_t{Outlook::kDepths} * grid.experts);
  resident_.reserve(slots);
  resident_slot_.reserve(slots);
}

void ExpertPipeline::begin_batch(std::size_t sequences) {
  settle();
  layer_ = grid_.layers();  // before the first
  routed_at_ = loader_.now();
  waited_since_route_ = 0.0;
  outlook_.begin_example();
  if (hindsight_ != nullptr) hindsight_->begin_example();
  settled_at_ = routed_at_;
  if (forecaster_ == nullptr) return;
  forecaster_->begin(sequences);
  look_ahead();
}

void ExpertPipeline::settle() {
  for (const Wanted& wanted : wanted_) pending_[wanted.expert] = 0;
  wanted_.clear();
  collect();
}

void ExpertPipeline::look_ahead() {
  if (all_resident()) return;
  forecast();
  rank_again();
  speculate();
}

void ExpertPipeline::forecast() {
  depth_ = depth();
  forecaster_->update(outlook_, depth_);
  list_likely();
  nothing_pays_ = false;
}

std::uint32_t ExpertPipeline::depth() const {
  std::uint32_t most = std::min(Outlook::kDepths, grid_.layers());
  if (options_.speculate_always) return most;
  // In few slots, what is loaded for a far layer has given way to the layers before it by then.
  most = std::min(most, static_cast<std::uint32_t>(2 * pool_.slots() - 1));
  const double enough = kLoadsAhead * costs_.load_seconds();
  std::uint32_t depth = 0;
  double time = 0.0;
  for (LayerIndex layer = layer_; depth < most && (depth < kLeastDepth || time < enough);) {
    time += costs_.gap_seconds(layer);
    layer = outlook_.layer_ahead(++depth);
  }
  return depth;
}

void ExpertPipeline::reorder(std::span<const std::uint32_t> parents) {
  if (forecaster_ != nullptr) forecaster_->reorder(parents);
}

void ExpertPipeline::feed(std::span<const std::int32_t> tokens) {
  if (forecaster_ == nullptr) return;
  forecaster_->feed(tokens);
  look_ahead();
}

void ExpertPipeline::approach(model::MoeLayer layer, MatrixView<const float> hidden) {
  if (forecaster_ == nullptr || layer.stack != model::Stack::kDecoder || !forecaster_->needs_approach()) return;
  if (all_resident()) return;
  forecaster_->approach(layer.index, hidden);
  look_ahead();
}

void ExpertPipeline::hidden(model::MoeLayer layer, MatrixView<const float> hidden) {
  if (forecaster_ == nullptr || layer.stack != model::Stack::kDecoder || all_resident()) return;
  forecaster_->hidden(layer.index, hidden);
}

void ExpertPipeline::routed(model::MoeLayer layer, std::span<const model::RoutingDecision> decisions,
                            std::span<const std::uint32_t> sequence) {
  assert(std::all_of(wanted_.begin(), wanted_.end(), [&](const Wanted& w) { return !pending_[w.expert]; }));
  collect();
  const double now = loader_.now();
  costs_.observe_gap(layer_, std::max(0.0, now - routed_at_ - waited_since_route_));
  layer_ = grid_.layer(layer);
  ++visits_;
  ++statistics_.passes;
  routed_at_ = now;
  waited_since_route_ = 0.0;

  gather(decisions);
  if (hindsight_ != nullptr) look_back();
  count_lookups();
  outlook_.visit(layer_, used_);
  if (forecaster_ != nullptr) {
    if (layer.stack == model::Stack::kDecoder) forecaster_->observe(layer.index, decisions, sequence);
    if (!all_resident()) forecast();
    drop_contradicted();
    rank_again();
  }
  start_wanted();
  speculate();
}

void ExpertPipeline::gather(std::span<const model::RoutingDecision> decisions) {
  std::fill(tokens_of_.begin(), tokens_of_.end(), 0U);
  for (const model::RoutingDecision& decision : decisions) {
    if (!decision.dropped) ++tokens_of_[decision.expert];
  }
  wanted_.clear();
  used_.clear();
  for (std::uint32_t number = 0; number < grid_.experts; ++number) {
    if (tokens_of_[number] == 0) continue;
    const ExpertIndex expert = grid_.expert(layer_, number);
    wanted_.push_back({expert, tokens_of_[number], false, false});
    used_.push_back(expert);
    pending_[expert] = 1;
  }
  std::sort(wanted_.begin(), wanted_.end(), [](const Wanted& a, const Wanted& b) {
    return a.tokens != b.tokens ? a.tokens > b.tokens : a.expert < b.expert;
  });
}

void ExpertPipeline::look_back() {
  bool as_on_demand = pool_.loading().empty() && pool_.count(SlotState::kDraining) == 0;
  loads_at_once_ = 0.0;
  order_.clear();
  for (const Wanted& wanted : wanted_) {
    order_.push_back(wanted.expert);
    const std::optional<SlotIndex> slot = pool_.find(wanted.expert);
    as_on_demand = as_on_demand && slot.has_value() == hindsight_->shadow().holds(wanted.expert);
    if (!slot || pool_.state(*slot) == SlotState::kLoading)
      loads_at_once_ += slot ? 1.0 - loader_.progress(*slot) : 1.0;
  }
  hindsight_->visit(layer_, used_, order_, as_on_demand);
  if (!hindsight_->follows_forecasts()) ++statistics_.passes_set_aside;
}

void ExpertPipeline::settle_pass() {
  const double now = loader_.now();
  Hindsight::Pass pass;
  pass.elapsed = now - settled_at_;
  pass.waited = waited_since_route_;
  pass.computed = now - routed_at_ - waited_since_route_;
  if (costs_.has_measured_load()) {
    if (loads_at_once_ >= 2.0) costs_.observe_loads_at_once(layer_, loads_at_once_, now - routed_at_);
    pass.load = costs_.load_seconds();
    // A chunk of a prefetch may be in front of them, another between them and what they wait for.
    pass.loads = loads_at_once_ * costs_.load_seconds(layer_) + 2.0 * costs_.chunk_seconds();
    pass.on_demand_loads = costs_.seconds_at_once(layer_, hindsight_->missing());
  }
  hindsight_->settle(pass);
  settled_at_ = now;
}

void ExpertPipeline::count_lookups() {
  LookupCounts& counts = layer_ < grid_.encoder_layers ? statistics_.encoder : statistics_.decoder;
  for (const ExpertIndex expert : used_) {
    policy_->used(expert);
    const std::optional<SlotIndex> slot = pool_.find(expert);
    if (!slot) {
      ++counts.misses;
      ++counts.loaded;
      continue;
    }
    ++(pool_.state(*slot) == SlotState::kReady ? counts.hits : counts.late);
    SlotRecord& record = records_[*slot];
    if (record.reason == Reason::kPrefetchUnused) {
      ++counts.loaded;
      record.reason = Reason::kPrefetchUsed;
      statistics_.bytes_prefetch_open -= record.bytes;
      statistics_.bytes_prefetch_used += record.bytes;
      record.bytes = 0;
    }
  }
}

std::optional<ExpertWork> ExpertPipeline::next() {
  if (std::all_of(wanted_.begin(), wanted_.end(), [](const Wanted& w) { return w.taken; })) return std::nullopt;
  while (true) {
    collect();
    start_wanted();
    Wanted* best = nullptr;
    double best_progress = -1.0;
    for (Wanted& wanted : wanted_) {
      if (wanted.taken || !wanted.started) continue;
      const SlotIndex slot = *pool_.find(wanted.expert);
      // Whole experts stand above every share of a load; wanted_ has those with most tokens first.
      const double progress = pool_.state(slot) == SlotState::kReady ? 2.0 : loader_.progress(slot);
      if (progress > best_progress) {
        best = &wanted;
        best_progress = progress;
      }
    }
    if (best != nullptr) {
      best->taken = true;
      const SlotIndex slot = *pool_.find(best->expert);
      return ExpertWork{best->expert, best->tokens, pool_.pin(slot), pool_.state(slot) == SlotState::kReady};
    }
    const double begin = loader_.now();
    loader_.wait();
    waited(loader_.now() - begin);
  }
}

void ExpertPipeline::done(ExpertWork work) {
  collect();
  assert(pool_.state(work.pin.slot()) == SlotState::kReady);
  pending_[work.expert] = 0;
  work.pin.reset();
  if (hindsight_ != nullptr &&
      std::none_of(wanted_.begin(), wanted_.end(), [&](const Wanted& w) { return wanted_now(w.expert); })) {
    settle_pass();
  }
  start_wanted();
  speculate();
}

void ExpertPipeline::collect() {
  while (const std::optional<LoadEnd> end = loader_.poll()) ended(*end);
}

void ExpertPipeline::ended(const LoadEnd& end) {
  nothing_pays_ = false;
  SlotRecord& record = records_[end.slot];
  const ExpertIndex expert = pool_.expert_in(end.slot);
  const bool draining = pool_.state(end.slot) == SlotState::kDraining;
  const bool kept = end.outcome == LoadEnd::Outcome::kWhole && !draining;
  switch (record.reason) {
    case Reason::kDemand:
      statistics_.bytes_demand += end.bytes;
      break;
    case Reason::kPrefetchUsed:
      statistics_.bytes_prefetch_used += end.bytes;
      break;
    case Reason::kPrefetchUnused:
      (kept ? statistics_.bytes_prefetch_open : statistics_.bytes_prefetch_wasted) += end.bytes;
      break;
  }
  if (end.outcome == LoadEnd::Outcome::kWhole && end.seconds > 0.0) {
    costs_.observe_load(grid_.layer_of(expert), end.seconds);
  }
  if (draining) {
    pool_.finish_drain(end.slot);
  } else if (end.outcome == LoadEnd::Outcome::kWhole) {
    unreadable_[expert] = 0;
    record.bytes = record.reason == Reason::kPrefetchUnused ? end.bytes : 0;
    pool_.finish_load(end.slot);
  } else {
    unreadable_[expert] = 1;
    pool_.begin_drain(end.slot);
    pool_.finish_drain(end.slot);
    if (wanted_now(expert)) loader_.fail(end.slot, expert);
  }
}

void ExpertPipeline::start_wanted() {
  for (Wanted& wanted : wanted_) {
    if (wanted.started) continue;
    if (const std::optional<SlotIndex> slot = pool_.find(wanted.expert)) {
      if (pool_.state(*slot) == SlotState::kLoading) loader_.promote(*slot);
      wanted.started = true;
    }
  }
  for (Wanted& wanted : wanted_) {
    if (wanted.started) continue;
    if (!start_demand(wanted.expert)) return;
    wanted.started = true;
  }
}

bool ExpertPipeline::start_demand(ExpertIndex expert) {
  std::optional<SlotIndex> slot = pool_.find_free();
  if (!slot) {
    // A cancelled load's last chunk occupies the storage in any case: waiting for its slot saves an eviction for free.
    if (pool_.count(SlotState::kDraining) > 0) return false;
    const std::optional<SlotIndex> loser = victim();
    const std::optional<SlotIndex> weakest = weakest_prefetch();
    // A load that has hardly begun may be worth less than what an expert that is there would save.
    if (weakest && (!loser || value_of_load(*weakest) < loss_of(*loser))) {
      cancel(*weakest);
      collect();
    } else if (loser) {
      evict(*loser);
    }
    slot = pool_.find_free();
    if (!slot) return false;
  }
  start(*slot, expert, io::ReadPriority::kDemand, 0, 0);
  return true;
}

void ExpertPipeline::start(SlotIndex slot, ExpertIndex expert, io::ReadPriority priority, std::uint64_t deadline,
                           std::uint64_t rank) {
  const bool demand = priority == io::ReadPriority::kDemand;
  ++(demand ? statistics_.loads_demand : statistics_.loads_prefetch);
  records_[slot] = {demand ? Reason::kDemand : Reason::kPrefetchUnused, 0, deadline, rank};
  pool_.begin_load(slot, expert);
  policy_->loaded(expert);
  loader_.start(slot, expert, priority, rank);
}

std::optional<SlotIndex> ExpertPipeline::victim() {
  resident_.clear();
  resident_slot_.clear();
  const auto list = [&](const auto& may_go) {
    for (SlotIndex slot = 0; slot < pool_.slots(); ++slot) {
      const ExpertIndex expert = pool_.expert_in(slot);
      if (pool_.state(slot) != SlotState::kReady || pool_.pinned(slot) || wanted_now(expert) || !may_go(expert))
        continue;
      resident_.push_back(expert);
      resident_slot_.push_back(slot);
    }
  };
  if (!follows_forecasts()) list([&](ExpertIndex expert) { return !hindsight_->shadow().holds(expert); });
  if (resident_.empty()) list([](ExpertIndex) { return true; });
  if (resident_.empty()) return std::nullopt;
  return resident_slot_[policy_->weakest(resident_, follows_forecasts() ? outlook_ : hindsight_->shadow().outlook())];
}

std::optional<SlotIndex> ExpertPipeline::weakest_prefetch() {
  std::optional<SlotIndex> weakest;
  double least = 0.0;
  for (const SlotIndex slot : pool_.loading()) {
    if (pool_.pinned(slot) || wanted_now(pool_.expert_in(slot))) continue;
    const double value = value_of_load(slot);
    if (!weakest || value < least) {
      weakest = slot;
      least = value;
    }
  }
  return weakest;
}

void ExpertPipeline::evict(SlotIndex slot) {
  SlotRecord& record = records_[slot];
  if (record.reason == Reason::kPrefetchUnused) {
    statistics_.bytes_prefetch_open -= record.bytes;
    statistics_.bytes_prefetch_wasted += record.bytes;
    record.bytes = 0;
  }
  pool_.evict(slot);
}

void ExpertPipeline::cancel(SlotIndex slot) {
  ++statistics_.cancelled;
  pool_.begin_drain(slot);
  loader_.cancel(slot);
}

void ExpertPipeline::drop_contradicted() {
  bool dropped = false;
  // From the last on, as a cancelled one leaves the list.
  for (std::size_t i = pool_.loading().size(); i > 0; --i) {
    const SlotIndex slot = pool_.loading()[i - 1];
    if (records_[slot].reason != Reason::kPrefetchUnused) continue;
    const ExpertIndex expert = pool_.expert_in(slot);
    const double progress = loader_.progress(slot);
    const bool contradicted = grid_.layer_of(expert) == layer_ && progress < kWorthFinishing;
    const bool hopeless = progress == 0.0 && outlook_.probability(expert) < kLeastProbability;
    const bool set_aside = !follows_forecasts() && !hindsight_->shadow().holds(expert);
    if (contradicted || hopeless || set_aside) {
      cancel(slot);
      dropped = true;
    }
  }
  if (dropped) collect();
}

double ExpertPipeline::time_until(std::uint32_t visits) {
  double seconds = -std::max(0.0, loader_.now() - routed_at_ - waited_since_route_);
  LayerIndex layer = layer_;
  for (std::uint32_t visit = 1; visit <= visits; ++visit) {
    seconds += costs_.gap_seconds(layer);
    layer = outlook_.layer_ahead(visit);
  }
  return std::max(0.0, seconds);
}

std::uint64_t ExpertPipeline::rank_of(std::uint64_t deadline, double probability, double progress) {
  const double density = std::min(1.0, probability / std::max(1.0 - progress, 0.05));
  return deadline * 1024 + static_cast<std::uint64_t>((1.0 - density) * 1023.0);
}

void ExpertPipeline::rank_again() {
  for (const SlotIndex slot : pool_.loading()) {
    SlotRecord& record = records_[slot];
    if (record.reason != Reason::kPrefetchUnused) continue;
    const ExpertIndex expert = pool_.expert_in(slot);
    record.deadline = visits_ + outlook_.distance(grid_.layer_of(expert));
    record.rank = rank_of(record.deadline, outlook_.probability(expert), loader_.progress(slot));
    loader_.set_rank(slot, record.rank);
  }
}

double ExpertPipeline::queue_seconds(std::uint64_t rank) {
  double loads = 0.0;
  for (const SlotIndex slot : pool_.loading()) {
    if (records_[slot].rank <= rank) loads += 1.0 - loader_.progress(slot);
  }
  return loads * costs_.load_seconds();
}

double ExpertPipeline::need_of(SlotIndex slot) const {
  const ExpertIndex expert = pool_.expert_in(slot);
  const double distance = outlook_.distance(grid_.layer_of(expert));
  // An expert that is far off may be loaded again before it is needed, at the price of the storage's time only.
  const double time = distance * std::max(1e-6, costs_.gap_seconds(layer_));
  return outlook_.probability(expert) * std::clamp(costs_.load_seconds() / time, 0.25, 1.0);
}

double ExpertPipeline::loss_of(SlotIndex slot) const { return need_of(slot) * costs_.load_seconds(); }

double ExpertPipeline::value_of_load(SlotIndex slot) {
  const std::uint32_t distance = outlook_.distance(grid_.layer_of(pool_.expert_in(slot)));
  // Further layers than these are not timed: a load has ended by then.
  const double rest = distance <= depth_ ? time_until(distance) : costs_.load_seconds();
  const double over = loader_.progress(slot) * costs_.load_seconds() + rest;
  return need_of(slot) * std::min(over, costs_.load_seconds());
}

bool ExpertPipeline::cheaper_soon(ExpertIndex expert) const {
  const double rate = outlook_.use_rate(expert);
  return std::any_of(wanted_.begin(), wanted_.end(), [&](const Wanted& wanted) {
    return wanted_now(wanted.expert) && outlook_.use_rate(wanted.expert) < rate;
  });
}

void ExpertPipeline::list_likely() {
  likely_.clear();
  const double least =
      std::max(kLeastProbability, options_.speculate_always ? 0.0 : costs_.least_probability(costs_.load_seconds()));
  for (std::uint32_t ahead = 1; ahead <= depth_; ++ahead) {
    const LayerIndex layer = outlook_.layer_ahead(ahead);
    if (layer >= grid_.encoder_layers && !outlook_.has_forecast(layer)) continue;
    // What is merely used often is not worth a slot for long.
    if (layer >= grid_.encoder_layers && ahead > 1 && !outlook_.believes_forecasts()) continue;
    for (std::uint32_t number = 0; number < grid_.experts; ++number) {
      const ExpertIndex expert = grid_.expert(layer, number);
      const double probability = outlook_.probability(expert);
      if (probability >= least) likely_.push_back({expert, ahead, probability});
    }
  }
}

std::optional<ExpertPipeline::Candidate> ExpertPipeline::best_candidate() {
  std::optional<Candidate> best;
  const double load = costs_.load_seconds();
  std::uint32_t timed = 0;
  double time_left = 0.0;
  const bool encoder_first = outlook_.layer_ahead(1) < grid_.encoder_layers && !options_.speculate_always;
  for (const Likely& likely : likely_) {
    // Once an encoder's layer has passed, its experts' slots are free for the taking. Until then a farther layer's
    // loads would only drive out what is used sooner.
    if (encoder_first && likely.ahead > 1 && !pool_.find_free()) break;
    if (unreadable_[likely.expert] != 0 || wanted_now(likely.expert) || pool_.find(likely.expert)) continue;
    if (likely.ahead != timed) time_left = time_until(timed = likely.ahead);
    const std::uint64_t deadline = visits_ + likely.ahead;
    Candidate candidate{likely.expert, deadline, rank_of(deadline, likely.probability, 0.0), 0.0, 0.0};
    if (options_.speculate_always) {
      candidate.gain = candidate.urgency = likely.probability / likely.ahead;
    } else {
      const double queue = queue_seconds(candidate.rank);
      candidate.gain = costs_.prefetch_gain(likely.probability, queue, time_left);
      candidate.urgency = candidate.gain - costs_.prefetch_gain(likely.probability, queue + load, time_left);
    }
    if (candidate.gain <= 0.0) continue;
    if (!best || candidate.urgency > best->urgency ||
        (candidate.urgency == best->urgency && candidate.gain > best->gain)) {
      best = candidate;
    }
  }
  return best;
}

void ExpertPipeline::speculate() {
  if (!options_.prefetch || forecaster_ == nullptr || nothing_pays_ || all_resident() || !follows_forecasts()) return;
  if (!std::all_of(wanted_.begin(), wanted_.end(), [](const Wanted& w) { return w.started; })) return;
  double queue = queue_seconds(std::numeric_limits<std::uint64_t>::max());
  std::size_t loading = pool_.count(SlotState::kLoading);
  // Enough that the storage is not idle before the pipeline gets to think again, and no more: it will know better.
  const double enough = time_until(1) + kLoadsQueued * costs_.load_seconds();
  while (options_.speculate_always ? loading < kLoadsWhenAlways : queue <= enough) {
    const std::optional<Candidate> candidate = best_candidate();
    if (!candidate) {
      // Time only makes gains smaller, as long as no load is under way that could end.
      nothing_pays_ = pool_.loading().empty();
      return;
    }
    std::optional<SlotIndex> slot = pool_.find_free();
    if (!slot) {
      const std::optional<SlotIndex> loser = victim();
      if (!loser) return;
      const ExpertIndex old = pool_.expert_in(*loser);
      const bool worth_more = outlook_.use_rate(old) >= outlook_.use_rate(candidate->expert) ||
                              (!options_.speculate_always && (loss_of(*loser) >= candidate->gain || cheaper_soon(old)));
      if (worth_more) return;
      evict(*loser);
      slot = pool_.find_free();
    }
    start(*slot, candidate->expert, io::ReadPriority::kPrefetch, candidate->deadline, candidate->rank);
    queue += costs_.load_seconds();
    ++loading;
  }
}

void ExpertPipeline::load_all() {
  assert(pool_.slots() == grid_.size());
  settle();
  for (ExpertIndex expert = 0; expert < grid_.size(); ++expert) {
    pending_[expert] = 1;  // so that a load that fails is an error
    if (!pool_.find(expert)) start_demand(expert);
  }
  while (!all_resident()) {
    loader_.wait();
    collect();
  }
  std::fill(pending_.begin(), pending_.end(), std::uint8_t{0});
}

void ExpertPipeline::begin_statistics() {
  statistics_ = {};
  if (hindsight_ != nullptr) hindsight_->begin_statistics();
  for (SlotRecord& record : records_) record.bytes = 0;
}

PipelineStatistics ExpertPipeline::statistics() const {
  PipelineStatistics statistics = statistics_;
  if (hindsight_ != nullptr) statistics.on_demand_wait_seconds = hindsight_->on_demand_seconds();
  return statistics;
}

}  // namespace flame::experts
