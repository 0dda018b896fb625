#include "flame/eval/compile.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>

#include "flame/base/checksum.h"
#include "flame/base/error.h"
#include "flame/base/progress.h"
#include "flame/engine/tracing.h"
#include "flame/eval/calibration_data.h"
#include "flame/experts/bundle.h"
#include "flame/experts/predictor_choice.h"
#include "flame/experts/stored_loader.h"
#include "flame/io/atomic_output.h"
#include "flame/io/checkpoint.h"
#include "flame/io/file.h"
#include "flame/io/json_lines.h"
#include "flame/model/config.h"
#include "flame/model/generation_config.h"
#include "flame/routing/fit.h"
#include "flame/routing/profile.h"
#include "flame/text/tokenizer.h"

namespace flame::eval {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongestInput = 512;
/// Of the traced examples, kept back to see what the profile of the others is worth.
constexpr std::size_t kHeldOut = 5;
/// Fewer examples say too little of how to weigh predictors against one another.
constexpr std::size_t kLeastToFit = 50;
/// Seconds that a load is taken to last, as long as between two MoE layers: neither free nor hopeless.
constexpr double kLoad = 1e-3;

/// One text of a JSON-lines file after another.
engine::TracePromptSource prompts_of(const CompileOptions& options) {
  auto reader = std::make_shared<io::JsonLinesReader>(options.data, io::JsonLinesOptions{.strict = true});
  return [reader, field = options.field, left = options.trace_samples]() mutable -> std::optional<engine::TracePrompt> {
    if (left == 0) return std::nullopt;
    std::optional<std::string> text = reader->next_text(field);
    if (!text) return std::nullopt;
    --left;
    engine::TracePrompt traced;
    traced.prompt.index = reader->line() - 1;
    traced.prompt.text = *std::move(text);
    return traced;
  };
}

/// The folder of finished stages, for one run at a time. It is deleted with what compiling wrote to it, and with
/// nothing else.
class Stages {
 public:
  explicit Stages(fs::path folder) : folder_(std::move(folder)) {}

  /// Makes the folder, or takes the one that a run of the same `fingerprint` left. Throws UsageError for any other
  /// folder, FileError for one that another run is working in.
  void claim(const std::string& fingerprint) {
    io::FileSystem& files = io::FileSystem::real();
    io::require_directory_target(folder_);
    require_only_stages();
    files.create_directories(folder_);
    held_ = files.create(folder_ / kLock);
    const fs::path record = folder_ / kRecord;
    if (files.exists(record)) {
      if (io::read_file(record) == fingerprint) return;
      throw UsageError(
          fmt::format("{}: belongs to a run with another model, data or options; remove it", folder_.string()));
    }
    io::AtomicFile file(record);
    file.file().append(fingerprint);
    file.commit();
  }

  [[nodiscard]] fs::path operator/(const char* name) const { return folder_ / name; }

  /// Returns what is in the folder and is none of the stages': it stays there, and so does the folder.
  [[nodiscard]] std::vector<std::string> remove() const {
    io::FileSystem& files = io::FileSystem::real();
    std::vector<std::string> others;
    for (const std::string& name : files.list(folder_)) {
      const auto is = [&](const char* stage) { return name == stage || is_half_of(name, stage); };
      if (std::any_of(kNames.begin(), kNames.end(), is)) {
        if (name != kRecord) files.remove(folder_ / name);
      } else {
        others.push_back(name);
      }
    }
    files.remove(folder_ / kRecord);  // last: without it nobody would go on removing
    std::error_code not_empty;        // something came meanwhile: it stays
    if (others.empty()) fs::remove(folder_, not_empty);
    return others;
  }

 private:
  /// A folder without our record holds nothing, or what a run that was killed at its start left.
  void require_only_stages() const {
    io::FileSystem& files = io::FileSystem::real();
    if (files.exists(folder_ / kRecord) || !files.is_directory(folder_)) return;
    for (const std::string& name : files.list(folder_)) {
      if (is_half_of(name, kRecord) || (name == kLock && files.open(folder_ / name)->size() == 0)) continue;
      throw UsageError(
          fmt::format("{}: compiling keeps its stages there, and it holds something else ({}): move it away, or name "
                      "another output",
                      folder_.string(), name));
    }
  }

  static constexpr const char* kRecord = "options";
  static constexpr const char* kLock = "lock";
  static constexpr std::array<const char*, 7> kNames{kRecord, kLock,         "pruned",      "bundle",
                                                     "trace", "trace.parts", "profile.json"};

  static bool is_half_of(std::string_view name, std::string_view stage) {
    return name.starts_with(stage) &&
           (name.substr(stage.size()).starts_with(".partial-") || name.substr(stage.size()).starts_with(".replaced-"));
  }

  fs::path folder_;
  std::unique_ptr<io::WritableFile> held_;  ///< a file has one writer at a time: this run, while it is open
};

/// Examples [first, end) of a trace; `end` is at most their number.
routing::Trace part_of(const routing::Trace& trace, std::size_t first, std::size_t end) {
  std::vector<bool> keep(
      std::max(routing::examples_of(trace.encoder).size(), routing::examples_of(trace.decoder).size()));
  std::fill(keep.begin() + static_cast<std::ptrdiff_t>(first), keep.begin() + static_cast<std::ptrdiff_t>(end), true);
  return routing::select_examples(trace, keep);
}

class Compiler {
 public:
  Compiler(fs::path model, const fs::path& output, const CompileOptions& options,
           const std::function<void(const std::string&)>& note)
      : model_(std::move(model)),
        output_(io::without_trailing_slash(output)),
        stages_(output_.string() + ".stages"),
        options_(options),
        note_(note) {}

  CompileReport run() {
    if (options_.pattern != "dense" && !sparsity::is_pattern_method(method())) {
      throw UsageError(fmt::format("method {} makes no N:M, which a bundle is packed by; use one of {}",
                                   options_.method, fmt::join(sparsity::pattern_method_names(), ", ")));
    }
    io::require_directory_target(output_);
    experts::require_replaceable(output_, options_.existing);
    if (io::FileSystem::real().exists(output_) && options_.existing == io::Existing::kRefuse) {
      throw UsageError(fmt::format("{}: exists already; give --replace to make it anew", output_.string()));
    }
    check_input();
    stages_.claim(fingerprint());
    const fs::path bundle = pack(prune());
    profile(trace_model(bundle));
    finish(bundle);
    const std::vector<std::string> others = stages_.remove();
    if (!others.empty() && note_) {
      note_(fmt::format("{}.stages stays: it holds what compiling did not write ({})", output_.string(),
                        fmt::join(others, ", ")));
    }
    return report_;
  }

 private:
  void say(const std::string& line) {
    report_.stages.push_back(line);
    if (note_) note_(line);
  }

  /// What the stages depend on: another model, data or option makes them useless.
  [[nodiscard]] std::string fingerprint() const {
    Checksum checksum;
    checksum.add_number(io::Checkpoint::open(model_).content_checksum());
    checksum.add_text(io::read_file(options_.data));
    for (const std::string& text : {options_.field, options_.prefix.value_or("-"), options_.task.value_or("-"),
                                    options_.pattern, options_.method, std::string(kernels::name_of(options_.type))}) {
      checksum.add_text(text);
    }
    for (const std::uint64_t number : {std::uint64_t{options_.calibration_samples},
                                       std::uint64_t{options_.trace_samples}, std::uint64_t{options_.max_new_tokens}}) {
      checksum.add_number(number);
    }
    return checksum_text(checksum.value());
  }

  /// What would otherwise be found only after pruning and packing.
  void check_input() const {
    if (experts::Bundle::is_bundle(model_)) {
      throw UsageError(fmt::format("{}: is a bundle already; compile makes one from a checkpoint", model_.string()));
    }
    static_cast<void>(model::load_generation_defaults(model_, model::load_config(model_), options_.task));
    io::JsonLinesReader reader(options_.data, {.strict = true});
    const bool calibrates = options_.pattern != "dense" && sparsity::needs_calibration(method());
    const std::size_t wanted = std::max(options_.trace_samples, calibrates ? options_.calibration_samples : 0);
    std::size_t texts = 0;
    while (texts < wanted && reader.next_text(options_.field)) ++texts;
    if (texts == 0) throw FormatError(options_.data, "expected at least one text, found none");
  }

  [[nodiscard]] sparsity::Method method() const { return sparsity::parse_method(options_.method); }

  fs::path prune() {
    if (options_.pattern == "dense") return model_;
    const fs::path pruned = stages_ / "pruned";
    if (fs::exists(pruned)) {
      say(fmt::format("prune: {} is there already", pruned.string()));
      return pruned;
    }
    sparsity::PruneOptions prune;
    prune.method = method();
    prune.patterns = sparsity::LayerPatterns::parse(options_.pattern);
    if (sparsity::needs_calibration(prune.method)) {
      CalibrationSource source{.file = options_.data,
                               .field = options_.field,
                               .target_field = "",
                               .prefix = options_.prefix.value_or(""),
                               .samples = options_.calibration_samples};
      if (!options_.prefix) {
        source.prefix = model::load_generation_defaults(model_, model::load_config(model_), options_.task).prefix;
      }
      prune.calibration = read_calibration(source, text::Tokenizer::open(model_), kLongestInput);
      prune.calibration_source = fmt::format("{}: {}", options_.data.filename().string(), options_.field);
    }
    const sparsity::PruneReport report = sparsity::prune_checkpoint(model_, pruned, prune);
    report_.relative_error = report.relative_error();
    say(fmt::format("prune: {} by {}, weights changed by {:.1f} % of their norm, {:.1f} s", options_.pattern,
                    options_.method, 100.0 * report.relative_error(), report.seconds));
    return pruned;
  }

  /// What decoding will route is what the packed model routes: packing may round weights.
  fs::path trace_model(const fs::path& bundle) {
    const fs::path trace = stages_ / "trace";
    if (fs::exists(trace)) {
      say(fmt::format("trace: {} is there already", trace.string()));
      return trace;
    }
    routing::TraceRecorder* recorder = nullptr;
    engine::EngineOptions opening;
    opening.buffer.predictor = "none";
    engine::Engine engine = engine::open_for_tracing(bundle, opening, {}, recorder);
    const model::GenerationDefaults defaults = engine.generation_defaults(options_.task);
    engine::TracingOptions tracing;
    tracing.generation = defaults.options;
    tracing.generation.num_beams = 1;
    tracing.generation.num_return_sequences = 1;
    tracing.generation.max_new_tokens = options_.max_new_tokens;
    tracing.prefix = options_.prefix.value_or(defaults.prefix);
    tracing.model = model_.string();
    tracing.data = fmt::format("{}, {}", options_.data.string(), options_.field);
    Progress progress("tracing", options_.trace_samples);
    engine::TracingCallbacks callbacks;
    callbacks.on_skipped = [&](const engine::Prompt& prompt, const std::string& why) {
      if (note_) note_(fmt::format("trace: text {} is left out: {}", prompt.index + 1, why));
    };
    callbacks.on_progress = [&](std::uint64_t done) { progress.set(done); };
    const engine::TracingSummary summary =
        engine::trace_prompts(engine, *recorder, prompts_of(options_), tracing, callbacks, trace);
    progress.finish();
    say(fmt::format("trace: {} examples, {} decoder steps, {:.1f} s", summary.examples, summary.decoder_steps,
                    summary.seconds));
    return trace;
  }

  void profile(const fs::path& path) {
    const routing::Trace trace = routing::read_trace(path);
    const std::size_t examples = routing::examples_of(trace.decoder).size();
    report_.examples = examples;
    report_.decoder_steps = trace.decoder.steps();
    const routing::ProfileOptions counting = routing::fitting_options({}, trace.info.experts);
    routing::Profile whole(trace.info, counting);
    whole.add(trace);
    if (examples >= kLeastToFit) whole.set_fitted(routing::fit(trace, counting, routing::fitted_context(counting), {}));
    whole.write(stages_ / "profile.json");
    report_.predictor = experts::choose_predictor("auto", experts::BufferOptions().replacement, &whole).predictor;
    say(fmt::format("profile: {} steps of {} examples", whole.steps(), examples));
    if (examples >= kHeldOut) expect(trace, counting, examples - examples / kHeldOut, examples);
  }

  /// Hit ratios at several budgets, on examples that the profile has not seen.
  void expect(const routing::Trace& trace, const routing::ProfileOptions& counting, std::size_t first,
              std::size_t end) {
    routing::Profile seen(trace.info, counting);
    const routing::Trace others = part_of(trace, 0, first);
    seen.add(others);
    if (end >= kLeastToFit) seen.set_fitted(routing::fit(others, counting, routing::fitted_context(counting), {}));
    const routing::Trace held_out = part_of(trace, first, end);
    const std::size_t all = (std::size_t{trace.info.encoder_layers} + trace.info.decoder_layers) * trace.info.experts;
    // Of a load: what a prefetch under way keeps a demand load waiting for.
    const auto expert_bytes = static_cast<double>(report_.pack.expert_bytes);
    const auto chunk = static_cast<double>(experts::StoredLoader::chunk_bytes().at(expert_bytes / kLoad));
    const double held_up = std::min(1.0, chunk / expert_bytes);
    std::vector<BufferCase> cases;
    for (const std::size_t eighth : {1U, 2U, 3U, 4U, 6U}) {
      for (const char* predictor : {"lru", "auto", "belady"}) {
        BufferCase setting;
        setting.predictor = predictor;
        setting.context = options_.context;
        setting.slots = std::max<std::size_t>(1, all * eighth / 8);
        setting.times = {kLoad, kLoad * held_up, 1e-4, kLoad};
        cases.push_back(setting);
      }
    }
    report_.expected = replay_buffer(held_out, seen, cases);
  }

  /// Without its profile, which is counted on what is packed.
  fs::path pack(const fs::path& pruned) {
    const fs::path bundle = stages_ / "bundle";
    if (fs::exists(bundle)) {
      const experts::Bundle packed = experts::Bundle::open(bundle);
      report_.pack.experts = packed.grid().size();
      report_.pack.expert_bytes = packed.slot_bytes();
      report_.pack.packed_bytes = packed.packed_bytes();
      say(fmt::format("pack: {} is there already", bundle.string()));
      return bundle;
    }
    experts::PackOptions pack;
    if (options_.pattern != "dense") pack.patterns = sparsity::LayerPatterns::parse(options_.pattern);
    pack.type = options_.type;
    report_.pack = experts::pack_bundle(pruned, bundle, pack);
    say(fmt::format("pack: {} experts", report_.pack.experts));
    return bundle;
  }

  void finish(const fs::path& bundle) {
    experts::add_profile(bundle, stages_ / "profile.json");
    io::AtomicDirectory directory(output_, options_.existing);
    io::FileSystem::real().rename(bundle, directory.path());  // over the empty one made for it
    directory.commit();
  }

  fs::path model_;
  fs::path output_;
  Stages stages_;
  const CompileOptions& options_;
  const std::function<void(const std::string&)>& note_;
  CompileReport report_;
};

}  // namespace

CompileReport compile_bundle(const std::filesystem::path& model, const std::filesystem::path& output,
                             const CompileOptions& options, const std::function<void(const std::string& line)>& note) {
  return Compiler(model, output, options, note).run();
}

}  // namespace flame::eval
