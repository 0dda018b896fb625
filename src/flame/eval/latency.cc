#include "flame/eval/latency.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/base/progress.h"
#include "flame/base/random.h"
#include "flame/eval/reading_device.h"
#include "flame/experts/mapped_device.h"
#include "flame/experts/slot_memory.h"
#include "flame/io/checkpoint.h"
#include "flame/io/file.h"
#include "flame/io/read_queue.h"
#include "flame/model/generation.h"
#include "flame/model/weights.h"
#include "flame/routing/forced_routing.h"

namespace flame::eval {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// Adds up the time that is spent in the decoder's MoE layers.
class MoeTimer final : public model::MoeDevice {
 public:
  explicit MoeTimer(model::MoeDevice& device) : device_(device) {}

  void begin_batch(std::size_t sequences) override { device_.begin_batch(sequences); }
  void reorder(std::span<const std::uint32_t> parents) override { device_.reorder(parents); }
  // What prediction costs there is a cost of the MoE layers too.
  void feed(std::span<const std::int32_t> tokens) override {
    begin_ = Clock::now();
    device_.feed(tokens);
    seconds += seconds_since(begin_);
  }
  void approach(model::MoeLayer layer, MatrixView<const float> hidden) override {
    begin_ = Clock::now();
    device_.approach(layer, hidden);
    if (layer.stack == model::Stack::kDecoder) seconds += seconds_since(begin_);
  }
  void route(const model::MoeInput& input, std::span<model::RoutingDecision> decisions) override {
    begin_ = Clock::now();
    device_.route(input, decisions);
  }
  void compute(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions,
               MatrixView<float> output) override {
    device_.compute(input, decisions, output);
    if (input.layer.stack == model::Stack::kDecoder) seconds += seconds_since(begin_);
  }
  void begin_statistics() override { device_.begin_statistics(); }
  [[nodiscard]] model::MoeStatistics statistics() const override { return device_.statistics(); }
  void finish() override { device_.finish(); }
  [[nodiscard]] std::string describe() const override { return device_.describe(); }

  double seconds = 0.0;

 private:
  model::MoeDevice& device_;
  Clock::time_point begin_;
};

/// A bundle open and ready to be measured.
struct Subject {
  LatencyCase setting;
  std::shared_ptr<const experts::Bundle> bundle;
  model::DenseWeights dense;
  std::unique_ptr<model::MoeDevice> device;
  experts::BufferedDevice* buffered = nullptr;  ///< the device, where it has slots
  ReadingDevice* reading = nullptr;             ///< the device, where it reads along
  double bytes_a_step = 0.0;                    ///< that the last run's decoder had loaded
  std::vector<double> asked;                    ///< bytes a step, where it reads along
  std::vector<double> read;
  std::unique_ptr<MoeTimer> timer;
  std::unique_ptr<model::Generator> generator;
  std::vector<double> decoder;
  std::vector<double> moe;
  std::vector<double> encoder;
  std::vector<double> first_token;
  std::vector<DecoderBounds> bounds;  ///< of a step
};

std::unique_ptr<Subject> open(const LatencyCase& setting, const LatencyOptions& options) {
  auto subject = std::make_unique<Subject>();
  subject->setting = setting;
  subject->bundle = std::make_shared<const experts::Bundle>(experts::Bundle::open(setting.bundle));
  const auto checkpoint = std::make_shared<const io::Checkpoint>(io::Checkpoint::open(subject->bundle->dense_file()));
  subject->dense = model::load_dense_weights(checkpoint, subject->bundle->config(),
                                             {.type = std::nullopt, .check_finite = false, .large_pages = true});
  const experts::ExpertGrid& grid = subject->bundle->grid();
  std::optional<routing::ForcedRouting> forced;
  if (options.routing != nullptr)
    forced.emplace(options.routing, grid.experts, grid.encoder_layers, grid.decoder_layers);
  if (setting.buffer.mapped) {
    subject->device =
        std::make_unique<experts::MappedDevice>(subject->bundle, subject->dense, setting.buffer.timeout_seconds);
    if (forced) {
      subject->device = std::make_unique<routing::ForcedRoutingDevice>(std::move(subject->device), std::move(*forced));
    }
  } else {
    auto buffered = experts::open_buffered_device(subject->bundle, subject->dense, setting.buffer);
    if (forced) buffered->force_routing(std::move(*forced));
    // "All resident" begins so: a few tokens would not ask for every expert.
    if (experts::slots_for(*subject->bundle, setting.buffer) == grid.size()) buffered->load_all();
    subject->buffered = buffered.get();
    subject->device = std::move(buffered);
    if (setting.reads_along) {
      auto reading = std::make_unique<ReadingDevice>(std::move(subject->device), subject->bundle, setting.buffer);
      subject->reading = reading.get();
      subject->device = std::move(reading);
    }
  }
  subject->timer = std::make_unique<MoeTimer>(*subject->device);
  subject->generator = std::make_unique<model::Generator>(subject->bundle->config(), subject->dense, *subject->timer);
  return subject;
}

std::vector<std::vector<std::int32_t>> random_inputs(const model::SwitchConfig& config, const LatencyOptions& options,
                                                     std::size_t run) {
  Random random(options.seed, run);
  std::vector<std::vector<std::int32_t>> inputs(options.batch);
  for (std::vector<std::int32_t>& input : inputs) {
    for (std::size_t i = 0; i < options.input_tokens; ++i) {
      input.push_back(static_cast<std::int32_t>(2 + random.next_below(config.vocab_size - 2)));
    }
  }
  return inputs;
}

void run(Subject& subject, const LatencyOptions& options, std::size_t number, bool counted) {
  const auto inputs = random_inputs(subject.bundle->config(), options, number);
  model::GenerationOptions generation;
  generation.max_new_tokens = options.output_tokens;
  generation.min_new_tokens = options.output_tokens;
  subject.device->begin_statistics();
  subject.timer->seconds = 0.0;
  static_cast<void>(subject.generator->generate(inputs, generation));
  const model::GenerationStatistics& statistics = subject.generator->statistics();
  const auto steps = static_cast<double>(statistics.decoder_steps);
  const double read = subject.reading == nullptr ? 0.0 : static_cast<double>(subject.reading->bytes_read()) / steps;
  if (subject.reading != nullptr) subject.reading->wait_until_idle();  // the next case has the storage to itself
  experts::BufferReport report;
  if (subject.buffered != nullptr) {
    report = subject.buffered->report();
    const double encoder = static_cast<double>(report.pipeline.encoder.loaded * report.slot_bytes);
    subject.bytes_a_step = std::max(0.0, static_cast<double>(report.storage.bytes) - encoder) / steps;
  }
  if (!counted) return;
  subject.decoder.push_back(statistics.decoder_seconds / steps);
  subject.moe.push_back(subject.timer->seconds / steps);
  subject.encoder.push_back(statistics.encoder_seconds);
  subject.first_token.push_back(statistics.first_token_seconds);
  if (subject.reading != nullptr) {
    subject.asked.push_back(subject.reading->bytes_asked() / steps);
    subject.read.push_back(read);
  }
  if (subject.buffered == nullptr) return;
  const auto least =
      static_cast<double>(decoder_misses_at_least(subject.buffered->uses(), subject.bundle->grid(), report.slots));
  DecoderBounds bounds = decoder_bounds(statistics.decoder_seconds, report.pipeline, report.transfer_seconds, least);
  for (double* const seconds : {&bounds.resident_seconds, &bounds.least_seconds, &bounds.needed_seconds}) {
    *seconds /= steps;
  }
  subject.bounds.push_back(bounds);
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double median_of(const std::vector<DecoderBounds>& bounds, double DecoderBounds::*which) {
  std::vector<double> values;
  for (const DecoderBounds& one : bounds) values.push_back(one.*which);
  return spread_of(std::move(values)).median;
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2.0;
  return {median, values.front(), values.back()};
}

std::vector<LatencyResult> measure_latency(const std::vector<LatencyCase>& cases, const LatencyOptions& options,
                                           const std::function<void(std::size_t done)>& progress) {
  std::vector<std::unique_ptr<Subject>> subjects;
  for (const LatencyCase& setting : cases) subjects.push_back(open(setting, options));
  std::size_t done = 0;
  for (std::size_t repeat = 0; repeat <= options.repeats; ++repeat) {
    double bytes_a_step = 0.0;  // of the case before
    for (const auto& subject : subjects) {
      throw_if_interrupted();
      if (subject->reading != nullptr) subject->reading->read_each_step(bytes_a_step);
      run(*subject, options, repeat, repeat > 0);
      bytes_a_step = subject->bytes_a_step;
      if (progress) progress(++done);
    }
  }
  std::vector<LatencyResult> results;
  std::uint64_t memory_before = 0;  // of the case before
  for (const auto& subject : subjects) {
    LatencyResult result;
    result.setting = subject->setting;
    result.pattern = subject->bundle->pattern();
    result.type = kernels::name_of(subject->bundle->layout(0).format.type);
    result.decoder = spread_of(subject->decoder);
    result.moe = spread_of(subject->moe);
    result.encoder = spread_of(subject->encoder);
    result.first_token = spread_of(subject->first_token);
    result.slot_bytes = subject->bundle->slot_bytes();
    if (subject->buffered == nullptr) {
      results.push_back(std::move(result));
      continue;
    }
    result.report = subject->buffered->report();
    result.slots = result.report.slots;
    if (subject->reading != nullptr) result.reading = {mean_of(subject->asked), mean_of(subject->read), memory_before};
    memory_before = result.slots * result.slot_bytes;
    result.ceilings = buffer_ceilings(subject->buffered->uses(), subject->bundle->grid(), result.report);
    result.bounds = {median_of(subject->bounds, &DecoderBounds::resident_seconds),
                     median_of(subject->bounds, &DecoderBounds::least_seconds),
                     median_of(subject->bounds, &DecoderBounds::needed_seconds)};
    results.push_back(std::move(result));
  }
  return results;
}

std::vector<Json> to_json(const LatencyResult& result) {
  const experts::PipelineStatistics& loads = result.report.pipeline;
  std::vector<Json> objects;
  for (const bool whole : {true, false}) {
    const Spread& spread = whole ? result.decoder : result.moe;
    Json object = {
        {"configuration", result.setting.configuration},
        {"pattern", result.pattern},
        {"dtype", result.type},
        {"budget_bytes", result.slots * result.slot_bytes},
        {"slots", result.slots},
        {"predictor", result.setting.buffer.predictor},
        {"replacement", experts::name_of(result.setting.buffer.replacement)},
        {"device", "cpu"},
        {"scope", whole ? "decoder" : "moe"},
        {"seconds_per_token", {{"median", spread.median}, {"min", spread.least}, {"max", spread.most}}},
        {"cycles_per_token", nullptr},
        {"encoder_seconds", result.encoder.median},
        {"first_token_seconds", result.first_token.median},
        {"hit_ratio", loads.decoder.hit_ratio()},
        {"kept_ratio", loads.decoder.kept_ratio()},
        {"decoder_lookups",
         {{"hits", loads.decoder.hits},
          {"late", loads.decoder.late},
          {"misses", loads.decoder.misses},
          {"loaded", loads.decoder.loaded}}},
        {"encoder_lookups",
         {{"hits", loads.encoder.hits},
          {"late", loads.encoder.late},
          {"misses", loads.encoder.misses},
          {"loaded", loads.encoder.loaded}}},
        {"bytes_demand", loads.bytes_demand},
        {"bytes_prefetch_used", loads.bytes_prefetch_used},
        {"bytes_prefetch_wasted", loads.bytes_prefetch_wasted + loads.bytes_prefetch_open},
        {"wait_seconds", loads.wait_seconds},
        {"storage_bytes_per_second", result.report.bytes_per_second},
        {"storage_busy_seconds", result.report.storage.busy_seconds},
        {"queue_depth", result.report.queue_depth},
        {"reading", result.reading ? Json{{"asked_bytes_per_token", result.reading->asked_bytes},
                                          {"read_bytes_per_token", result.reading->read_bytes},
                                          {"beside_budget_bytes", result.reading->beside_bytes}}
                                   : Json()},
        {"ceilings",
         {{"hit_ratio", result.ceilings.decoder_hit_ratio},
          {"kept_ratio", result.ceilings.decoder_kept_ratio},
          {"first_lookups", result.ceilings.first_lookups > 0 ? Json(result.ceilings.first_lookups) : Json()},
          {"hits_are_the_runs", result.ceilings.decoder_hits_are_the_runs},
          {"wait_seconds", result.ceilings.wait_seconds},
          {"wait_is_the_runs", result.ceilings.wait_is_the_runs},
          {"least_load_seconds", result.ceilings.least_load_seconds},
          {"resident_seconds_per_token", result.bounds.resident_seconds},
          {"least_seconds_per_token", result.bounds.least_seconds},
          {"needed_seconds_per_token", result.bounds.needed_seconds}}}};
    if (result.setting.buffer.mapped) {
      // A map has no slots, looks nothing up and does not know what the kernel loads.
      leave_unsaid(object,
                   {"budget_bytes", "slots", "predictor", "replacement", "hit_ratio", "kept_ratio", "decoder_lookups",
                    "encoder_lookups", "bytes_demand", "bytes_prefetch_used", "bytes_prefetch_wasted", "wait_seconds",
                    "storage_bytes_per_second", "storage_busy_seconds", "queue_depth", "ceilings"});
    }
    objects.push_back(std::move(object));
  }
  return objects;
}

namespace {

constexpr std::size_t kReadsUnderWay = 8;

constexpr std::chrono::seconds kPatience{30};

/// Reads that are still under way may write at any time: reader and memory stay until the process ends.
void leave_behind(std::unique_ptr<io::AsyncReader> reader, std::shared_ptr<const experts::SlotMemory> memory) {
  static auto* const left = new std::vector<std::pair<decltype(reader), decltype(memory)>>;
  left->emplace_back(std::move(reader), std::move(memory));
}

double read_plainly(std::unique_ptr<io::AsyncReader> reader, const std::shared_ptr<const experts::SlotMemory>& memory,
                    std::uint64_t total, std::uint64_t piece, std::size_t depth) {
  std::vector<io::ReadCompletion> completions(depth);
  const auto begin = Clock::now();
  std::uint64_t next = 0;
  std::uint64_t tag = 0;
  std::size_t flying = 0;
  while (next < total || flying > 0) {
    while (next < total && flying < depth) {
      const std::uint64_t bytes = std::min(piece, total - next);
      reader->submit({tag, next, static_cast<std::uint32_t>(bytes), memory->all().data() + (tag % depth) * piece});
      ++tag;
      next += bytes;
      ++flying;
    }
    const std::size_t count = reader->wait(Clock::now() + kPatience, completions);
    const bool failed = std::any_of(completions.begin(), completions.begin() + static_cast<std::ptrdiff_t>(count),
                                    [](const io::ReadCompletion& completion) { return completion.result <= 0; });
    if (count == 0 || failed) {
      leave_behind(std::move(reader), memory);
      throw DeviceError(failed ? "a read failed while the storage was measured"
                               : fmt::format("the storage has not answered for {} s", kPatience.count()));
    }
    flying -= count;
  }
  return static_cast<double>(total) / seconds_since(begin);
}

double read_queued(io::ReadQueue& queue, std::span<std::byte> memory, std::uint64_t total, std::uint64_t piece) {
  const auto begin = Clock::now();
  std::uint64_t next = 0;
  // As many loads under way as the plain loop has reads: what an encoder pass asks for.
  std::size_t entry = 0;
  std::vector<bool> used(kReadsUnderWay);
  const auto finish = [&](std::size_t number) {
    if (!used[number]) return;
    const auto state = queue.wait(number, piece, Clock::now() + kPatience);
    if (state == io::ReadState::kReading) {
      throw DeviceError(fmt::format("the storage has not answered for {} s", kPatience.count()));
    }
    if (state != io::ReadState::kDone) throw DeviceError(queue.failure(number).message());
  };
  while (next + piece <= total) {
    finish(entry);
    queue.start(entry, {next, piece, memory.data() + entry * piece, {}, 0}, io::ReadPriority::kDemand);
    used[entry] = true;
    entry = (entry + 1) % kReadsUnderWay;
    next += piece;
  }
  for (std::size_t number = 0; number < kReadsUnderWay; ++number) finish(number);
  return static_cast<double>(next) / seconds_since(begin);
}

}  // namespace

std::vector<StorageSpeed> measure_storage(const std::filesystem::path& path,
                                          const std::vector<std::uint64_t>& piece_bytes, const io::Throttle& throttle,
                                          std::size_t repeats) {
  io::FileSystem& files = io::FileSystem::real();
  if (files.exists(path) && !files.is_regular(path)) {
    throw UsageError(fmt::format("{}: is not a regular file, nor a bundle; name one to read", path.string()));
  }
  const std::uint64_t size = files.open(path)->size() / io::kReadAlignment * io::kReadAlignment;
  if (size == 0) throw UsageError(fmt::format("{}: too small to measure", path.string()));
  std::vector<StorageSpeed> speeds;
  constexpr std::size_t kWays = 7;  // two back ends with each of three depths, and the memory map
  Progress progress("measuring", piece_bytes.size() * kWays * repeats);
  for (const std::uint64_t asked : piece_bytes) {
    const std::uint64_t piece =
        std::min(size, (asked + io::kReadAlignment - 1) / io::kReadAlignment * io::kReadAlignment);
    const std::uint64_t total = std::min<std::uint64_t>(size, std::max<std::uint64_t>(piece, 512ULL << 20));
    const auto memory = std::make_shared<const experts::SlotMemory>(kReadsUnderWay, piece);
    for (const io::StorageBackend backend :
         {io::StorageBackend::kAutomatic, io::StorageBackend::kThreads, io::StorageBackend::kMemoryMap}) {
      for (const std::size_t depth : {std::size_t{1}, kReadsUnderWay, std::size_t{0}}) {
        if (backend == io::StorageBackend::kMemoryMap && depth != 0) continue;
        StorageSpeed speed;
        speed.piece_bytes = piece;
        for (std::size_t repeat = 0; repeat < repeats; ++repeat) {
          throw_if_interrupted();
          io::ReaderOptions options;
          options.backend = backend;
          auto reader = io::throttle_reader(io::open_reader(path, options), throttle);
          reader->register_memory(memory->all());
          double rate = 0.0;
          if (depth > 0) {
            speed.how = fmt::format("{} reads under way, {}", depth, reader->describe());
            const std::size_t allowed = std::min(depth, reader->depth());
            rate = read_plainly(std::move(reader), memory, total, piece, allowed);
          } else {
            io::ReadQueue queue(std::move(reader), kReadsUnderWay, {}, memory);
            speed.how = "read queue, " + queue.describe();
            rate = read_queued(queue, memory->all(), total, piece);
          }
          speed.bytes_per_second = std::max(speed.bytes_per_second, rate);
          progress.advance();
        }
        // Everything else goes past the page cache; these bytes have just been read, and may still be in it.
        if (backend == io::StorageBackend::kMemoryMap) speed.how += ", page cache included";
        speeds.push_back(speed);
      }
    }
  }
  return speeds;
}

}  // namespace flame::eval
