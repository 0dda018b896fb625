#include "flame/experts/buffered_device.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <malloc.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "flame/base/byte_size.h"
#include "flame/base/error.h"
#include "flame/experts/expert_tokens.h"
#include "flame/experts/predictor_choice.h"
#include "flame/experts/routers.h"
#include "flame/experts/slot_memory.h"
#include "flame/experts/stored_loader.h"
#include "flame/experts/timeline.h"
#include "flame/kernels/expert.h"

namespace flame::experts {
namespace {

/// Rows are computed when so many more bytes have arrived: often enough to keep up, seldom enough to start threads for.
constexpr std::uint64_t kComputeStep = 4 * kBundleBlockBytes;

void require_known(const std::string& predictor) {
  const auto known = routing::predictor_names();
  if (predictor.empty() || std::find(known.begin(), known.end(), predictor) != known.end()) return;
  throw UsageError(fmt::format("unknown predictor \"{}\": use auto, none, or one of {}", predictor,
                               fmt::join(routing::causal_predictor_names(), ", ")));
}

std::optional<routing::Profile> profile_of(const Bundle& bundle, const BufferOptions& options) {
  const std::string wanted = choose_predictor(options.predictor, options.replacement, nullptr).predictor;
  require_known(wanted);
  if (bundle.has_profile()) return bundle.profile();
  if (!wanted.empty()) static_cast<void>(bundle.profile());  // throws what is missing and how to get it
  return std::nullopt;
}

PredictorChoice choose(const BufferOptions& options, const routing::Profile* profile) {
  PredictorChoice choice = choose_predictor(options.predictor, options.replacement, profile);
  if (!choice.predictor.empty() && !routing::is_causal(choice.predictor)) {
    throw UsageError(fmt::format("predictor \"{}\" knows the future: it is a bound for replays (flame eval buffer)",
                                 choice.predictor));
  }
  return choice;
}

double seconds(io::Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

struct BufferedDevice::Implementation {
  Implementation(std::shared_ptr<const Bundle> the_bundle, const model::DenseWeights& dense,
                 const BufferOptions& options, std::unique_ptr<io::AsyncReader> reader)
      : bundle(std::move(the_bundle)),
        switched_off(options.prefetch ? "" : "; prefetch off"),
        routers(routers_of(bundle->config(), dense)),
        memory(std::make_shared<SlotMemory>(slots_for(*bundle, options), bundle->slot_bytes())),
        loader(bundle, memory, std::move(reader), options, timeline) {
    const ExpertGrid& grid = bundle->grid();
    if (routers.size() != grid.layers()) throw std::logic_error("the weights are another model's than the bundle");
    if (!options.timeline.empty()) {
      std::vector<std::string> names;
      for (LayerIndex layer = 0; layer < grid.layers(); ++layer) {
        names.push_back(fmt::format("{} layer {}", model::name_of(grid.layer(layer).stack), grid.layer(layer).index));
      }
      timeline.set_layer_names(std::move(names));
      timeline.open(options.timeline);
    }
    std::vector<float> popularity;
    std::unique_ptr<Forecaster> forecaster;
    if (const std::optional<routing::Profile> found = profile_of(*bundle, options)) {
      const routing::Profile& profile = *found;
      choice = choose(options, &profile);
      popularity = popularity_of(profile, grid);
      if (!choice.predictor.empty()) {
        forecaster =
            make_forecaster(make_predictor(choice.predictor, options.context, options.seed, profile), profile, grid);
        predictor_name = forecaster->name();
      }
    } else {
      choice = choose(options, nullptr);
    }
    // What the profile was read into is many times what is kept of it.
    ::malloc_trim(0);
    PipelineOptions pipeline_options;
    pipeline_options.prefetch = options.prefetch;
    pipeline_options.speculate_always = options.speculate_always;
    pipeline_options.expert_bytes = bundle->slot_bytes();
    pipeline_options.chunk_bytes = StoredLoader::chunk_bytes();
    pipeline = std::make_unique<ExpertPipeline>(grid, memory->all().size() / bundle->slot_bytes(), pipeline_options,
                                                loader, make_replacement(choice.replacement, grid, popularity),
                                                std::move(forecaster), popularity);
    keeps_log = pipeline->pool().slots() < grid.size();
  }

  [[nodiscard]] BufferReport report(const PipelineStatistics& counted, const io::ReadQueueStatistics& since) const;
  void log_uses(LayerIndex layer, std::span<const model::RoutingDecision> made);
  /// ExpertPipeline::next(), what it waits drawn in the timeline.
  [[nodiscard]] std::optional<ExpertWork> next(LayerIndex layer);
  void compute_expert(ExpertWork& work, const model::MoeInput& input, MatrixView<float> output);
  void run(const ExpertWork& work, const kernels::PackedExpertLayout& layout);

  std::shared_ptr<const Bundle> bundle;
  PredictorChoice choice;
  std::string switched_off;            ///< for describe()
  std::vector<model::Router> routers;  ///< [layers of the grid]
  Timeline timeline;
  std::shared_ptr<SlotMemory> memory;
  StoredLoader loader;
  std::unique_ptr<ExpertPipeline> pipeline;
  std::string predictor_name;
  std::optional<routing::ForcedRouting> forced;
  bool keeps_log = true;
  UseLog uses;
  UseLog whole_uses;
  io::ReadQueueStatistics storage_before;
  PipelineStatistics pipeline_before;  ///< of all that came before begin_statistics()

  std::vector<model::RoutingDecision> decisions;  ///< of the last route()
  std::vector<ExpertIndex> wanted;
  ExpertTokens tokens;  ///< of the expert at work
  kernels::ExpertRun expert_run;
};

BufferedDevice::BufferedDevice(std::shared_ptr<const Bundle> bundle, const model::DenseWeights& dense,
                               const BufferOptions& options, std::unique_ptr<io::AsyncReader> reader)
    : implementation_(std::make_unique<Implementation>(std::move(bundle), dense, options, std::move(reader))) {}

BufferedDevice::~BufferedDevice() = default;

void BufferedDevice::begin_batch(std::size_t sequences) {
  if (implementation_->keeps_log) {
    implementation_->uses.begin_example();
    implementation_->whole_uses.begin_example();
  }
  if (implementation_->forced) implementation_->forced->begin_batch(sequences);
  implementation_->pipeline->begin_batch(sequences);
}

void BufferedDevice::reorder(std::span<const std::uint32_t> parents) {
  if (implementation_->forced) implementation_->forced->reorder(parents);
  implementation_->pipeline->reorder(parents);
}

void BufferedDevice::feed(std::span<const std::int32_t> tokens) {
  // Routing that is forced belongs to the tokens of its trace.
  implementation_->pipeline->feed(implementation_->forced ? implementation_->forced->feed() : tokens);
}

void BufferedDevice::approach(model::MoeLayer layer, MatrixView<const float> hidden) {
  Implementation& self = *implementation_;
  self.pipeline->approach(layer, self.forced ? self.forced->approach(layer, hidden) : hidden);
}

void BufferedDevice::route(const model::MoeInput& input, std::span<model::RoutingDecision> decisions) {
  Implementation& self = *implementation_;
  const auto begin = io::Clock::now();
  const LayerIndex layer = self.bundle->grid().layer(input.layer);
  self.routers[layer].route(input, decisions);
  if (self.forced) self.forced->decide(input, decisions);
  self.decisions.assign(decisions.begin(), decisions.end());
  self.pipeline->hidden(input.layer, self.forced ? self.forced->hidden(input.layer, input.hidden) : input.hidden);
  self.pipeline->routed(input.layer, decisions, input.sequence);
  if (self.keeps_log) self.log_uses(layer, decisions);
  self.timeline.add(Timeline::Row::kCompute, "route", layer, Timeline::kNoExpert, begin, io::Clock::now());
}

void BufferedDevice::Implementation::log_uses(LayerIndex layer, std::span<const model::RoutingDecision> made) {
  wanted.clear();
  for (const model::RoutingDecision& decision : made) {
    if (!decision.dropped) wanted.push_back(bundle->grid().expert(layer, decision.expert));
  }
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  uses.add(layer, wanted);
  whole_uses.add(layer, wanted);
}

void BufferedDevice::compute(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions,
                             MatrixView<float> output) {
  Implementation& self = *implementation_;
  if (!std::equal(decisions.begin(), decisions.end(), self.decisions.begin(), self.decisions.end())) {
    throw std::logic_error("a buffered device computes what it has routed: use force_routing() instead of a decorator");
  }
  const LayerIndex layer = self.bundle->grid().layer(input.layer);
  for (std::size_t token = 0; token < output.rows(); ++token) std::ranges::fill(output.row(token), 0.0F);
  while (std::optional<ExpertWork> work = self.next(layer)) {
    self.compute_expert(*work, input, output);
    self.pipeline->done(std::move(*work));
  }
}

std::optional<ExpertWork> BufferedDevice::Implementation::next(LayerIndex layer) {
  if (!timeline.enabled()) return pipeline->next();
  const double before = pipeline->statistics().wait_seconds;
  std::optional<ExpertWork> work = pipeline->next();
  const std::chrono::duration<double> waited(pipeline->statistics().wait_seconds - before);
  if (waited.count() > 0.0) {
    const auto now = io::Clock::now();
    timeline.add(Timeline::Row::kCompute, "wait for a slot in", layer, Timeline::kNoExpert,
                 now - std::chrono::duration_cast<io::Clock::duration>(waited), now);
  }
  return work;
}

void BufferedDevice::Implementation::compute_expert(ExpertWork& work, const model::MoeInput& input,
                                                    MatrixView<float> output) {
  tokens.gather(input, decisions, bundle->grid().number_of(work.expert));
  run(work, bundle->layout(bundle->grid().layer_of(work.expert)));
  tokens.scatter(output);
}

void BufferedDevice::Implementation::run(const ExpertWork& work, const kernels::PackedExpertLayout& layout) {
  const LayerIndex layer = bundle->grid().layer_of(work.expert);
  const std::uint32_t number = bundle->grid().number_of(work.expert);
  const std::size_t bytes = layout.size_bytes();
  const kernels::ExpertParts parts =
      kernels::parts_of(layout, std::span<const std::byte>(memory->slot(work.pin.slot())).first(bytes));
  expert_run.begin(parts, tokens.input(), tokens.probabilities(), tokens.computed());
  if (work.whole) {
    const auto begin = io::Clock::now();
    expert_run.finish();
    timeline.add(Timeline::Row::kCompute, "compute", layer, number, begin, io::Clock::now());
    return;
  }
  std::uint64_t ready = 0;
  const std::uint64_t stored = bundle->expert(work.expert).stored_bytes;
  while (ready < stored) {
    const auto begin = io::Clock::now();
    ready = loader.wait_for_bytes(work.pin.slot(), work.expert, std::min(ready + kComputeStep, stored));
    const auto arrived = io::Clock::now();
    pipeline->waited(seconds(arrived - begin));
    expert_run.advance(std::min<std::size_t>(bytes, static_cast<std::size_t>(ready)));
    if (timeline.enabled()) {
      timeline.add(Timeline::Row::kCompute, "wait for", layer, number, begin, arrived);
      timeline.add(Timeline::Row::kCompute, "compute", layer, number, arrived, io::Clock::now());
    }
  }
  expert_run.finish();
}

void BufferedDevice::begin_statistics() {
  Implementation& self = *implementation_;
  self.pipeline->settle();
  self.pipeline_before += self.pipeline->statistics();
  self.pipeline->begin_statistics();
  if (self.keeps_log) self.uses.begin(self.pipeline->pool().experts());
  self.storage_before = self.loader.statistics();
}

model::MoeStatistics BufferedDevice::statistics() const {
  const PipelineStatistics pipeline = implementation_->pipeline->statistics();
  model::MoeStatistics statistics;
  statistics.hits = pipeline.encoder.hits + pipeline.decoder.hits;
  statistics.late = pipeline.encoder.late + pipeline.decoder.late;
  statistics.misses = pipeline.encoder.misses + pipeline.decoder.misses;
  statistics.bytes_demand = pipeline.bytes_demand;
  statistics.bytes_prefetch_used = pipeline.bytes_prefetch_used;
  // What has not been used by now has been in vain so far.
  statistics.bytes_prefetch_wasted = pipeline.bytes_prefetch_wasted + pipeline.bytes_prefetch_open;
  statistics.wait_seconds = pipeline.wait_seconds;
  return statistics;
}

std::string BufferedDevice::describe() const {
  const Implementation& self = *implementation_;
  return fmt::format("cpu, {} slots of {} for {} experts ({}); predictor {}, replacement {}; storage {}{}",
                     self.pipeline->pool().slots(), format_byte_size(self.bundle->slot_bytes()),
                     self.bundle->grid().size(), self.bundle->describe(),
                     self.predictor_name.empty() ? "none" : self.predictor_name,
                     experts::name_of(self.choice.replacement), self.loader.describe(), self.switched_off);
}

void BufferedDevice::load_all() { implementation_->pipeline->load_all(); }

void BufferedDevice::force_routing(routing::ForcedRouting routing) {
  implementation_->forced.emplace(std::move(routing));
}

BufferReport BufferedDevice::report() const {
  return implementation_->report(implementation_->pipeline->statistics(), implementation_->storage_before);
}

BufferReport BufferedDevice::whole_report() const {
  PipelineStatistics counted = implementation_->pipeline_before;
  counted += implementation_->pipeline->statistics();
  return implementation_->report(counted, {});
}

BufferReport BufferedDevice::Implementation::report(const PipelineStatistics& counted,
                                                    const io::ReadQueueStatistics& since) const {
  BufferReport report;
  report.pipeline = counted;
  const io::ReadQueueStatistics now = loader.statistics();
  report.storage.bytes = now.bytes - since.bytes;
  report.storage.chunks = now.chunks - since.chunks;
  report.storage.retries = now.retries - since.retries;
  report.storage.busy_seconds = now.busy_seconds - since.busy_seconds;
  report.storage.read_seconds = now.read_seconds - since.read_seconds;
  report.storage.open_seconds = now.open_seconds - since.open_seconds;
  if (report.storage.open_seconds > 0.0) report.queue_depth = report.storage.read_seconds / report.storage.open_seconds;
  report.slots = pipeline->pool().slots();
  report.slot_bytes = bundle->slot_bytes();
  report.load_seconds = pipeline->costs().load_seconds();
  report.chunk_seconds = pipeline->costs().chunk_seconds();
  if (report.storage.busy_seconds > 0.0) {
    report.bytes_per_second = static_cast<double>(report.storage.bytes) / report.storage.busy_seconds;
  }
  const ExpertGrid& grid = bundle->grid();
  std::uint64_t smallest = bundle->slot_bytes();
  for (LayerIndex layer = 0; layer < grid.layers(); ++layer) {
    smallest = std::min(smallest, bundle->expert(grid.expert(layer, 0)).stored_bytes);
  }
  if (report.bytes_per_second > 0.0) {
    report.transfer_seconds = static_cast<double>(smallest) / report.bytes_per_second;
  }
  for (LayerIndex layer = grid.encoder_layers; layer < grid.layers(); ++layer) {
    report.gap_seconds += pipeline->costs().gap_seconds(layer) / grid.decoder_layers;
  }
  report.has_hindsight = pipeline->hindsight() != nullptr;
  if (const Forecaster* forecaster = pipeline->forecaster()) report.drift = forecaster->drift();
  return report;
}

const UseLog& BufferedDevice::uses() const { return implementation_->uses; }
const UseLog& BufferedDevice::whole_uses() const { return implementation_->whole_uses; }
const Bundle& BufferedDevice::bundle() const { return *implementation_->bundle; }
std::uint64_t BufferedDevice::slot_memory_bytes() const { return implementation_->memory->all().size(); }
void BufferedDevice::finish() {
  implementation_->loader.draw_rest();
  implementation_->timeline.close();
}

std::size_t slots_for(const Bundle& bundle, const BufferOptions& options) {
  const std::size_t all = bundle.grid().size();
  if (options.budget_bytes > 0 && options.slots > 0) {
    throw UsageError("--expert-memory and --slots say the same thing: give one of them");
  }
  if (options.slots > 0) return std::min(options.slots, all);
  if (options.budget_bytes == 0) return all;
  const std::uint64_t slots = options.budget_bytes / bundle.slot_bytes();
  if (slots == 0) {
    throw UsageError(fmt::format("--expert-memory {}: one expert of {} takes {} ({}): give at least that",
                                 format_byte_size(options.budget_bytes), bundle.path().string(),
                                 format_byte_size(bundle.slot_bytes()), bundle.slot_bytes()));
  }
  return static_cast<std::size_t>(std::min<std::uint64_t>(slots, all));
}

std::unique_ptr<io::AsyncReader> open_storage(const Bundle& bundle, const BufferOptions& options) {
  io::ReaderOptions reader;
  reader.backend = options.storage;
  return io::throttle_reader(io::open_reader(bundle.experts_file(), reader), options.throttle);
}

std::unique_ptr<BufferedDevice> open_buffered_device(std::shared_ptr<const Bundle> bundle,
                                                     const model::DenseWeights& dense, const BufferOptions& options) {
  auto storage = open_storage(*bundle, options);
  return std::make_unique<BufferedDevice>(std::move(bundle), dense, options, std::move(storage));
}

}  // namespace flame::experts
