#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "flame/experts/cost_model.h"
#include "flame/experts/expert_grid.h"
#include "flame/experts/forecaster.h"
#include "flame/experts/hindsight.h"
#include "flame/experts/loader.h"
#include "flame/experts/outlook.h"
#include "flame/experts/replacement.h"
#include "flame/experts/slot_pool.h"
#include "flame/model/moe_device.h"

namespace flame::experts {

struct PipelineOptions {
  bool prefetch = true;
  bool speculate_always = false;   ///< keep two loads under way, without asking the cost model
  std::uint64_t expert_bytes = 1;  ///< of a whole load
  ChunkBytes chunk_bytes;          ///< of a prefetch: after so much it gives way to demand
};

/// Lookups of one stack. A lookup is one distinct expert wanted by one pass through one MoE layer.
struct LookupCounts {
  std::uint64_t hits = 0;
  std::uint64_t late = 0;
  std::uint64_t misses = 0;
  std::uint64_t loaded = 0;  ///< of all these, the lookups that an expert was loaded for, on demand or ahead
  [[nodiscard]] std::uint64_t all() const { return hits + late + misses; }
  /// Shares of all: the hits, and those that nothing was loaded for. 0 without lookups.
  [[nodiscard]] double hit_ratio() const;
  [[nodiscard]] double kept_ratio() const;
  LookupCounts& operator+=(const LookupCounts& other);
};

struct PipelineStatistics {
  LookupCounts encoder;
  LookupCounts decoder;
  std::uint64_t loads_demand = 0;
  std::uint64_t loads_prefetch = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t bytes_demand = 0;
  std::uint64_t bytes_prefetch_used = 0;    ///< of loads that were begun ahead of the router and then needed
  std::uint64_t bytes_prefetch_wasted = 0;  ///< evicted or cancelled unused
  std::uint64_t bytes_prefetch_open = 0;    ///< resident or loading, not yet used
  double wait_seconds = 0.0;
  double decoder_wait_seconds = 0.0;  ///< the part of wait_seconds that the decoder's layers waited
  /// What loading on demand alone would have waited for the same lookups, by hindsight; 0 where there is none.
  double on_demand_wait_seconds = 0.0;
  std::uint64_t passes = 0;            ///< through MoE layers
  std::uint64_t passes_set_aside = 0;  ///< of them, those with forecasts set aside by hindsight
  PipelineStatistics& operator+=(const PipelineStatistics& other);
  /// Of both stacks.
  [[nodiscard]] LookupCounts lookups() const;
};

/// One expert to compute now. The pin keeps it where it is.
struct ExpertWork {
  ExpertIndex expert = 0;
  std::uint32_t tokens = 0;
  SlotPin pin;
  bool whole = false;  ///< false: it is still loading (by now at demand priority)
};

/// The preload/compute pipeline: which expert is loaded when, into which slot, at whose expense. Knows no files and no
/// clock but the loader's, so that the live device and the replay of a trace run this same code.
///
/// Per pass through an MoE layer: routed(), then next() and done() until next() gives nothing.
class ExpertPipeline {
 public:
  /// `forecaster` may be null: nothing is known ahead of the router, and nothing is prefetched.
  /// Throws UsageError when `slots` is 0.
  ExpertPipeline(const ExpertGrid& grid, std::size_t slots, const PipelineOptions& options, ExpertLoader& loader,
                 std::unique_ptr<ReplacementPolicy> policy, std::unique_ptr<Forecaster> forecaster,
                 std::span<const float> popularity);

  void begin_batch(std::size_t sequences);
  void reorder(std::span<const std::uint32_t> parents);
  void feed(std::span<const std::int32_t> tokens);
  void approach(model::MoeLayer layer, MatrixView<const float> hidden);
  void hidden(model::MoeLayer layer, MatrixView<const float> hidden);

  /// The router has decided. Counts the lookups, starts what is missing, drops prefetches that are contradicted, and
  /// starts loads for the layers ahead. Dropped tokens want no expert.
  void routed(model::MoeLayer layer, std::span<const model::RoutingDecision> decisions,
              std::span<const std::uint32_t> sequence);

  /// The next expert of the pass to compute: whole ones first, those with most tokens first; then the one whose load
  /// will end first. Waits only where every slot is draining. Nothing when all are done.
  std::optional<ExpertWork> next();
  /// The expert's load must have ended by now. Its slot is free to be replaced; loading ahead goes on.
  void done(ExpertWork work);
  /// The compute thread stood still so long for a load.
  void waited(double seconds) {
    statistics_.wait_seconds += seconds;
    if (layer_ >= grid_.encoder_layers) statistics_.decoder_wait_seconds += seconds;
    waited_since_route_ += seconds;
  }

  /// Takes note of loads that have ended.
  void collect();
  /// The same between batches. A batch that ended with an exception may have left experts wanted: they are no longer.
  void settle();

  /// Loads every expert, where there is a slot for each. Throws DeviceError.
  void load_all();

  void begin_statistics();
  [[nodiscard]] PipelineStatistics statistics() const;
  /// Null where nothing is forecast, no slot is missing or nobody asks whether loads ahead pay.
  [[nodiscard]] const Hindsight* hindsight() const { return hindsight_.get(); }
  [[nodiscard]] const SlotPool& pool() const { return pool_; }
  [[nodiscard]] const Outlook& outlook() const { return outlook_; }
  [[nodiscard]] const CostModel& costs() const { return costs_; }
  [[nodiscard]] Forecaster* forecaster() { return forecaster_.get(); }

 private:
  /// Why the bytes in a slot were loaded.
  enum class Reason : std::uint8_t { kDemand, kPrefetchUnused, kPrefetchUsed };
  struct SlotRecord {
    Reason reason = Reason::kDemand;
    std::uint64_t bytes = 0;     ///< that are counted as bytes_prefetch_open
    std::uint64_t deadline = 0;  ///< the visit it is loaded for; 0: on demand
    std::uint64_t rank = 0;
  };
  struct Wanted {
    ExpertIndex expert = 0;
    std::uint32_t tokens = 0;
    bool started = false;  ///< in a slot, whole or loading
    bool taken = false;    ///< given out by next()
  };
  /// An expert that the present forecasts make worth a look.
  struct Likely {
    ExpertIndex expert = 0;
    std::uint32_t ahead = 0;  ///< visits
    double probability = 0.0;
  };
  struct Candidate {
    ExpertIndex expert = 0;
    std::uint64_t deadline = 0;
    std::uint64_t rank = 0;
    double gain = 0.0;     ///< seconds that loading it now is expected to save
    double urgency = 0.0;  ///< what is lost of them when one other load goes first
  };

  /// Nothing is left to load, so nothing need be forecast.
  [[nodiscard]] bool all_resident() const { return pool_.count(SlotState::kReady) == grid_.size(); }
  /// Forecasts anew, and loads what they recommend.
  void look_ahead();
  void forecast();
  [[nodiscard]] bool follows_forecasts() const { return hindsight_ == nullptr || hindsight_->follows_forecasts(); }
  /// Tells hindsight of the pass that begins.
  void look_back();
  /// The pass is over: so is hindsight's.
  void settle_pass();
  /// MoE layers ahead that are worth a look, by measured load time against measured time between layers.
  [[nodiscard]] std::uint32_t depth() const;
  /// Fills likely_ from the forecasts: what no load could ever pay for is left out.
  void list_likely();
  void gather(std::span<const model::RoutingDecision> decisions);
  void count_lookups();
  void ended(const LoadEnd& end);
  void start_wanted();
  bool start_demand(ExpertIndex expert);
  void start(SlotIndex slot, ExpertIndex expert, io::ReadPriority priority, std::uint64_t deadline, std::uint64_t rank);
  /// The slot whose expert is worth least, of those that may be given away.
  [[nodiscard]] std::optional<SlotIndex> victim();
  /// The prefetch under way that is worth least.
  [[nodiscard]] std::optional<SlotIndex> weakest_prefetch();
  void evict(SlotIndex slot);
  void cancel(SlotIndex slot);
  void drop_contradicted();
  void speculate();
  [[nodiscard]] std::optional<Candidate> best_candidate();
  /// The probability that the slot's expert is needed before it could be loaded again unseen.
  [[nodiscard]] double need_of(SlotIndex slot) const;
  /// Seconds that giving a ready slot away is expected to cost.
  [[nodiscard]] double loss_of(SlotIndex slot) const;
  /// An expert of the present pass is worth less than this one as soon as it is computed: its slot is the one to take.
  [[nodiscard]] bool cheaper_soon(ExpertIndex expert) const;
  /// Seconds that a load under way is expected to save.
  [[nodiscard]] double value_of_load(SlotIndex slot);
  [[nodiscard]] bool wanted_now(ExpertIndex expert) const { return pending_[expert] != 0; }
  /// Seconds until the router decides in the layer so many visits ahead, by measured gaps.
  [[nodiscard]] double time_until(std::uint32_t visits);
  /// Seconds of loads under way that go before a prefetch of this rank.
  [[nodiscard]] double queue_seconds(std::uint64_t rank);
  /// The order of prefetches: the visit they are for, then probability for each second that is left to load.
  [[nodiscard]] static std::uint64_t rank_of(std::uint64_t deadline, double probability, double progress);
  /// New forecasts: prefetches under way are put in order anew.
  void rank_again();

  ExpertGrid grid_;
  PipelineOptions options_;
  ExpertLoader& loader_;
  SlotPool pool_;
  Outlook outlook_;
  CostModel costs_;
  std::unique_ptr<ReplacementPolicy> policy_;
  std::unique_ptr<Forecaster> forecaster_;
  std::unique_ptr<Hindsight> hindsight_;
  std::vector<SlotRecord> records_;       ///< [slots]
  std::vector<Wanted> wanted_;            ///< of the present pass, in the order in which they are loaded
  std::vector<std::uint8_t> pending_;     ///< [experts of the grid]: in wanted_ and not done
  std::vector<std::uint8_t> unreadable_;  ///< [experts of the grid]: its last load failed; only demand tries again
  std::vector<std::uint32_t> tokens_of_;  ///< [experts per layer], scratch
  std::vector<ExpertIndex> used_;         ///< scratch
  std::vector<ExpertIndex> order_;        ///< scratch: used_ in the order of wanted_
  std::vector<Likely> likely_;            ///< of the present forecasts, nearest layer first
  std::vector<ExpertIndex> resident_;     ///< scratch of victim()
  std::vector<SlotIndex> resident_slot_;  ///< scratch of victim()
  /// The storage was idle and nothing paid: only new forecasts or the end of a load can change that.
  bool nothing_pays_ = false;
  PipelineStatistics statistics_;
  std::uint32_t depth_ = 1;   ///< of the present forecasts
  LayerIndex layer_;          ///< last routed; layers() when none has been since the batch began
  std::uint64_t visits_ = 0;  ///< passes routed so far
  double routed_at_ = 0.0;
  double waited_since_route_ = 0.0;
  double settled_at_ = 0.0;     ///< hindsight's last pass
  double loads_at_once_ = 0.0;  ///< that the present pass found to be made, those under way in part
};

}  // namespace flame::experts
