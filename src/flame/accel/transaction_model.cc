#include "flame/accel/transaction_model.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <map>
#include <optional>

#include "flame/base/error.h"

namespace flame::accel {

namespace {

// Cycles of the RTL that do not depend on the expert (docs/accelerator.md).
constexpr double kFetchCycles = 6.8;         // a command's share of fetching eight, besides its beats
constexpr double kReadLatencyCycles = 30.0;  // from a request to its first beat
constexpr double kRouterEndCycles = 12.0;    // from the router's last beat to its choice; the codes come meanwhile
constexpr double kTurnCycles = 39.0;         // turn from wi to wo, start of the engine, besides two blocks' draining
constexpr double kWriteCycles = 40.0;        // the record's address and response; sums go while the array works
constexpr double kObserveCycles = 8.0;       // from a decision to the first prefetch's request
constexpr double kLoadLatencyCycles = 50.0;  // from a load's request to its first beat
constexpr double kLookupCycles = 4.0;
constexpr double kCancelCycles = 4.0;
constexpr double kScanCycles = 2.0;  // of a search for a victim, besides a cycle a slot
constexpr double kDone = 1e-3;       // cycles; sums of doubles are not exact

struct Slot {
  enum class State { kEmpty, kLoading, kReady } state = State::kEmpty;
  std::size_t key = 0;
  std::uint64_t stamp = 0;
  bool predicted = false;
  bool unused_prefetch = false;
};

struct Load {
  std::size_t slot;
  bool demand;
  double first_beat;  // not before this time
  double left;        // cycles of channel time
};

class Model {
 public:
  Model(const AcceleratorBenchOptions& options, const RoutingReplay& replay, const ExpertLayout& layout,
        std::size_t slots)
      : options_(options), replay_(replay), layout_(layout), slots_(slots) {
    load_cycles_ = sequential_load_cycles(layout, options.ddr4);
    for (const TableEntry& entry : options.table) table_[{entry.layer, entry.context}] = &entry;
  }

  /// One MoE layer of one token.
  void run_layer(std::size_t layer, std::size_t expert, bool predict) {
    spend(CycleKind::kCommand, kFetchCycles + beats(kLineBytes));
    spend(CycleKind::kInput, kReadLatencyCycles + beats(4 * layout_.padded_d_model()) +
                                 std::max(beats(layout_.padded_d_model()), kRouterEndCycles));
    const std::size_t slot = decide(layer, expert);
    if (predict) push_predictions(layer, expert);

    // The engine: a step a cycle, or at the pace of the load.
    const double started = now_;
    if (const Load* load = load_of(slot); load != nullptr && load->first_beat > now_) advance(load->first_beat);
    const double turn = kTurnCycles + 2.0 * static_cast<double>(layout_.rows()) / 8.0;  // eight rows drain a cycle
    const double full = static_cast<double>(layout_.steps()) + turn;
    pinned_ = slot;
    while (options_.policy.wait_for_whole && slots_[slot].state == Slot::State::kLoading) advance(next_event());
    advance(now_ + full);
    while (slots_[slot].state == Slot::State::kLoading) advance(next_event());
    pinned_.reset();
    counters_.cycles[static_cast<std::size_t>(CycleKind::kCompute)] += layout_.steps();
    counters_.cycles[static_cast<std::size_t>(CycleKind::kOverhead)] += static_cast<std::uint64_t>(turn);
    counters_.cycles[static_cast<std::size_t>(CycleKind::kMemory)] +=
        static_cast<std::uint64_t>(std::max(0.0, now_ - started - full));
    spend(CycleKind::kOutput, kWriteCycles + beats(2 * kLineBytes));
    spend(CycleKind::kDelay, static_cast<double>(options_.dense_cycles));
  }

  void clear_history() { history_.clear(); }
  void clear_counters() {
    counters_ = {};
    counters_.layers.resize(replay_.layers);
    counted_from_ = now_;
    bytes_ = 0.0;
  }
  [[nodiscard]] KernelCounters counters() const {
    KernelCounters result = counters_;
    result.load_bytes = static_cast<std::uint64_t>(bytes_);
    return result;
  }
  [[nodiscard]] double cycles() const { return now_ - counted_from_; }

 private:
  /// Beats of the host port.
  [[nodiscard]] double beats(std::size_t bytes) const {
    return static_cast<double>(bytes) / static_cast<double>(layout_.axi_bytes);
  }

  void spend(CycleKind kind, double cycles) {
    counters_.cycles[static_cast<std::size_t>(kind)] += static_cast<std::uint64_t>(std::llround(cycles));
    advance(now_ + cycles);
  }

  /// The load the channels work on: demand first, then the oldest.
  Load* current() {
    for (Load& load : loads_) {
      if (load.demand) return &load;
    }
    return loads_.empty() ? nullptr : &loads_.front();
  }

  const Load* load_of(std::size_t slot) const {
    for (const Load& load : loads_) {
      if (load.slot == slot) return &load;
    }
    return nullptr;
  }

  double next_event() {
    const Load* load = current();
    return load == nullptr ? now_ : std::max(now_, load->first_beat) + load->left;
  }

  void advance(double until) {
    start_prefetches();
    while (now_ < until) {
      Load* load = current();
      if (load == nullptr) break;
      const double begin = std::max(now_, load->first_beat);
      if (begin >= until) break;
      const double done = std::min(load->left, until - begin);
      load->left -= done;
      bytes_ += done / load_cycles_ * static_cast<double>(layout_.slot_bytes());
      now_ = begin + done;
      if (load->left <= kDone) {
        slots_[load->slot].state = Slot::State::kReady;
        loads_.erase(loads_.begin() + (load - loads_.data()));
        start_prefetches();
      }
    }
    now_ = std::max(now_, until);
  }

  std::optional<std::size_t> find(std::size_t key) const {
    for (std::size_t s = 0; s < slots_.size(); ++s) {
      if (slots_[s].state != Slot::State::kEmpty && slots_[s].key == key) return s;
    }
    return std::nullopt;
  }

  std::optional<std::size_t> victim(bool demand) const {
    std::optional<std::size_t> best;
    const auto rank = [&](std::size_t s) {
      const std::size_t key = slots_[s].key;
      const unsigned keep = options_.keep.empty() ? 0U : options_.keep[key];
      return std::tuple(slots_[s].predicted, keep, slots_[s].stamp);
    };
    for (std::size_t s = 0; s < slots_.size(); ++s) {
      if (slots_[s].state == Slot::State::kEmpty) return s;
      if (slots_[s].state != Slot::State::kReady || pinned_ == s || (!demand && slots_[s].predicted)) continue;
      if (!best || rank(s) < rank(*best)) best = s;
    }
    return best;
  }

  void drop(const std::function<bool(std::size_t key)>& contradicted) {
    for (std::size_t i = 0; i < loads_.size();) {
      if (!loads_[i].demand && contradicted(slots_[loads_[i].slot].key)) {
        slots_[loads_[i].slot] = {};
        loads_.erase(loads_.begin() + static_cast<std::ptrdiff_t>(i));
        ++counters_.prefetch_dropped;
      } else {
        ++i;
      }
    }
  }

  void start(std::size_t key, std::size_t slot, bool demand) {
    slots_[slot] = {Slot::State::kLoading, key, stamp_, !demand, !demand};
    loads_.push_back({slot, demand, now_ + kLoadLatencyCycles, load_cycles_});
    ++(demand ? counters_.demand_loads : counters_.prefetch_loads);
  }

  std::size_t decide(std::size_t layer, std::size_t expert) {
    ++stamp_;
    if (options_.policy.drop_contradicted) wanted_.clear();  // guesses at what is now known
    const std::size_t key = layer * replay_.experts + expert;
    double cycles = kLookupCycles;
    if (options_.policy.drop_contradicted) {
      cycles += kCancelCycles;
      drop([&](std::size_t other) { return other / replay_.experts == layer && other != key; });
    }
    std::optional<std::size_t> slot = find(key);
    auto& lookups = counters_.layers[layer];
    for (Slot& s : slots_) {
      if (s.key / replay_.experts == layer) s.predicted = false;
    }
    if (slot) {
      Slot& s = slots_[*slot];
      ++(s.state == Slot::State::kReady ? lookups.hits : lookups.late);
      if (s.unused_prefetch) ++counters_.prefetch_used;
      s.unused_prefetch = false;
      s.stamp = stamp_;
      for (Load& load : loads_) {
        if (load.slot == *slot) load.demand = true;
      }
    } else {
      ++lookups.misses;
      slot = victim(true);
      if (!slot) {
        drop([](std::size_t) { return true; });
        slot = victim(true);
      }
      cycles += kScanCycles;
      if (slots_[*slot].state != Slot::State::kEmpty) cycles += static_cast<double>(slots_.size());
      start(key, *slot, true);
    }
    spend(CycleKind::kDecide, cycles);
    return *slot;
  }

  void push_predictions(std::size_t layer, std::size_t expert) {
    history_.push_back(static_cast<std::uint8_t>(expert));
    const std::size_t next = (layer + 1) % replay_.layers;
    for (std::size_t o = std::min(options_.policy.order, history_.size()) + 1; o-- > 0;) {
      const auto found = table_.find({next, {history_.end() - static_cast<std::ptrdiff_t>(o), history_.end()}});
      if (found == table_.end()) continue;
      wanted_.clear();
      const auto& ranked = found->second->ranked;
      for (std::size_t i = 0; i < std::min(options_.policy.prefetch_count, ranked.size()); ++i) {
        wanted_.push_back(next * replay_.experts + ranked[i]);
      }
      wanted_from_ = now_ + kObserveCycles;
      return;
    }
  }

  void start_prefetches() {
    while (!wanted_.empty() && now_ + kObserveCycles >= wanted_from_) {
      const std::size_t key = wanted_.front();
      if (const auto slot = find(key)) {
        slots_[*slot].predicted = true;
        slots_[*slot].stamp = stamp_;
        wanted_.pop_front();
        continue;
      }
      if (std::any_of(loads_.begin(), loads_.end(), [](const Load& load) { return !load.demand; })) return;
      wanted_.pop_front();
      if (const auto slot = victim(false)) start(key, *slot, false);
    }
  }

  const AcceleratorBenchOptions& options_;
  const RoutingReplay& replay_;
  const ExpertLayout& layout_;
  std::vector<Slot> slots_;
  std::vector<Load> loads_;
  std::deque<std::size_t> wanted_;
  std::vector<std::uint8_t> history_;
  std::map<std::pair<std::size_t, std::vector<std::uint8_t>>, const TableEntry*> table_;
  std::optional<std::size_t> pinned_;
  KernelCounters counters_;
  double load_cycles_ = 0.0, now_ = 0.0, wanted_from_ = 0.0, counted_from_ = 0.0, bytes_ = 0.0;
  std::uint64_t stamp_ = 0;
};

}  // namespace

AcceleratorBenchResult run_transaction_model(const AcceleratorBenchOptions& options, const RoutingReplay& replay) {
  if (replay.steps() == 0 || replay.decisions.size() != replay.steps() * replay.layers) {
    throw UsageError("the routing to replay is empty, or does not have one decision a step and layer");
  }
  const KernelLimits limits = limits_of(options.configuration);
  const ExpertLayout layout = limits.layout(options.d_model, options.d_ff, options.pattern);
  limits.check_model(replay.layers, replay.experts);
  PolicySettings policy = options.policy;
  policy.path_layers = replay.layers;
  limits.check_policy(policy, replay.experts);
  const std::size_t experts = replay.layers * replay.experts;
  const std::size_t slots =
      std::min(limits.choose_slots(layout, options.slots, options.budget_bytes, experts), experts);

  Model model(options, replay, layout, slots);
  model.clear_counters();
  for (std::size_t step = 0; step < replay.steps(); ++step) {
    if (step == options.warm_up) model.clear_counters();
    if (step == 0 || replay.example[step] != replay.example[step - 1]) model.clear_history();
    for (std::size_t layer = 0; layer < replay.layers; ++layer) {
      model.run_layer(layer, replay.decisions[step * replay.layers + layer], options.policy.prefetch_count != 0);
    }
  }
  return summarise(options, layout, slots, replay.steps() - options.warm_up, replay.layers, model.counters());
}

}  // namespace flame::accel
