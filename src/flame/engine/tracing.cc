#include "flame/engine/tracing.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "flame/base/checksum.h"
#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/base/json.h"
#include "flame/engine/output_file.h"
#include "flame/experts/bundle.h"
#include "flame/io/atomic_output.h"
#include "flame/io/checkpoint.h"
#include "flame/io/file.h"
#include "flame/model/decoder.h"
#include "flame/model/encoder.h"
#include "flame/routing/trace.h"

namespace flame::engine {
namespace {

using Ids = std::vector<std::int32_t>;

/// What the parts of one trace have in common and do not say themselves.
struct RunSettings {
  std::string fingerprint;  ///< run_fingerprint
  std::string types;        ///< of the dense weights in memory
  bool hidden = false;
};

/// Finished parts of a trace: files "<prompts before>-<prompts up to and with it>.safetensors", and run.json with the
/// settings that made them. The folder comes with the first part.
class PartFolder {
 public:
  PartFolder(const std::filesystem::path& output, const routing::TraceInfo& info, RunSettings settings)
      : folder_(output.string() + ".parts"), settings_(std::move(settings)) {
    io::FileSystem& files = io::FileSystem::real();
    if (!files.exists(folder_)) return;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
    for (const std::string& name : files.list(folder_)) {
      std::uint64_t first = 0;
      std::uint64_t end = 0;
      if (!parse(name, first, end)) continue;
      ranges.emplace_back(first, end);
    }
    std::sort(ranges.begin(), ranges.end());
    if (!ranges.empty()) require_hidden_as_before();
    for (const auto& [first, end] : ranges) {
      const std::filesystem::path path = path_of(first, end);
      if (first != prompts_) {
        throw UsageError(fmt::format("{}: parts before prompt {} are missing; remove {} to start over", path.string(),
                                     first, folder_.string()));
      }
      const routing::Trace part = routing::read_trace(path);
      if (part.info != info) {
        throw UsageError(
            fmt::format("{} holds parts of a trace of {} ({}; {}; {}): finish that one, name another output, or "
                        "remove the folder to start over",
                        folder_.string(), part.info.model, part.info.checksum, part.info.data, part.info.decoding));
      }
      paths_.push_back(path);
      examples_ += routing::examples_of(part.decoder).size();
      encoder_steps_ += part.encoder.steps();
      decoder_steps_ += part.decoder.steps();
      prompts_ = end;
    }
    if (!ranges.empty()) require_run_as_before();
    resumed_ = examples_;
  }

  void add(const routing::Trace& part, std::uint64_t prompts) {
    if (part.decoder.steps() == 0) return;
    if (paths_.empty()) write_settings();
    paths_.push_back(path_of(prompts_, prompts));
    routing::write_trace(paths_.back(), part);
    examples_ += routing::examples_of(part.decoder).size();
    encoder_steps_ += part.encoder.steps();
    decoder_steps_ += part.decoder.steps();
    prompts_ = prompts;
  }

  void join(const std::filesystem::path& output) {
    routing::join_traces(paths_, output);
    // Only what was written here: the folder may have been there before, with other things in it.
    io::FileSystem& files = io::FileSystem::real();
    for (const std::filesystem::path& part : paths_) files.remove(part);
    files.remove(settings_path());
    std::error_code not_empty;
    std::filesystem::remove(folder_, not_empty);
  }

  [[nodiscard]] std::uint64_t prompts() const { return prompts_; }
  [[nodiscard]] bool empty() const { return paths_.empty(); }
  [[nodiscard]] TracingSummary summary() const { return {examples_, encoder_steps_, decoder_steps_, resumed_, 0.0}; }

 private:
  [[nodiscard]] std::filesystem::path settings_path() const { return folder_ / "run.json"; }

  void write_settings() const {
    io::AtomicFile file(settings_path());
    const std::string text =
        to_text(Json{{"fingerprint", settings_.fingerprint}, {"types", settings_.types}, {"hidden", settings_.hidden}});
    file.file().append(text);
    file.commit();
  }

  [[nodiscard]] RunSettings settings_of_parts() const {
    if (!io::FileSystem::real().exists(settings_path())) {
      throw UsageError(fmt::format(
          "{} does not say which settings made its parts (run.json is missing): remove the folder to start over",
          folder_.string()));
    }
    const Json json = parse_json(io::read_file(settings_path()), settings_path());
    const JsonView view(json, settings_path());
    return {view.at("fingerprint").as_string(), view.at("types").as_string(), view.at("hidden").as_bool()};
  }

  /// Before the parts are read: this is the one setting that would only show when they are joined.
  void require_hidden_as_before() const {
    const bool hidden = settings_of_parts().hidden;
    if (hidden == settings_.hidden) return;
    throw UsageError(fmt::format(
        "{} holds parts that were traced {} hidden states (--hidden): trace the rest so too, name another output, or "
        "remove the folder to start over",
        folder_.string(), hidden ? "with" : "without"));
  }

  void require_run_as_before() const {
    const RunSettings before = settings_of_parts();
    if (before.fingerprint == settings_.fingerprint) return;
    const std::string difference =
        before.types != settings_.types
            ? fmt::format("weights in {} (now {})", before.types, settings_.types)
            : fmt::format("other settings (fingerprint {}, now {})", before.fingerprint, settings_.fingerprint);
    throw UsageError(fmt::format(
        "{} holds parts of a run with {}: finish it with the command that began it, name another output, or remove "
        "the folder to start over",
        folder_.string(), difference));
  }

  static bool parse(std::string_view name, std::uint64_t& first, std::uint64_t& end) {
    const char* const last = name.data() + name.size();
    const auto [dash, first_error] = std::from_chars(name.data(), last, first);
    if (first_error != std::errc() || dash == last || *dash != '-') return false;
    const auto [rest, end_error] = std::from_chars(dash + 1, last, end);
    return end_error == std::errc() && std::string_view(rest, static_cast<std::size_t>(last - rest)) == ".safetensors";
  }
  [[nodiscard]] std::filesystem::path path_of(std::uint64_t first, std::uint64_t end) const {
    return folder_ / fmt::format("{:09}-{:09}.safetensors", first, end);
  }

  std::filesystem::path folder_;
  RunSettings settings_;
  std::vector<std::filesystem::path> paths_;
  std::uint64_t prompts_ = 0;  ///< drawn from the source for these parts, skipped ones among them
  std::uint64_t examples_ = 0;
  std::uint64_t encoder_steps_ = 0;
  std::uint64_t decoder_steps_ = 0;
  std::uint64_t resumed_ = 0;
};

std::string decoding_text(const TracingOptions& options) {
  const model::GenerationOptions& generation = options.generation;
  const std::string prefix = options.prefix.empty() ? "" : fmt::format(", prefix \"{}\"", options.prefix);
  if (!options.forced_field.empty()) return fmt::format("teacher-forced {}", options.forced_field) + prefix;
  std::string text = generation.do_sample
                         ? fmt::format("sampled, seed {}, temperature {}, top-k {}, top-p {}", generation.seed,
                                       generation.temperature, generation.top_k, generation.top_p)
                         : std::string("greedy");
  text += fmt::format(", at most {} tokens", generation.length_limit() - 1);
  if (generation.length_floor() > 1) text += fmt::format(", at least {} tokens", generation.length_floor() - 1);
  if (generation.no_repeat_ngram_size > 0)
    text += fmt::format(", no repeated {}-gram", generation.no_repeat_ngram_size);
  if (generation.repetition_penalty != 1.0) {
    text += fmt::format(", repetition penalty {}", generation.repetition_penalty);
  }
  if (generation.forced_bos_token_id) text += fmt::format(", first token {}", *generation.forced_bos_token_id);
  const auto add_ids = [&text](std::string_view what, const Ids& ids) {
    if (!ids.empty()) text += fmt::format(", {} {}", what, fmt::join(ids, " "));
  };
  add_ids("last token", generation.forced_eos_token_ids);
  add_ids("never", generation.suppress_tokens);
  add_ids("never first", generation.begin_suppress_tokens);
  for (const Ids& word : generation.bad_words_ids) add_ids("no word", word);
  const model::GenerationOptions usual;
  if (generation.eos_token_ids != usual.eos_token_ids) add_ids("end token", generation.eos_token_ids);
  if (generation.decoder_start_token_id != usual.decoder_start_token_id) {
    text += fmt::format(", start token {}", generation.decoder_start_token_id);
  }
  return text + prefix;
}

struct Batch {
  std::vector<Ids> inputs;
  std::vector<std::uint64_t> numbers;  ///< of the inputs, as Prompt::index
  std::vector<Ids> references;         ///< as long as inputs, or empty
  std::uint64_t drawn = 0;             ///< from the source
};

Batch next_batch(const Engine& engine, const TracePromptSource& source, const TracingOptions& options,
                 const TracingCallbacks& callbacks) {
  Batch batch;
  while (batch.inputs.size() < options.batch_size) {
    const std::optional<TracePrompt> next = source();
    if (!next) break;
    ++batch.drawn;
    const Prompt& prompt = next->prompt;
    try {
      Ids ids = input_ids(engine, prompt, options.prefix, options.max_input_tokens);
      if (next->reference) batch.references.push_back(engine.require_tokenizer().encode(*next->reference));
      warn_if_long(engine, prompt, ids.size(), callbacks.on_warning);
      batch.inputs.push_back(std::move(ids));
      batch.numbers.push_back(prompt.index);
    } catch (const UsageError& error) {
      if (!callbacks.on_skipped) throw;
      callbacks.on_skipped(prompt, error.what());
    }
  }
  return batch;
}

/// Feeds each row its reference token by token, as decoding would have.
void follow_references(Engine& engine, const Batch& batch, std::int32_t start) {
  model::MoeDevice& device = engine.device();
  model::Encoder encoder(engine.config(), engine.dense_weights(), device);
  model::Decoder decoder(engine.config(), engine.dense_weights(), device);
  device.begin_batch(batch.inputs.size());
  const MatrixView<const float> encoded = encoder.encode(batch.inputs);
  std::size_t longest = 0;
  for (const Ids& reference : batch.references) longest = std::max(longest, reference.size());
  decoder.begin(encoder.sequences(), encoded, longest);
  std::vector<std::size_t> rows(batch.inputs.size());
  for (std::size_t row = 0; row < rows.size(); ++row) rows[row] = row;
  Matrix<float> logits;
  for (std::size_t step = 0; step < longest; ++step) {
    std::vector<std::uint32_t> parents;
    std::vector<std::size_t> left;
    for (std::size_t row = 0; row < rows.size(); ++row) {
      if (step >= batch.references[rows[row]].size()) continue;  // its reference is over
      parents.push_back(static_cast<std::uint32_t>(row));
      left.push_back(rows[row]);
    }
    if (left.size() < rows.size()) decoder.reorder(parents);
    rows = std::move(left);
    Ids tokens;
    for (const std::size_t example : rows) tokens.push_back(step == 0 ? start : batch.references[example][step - 1]);
    logits.resize(tokens.size(), engine.config().vocab_size);
    decoder.step(tokens, logits);
  }
}

}  // namespace

Engine open_for_tracing(const std::filesystem::path& model, EngineOptions options,
                        const routing::TraceRecorderOptions& record, routing::TraceRecorder*& recorder) {
  options.decorate = [&recorder, record,
                      inner = std::move(options.decorate)](std::unique_ptr<model::MoeDevice> device) {
    if (inner) device = inner(std::move(device));
    auto recording = std::make_unique<routing::TraceRecorder>(std::move(device), record);
    recorder = recording.get();
    return recording;
  };
  return Engine::open(model, options);
}

routing::TraceInfo trace_info(const Engine& engine) {
  routing::TraceInfo info;
  info.model = engine.path().string();
  // A bundle's profile is that of the checkpoint it was packed from, whatever packing rounded.
  info.checksum = experts::Bundle::is_bundle(engine.path())
                      ? experts::Bundle::open(engine.path()).model_checksum()
                      : checksum_text(io::Checkpoint::open(engine.path()).content_checksum());
  info.experts = engine.config().num_experts;
  info.encoder_layers = engine.config().moe_layers(model::Stack::kEncoder);
  info.decoder_layers = engine.config().moe_layers(model::Stack::kDecoder);
  info.d_model = engine.config().d_model;
  info.vocabulary = engine.config().vocab_size;
  return info;
}

TracingSummary trace_prompts(Engine& engine, routing::TraceRecorder& recorder, const TracePromptSource& source,
                             const TracingOptions& options, const TracingCallbacks& callbacks,
                             const std::filesystem::path& output) {
  const auto begun = std::chrono::steady_clock::now();
  routing::TraceInfo info = trace_info(engine);
  if (info.decoder_layers == 0) throw UsageError(fmt::format("{} has no MoE layers to trace", info.model));
  if (!options.model.empty()) info.model = options.model;
  info.data = options.data;
  info.decoding = decoding_text(options);
  PartFolder parts(output, info,
                   {run_fingerprint(engine, {.generation = options.generation,
                                             .prefix = options.prefix,
                                             .max_input_tokens = options.max_input_tokens}),
                    engine.dense_weights().types, options.record.hidden});
  std::uint64_t drawn = 0;
  for (; drawn < parts.prompts(); ++drawn) {
    if (!source()) {
      throw UsageError(fmt::format(
          "{}.parts has the traces of more prompts than the input has; remove it to start over", output.string()));
    }
  }
  routing::Trace part;
  std::size_t part_examples = 0;
  const auto finish_part = [&] {
    parts.add(part, drawn);
    part = {};
    part_examples = 0;
  };
  const model::GenerationCallbacks generation_callbacks{.on_token = {}, .on_result = {}, .interrupted = interrupted};
  for (;;) {
    const Batch batch = next_batch(engine, source, options, callbacks);
    if (batch.drawn == 0) break;
    if (!batch.inputs.empty()) {
      try {
        if (batch.references.empty()) {
          model::GenerationOptions generation = options.generation;
          generation.input_numbers = batch.numbers;
          (void)engine.generator().generate(batch.inputs, generation, generation_callbacks);
        } else {
          throw_if_interrupted();
          follow_references(engine, batch, options.generation.decoder_start_token_id);
        }
      } catch (const Interrupted&) {
        finish_part();
        throw Interrupted(
            fmt::format("interrupted; {} prompts are traced, the same command goes on from there", parts.prompts()));
      }
      routing::Trace traced = recorder.take(batch.inputs);
      traced.info = info;
      part.append(traced);
      part_examples += batch.inputs.size();
    }
    drawn += batch.drawn;
    if (part_examples >= options.part_examples) finish_part();
    if (callbacks.on_progress) callbacks.on_progress(drawn);
  }
  finish_part();
  if (parts.empty()) throw UsageError("the input has no prompt that can be traced");
  parts.join(output);
  TracingSummary summary = parts.summary();
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  return summary;
}

}  // namespace flame::engine
