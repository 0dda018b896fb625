#include "flame/engine/output_file.h"

#include <fmt/format.h>

#include <bit>
#include <nlohmann/json.hpp>
#include <utility>

#include "flame/base/checksum.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/experts/bundle.h"
#include "flame/io/checkpoint.h"
#include "flame/io/file.h"
#include "flame/kernels/vector_ops.h"

namespace flame::engine {
namespace {

template <typename Number>
void add_optional(Checksum& checksum, const std::optional<Number>& value) {
  checksum.add_number(value ? 1 : 0);
  if (value) checksum.add_number(static_cast<std::uint64_t>(*value));
}

void add_tokens(Checksum& checksum, const std::vector<std::int32_t>& tokens) {
  checksum.add_number(tokens.size());
  for (const std::int32_t token : tokens) checksum.add_number(static_cast<std::uint64_t>(token));
}

void add_real(Checksum& checksum, double value) { checksum.add_number(std::bit_cast<std::uint64_t>(value)); }

void add_options(Checksum& checksum, const model::GenerationOptions& options) {
  checksum.add_number(options.length_limit());
  checksum.add_number(options.length_floor());
  checksum.add_number(options.num_beams);
  checksum.add_number(options.num_return_sequences);
  add_real(checksum, options.length_penalty);
  checksum.add_number(static_cast<std::uint64_t>(options.early_stopping));
  add_real(checksum, options.repetition_penalty);
  checksum.add_number(options.no_repeat_ngram_size);
  checksum.add_number(options.bad_words_ids.size());
  for (const std::vector<std::int32_t>& word : options.bad_words_ids) add_tokens(checksum, word);
  add_tokens(checksum, options.suppress_tokens);
  add_tokens(checksum, options.begin_suppress_tokens);
  add_optional(checksum, options.forced_bos_token_id);
  add_tokens(checksum, options.forced_eos_token_ids);
  checksum.add_number(options.do_sample ? 1 : 0);
  if (options.do_sample) {
    add_real(checksum, options.temperature);
    checksum.add_number(options.top_k);
    add_real(checksum, options.top_p);
    checksum.add_number(options.seed);
  }
  checksum.add_number(static_cast<std::uint64_t>(options.decoder_start_token_id));
  add_tokens(checksum, options.eos_token_ids);
}

void add_options(Checksum& checksum, const TextGenerationOptions& options) {
  checksum.add_text(options.prefix);
  add_optional(checksum, options.max_input_tokens);
  add_options(checksum, options.generation);
}

}  // namespace

std::string run_fingerprint(const Engine& engine, const TextGenerationOptions& options) {
  Checksum checksum;
  if (experts::Bundle::is_bundle(engine.path())) {
    // Its flame.json holds the checksums of all the rest.
    checksum.add_text(io::read_file(engine.path() / "flame.json"));
  } else {
    checksum.add_number(io::Checkpoint::open(engine.path()).content_checksum());
  }
  checksum.add_text(model::to_json(engine.config(), DataType::kF32));
  checksum.add_text(kernels::name_of(engine.config().gated_activation));  // which is not in it
  if (engine.tokenizer() != nullptr) {
    for (const std::filesystem::path& file : engine.tokenizer()->files()) checksum.add_text(io::read_file(file));
  }
  checksum.add_text(engine.dense_weights().types);
  checksum.add_number(static_cast<std::uint64_t>(engine.dense_weights().key_value_type));
  add_options(checksum, options);
  return checksum_text(checksum.value());
}

std::string options_fingerprint(const TextGenerationOptions& options) {
  Checksum checksum;
  add_options(checksum, options);
  return checksum_text(checksum.value());
}

std::string prompt_fingerprint(const Prompt& prompt) {
  Checksum checksum;
  checksum.add_text(prompt.text);
  add_tokens(checksum, prompt.tokens);
  return checksum_text(checksum.value());
}

OutputFile::OutputFile(std::filesystem::path path, Mode mode) : path_(std::move(path)) {
  io::FileSystem& files = io::FileSystem::real();
  if (!files.exists(path_)) {
    writer_ = io::JsonLinesWriter::create(path_);
    is_new_ = true;
    return;
  }
  if (files.is_directory(path_)) {
    throw UsageError(fmt::format("{}: is a directory; name a file to write", path_.string()));
  }
  if (!files.is_regular(path_)) {
    if (mode == Mode::kResume) {
      throw UsageError(fmt::format("{}: is a pipe or device, which holds nothing to go on from", path_.string()));
    }
    writer_ = io::JsonLinesWriter::create(path_);
    return;
  }
  if (mode == Mode::kNew) {
    throw UsageError(fmt::format("{}: exists already; go on from it with --resume, or remove it", path_.string()));
  }
  const io::FinishedLines lines = io::scan_finished_lines(path_, files, [&](std::uint64_t number, const Json& line) {
    const JsonView view(line, fmt::format("{}: line {}", path_.string(), number));
    const JsonView fingerprint = view.at("fingerprint");
    const std::string run = fingerprint.at("run").as_string();
    if (earlier_run_.value_or(run) != run) view.fail("was written by another run than the lines before it");
    earlier_run_ = run;
    finished_[view.at("index").as_unsigned()] = fingerprint.at("prompt").as_string();
  });
  writer_ = io::JsonLinesWriter::resume(path_, lines);
}

OutputFile::~OutputFile() {
  if (!is_new_) return;
  std::error_code ignored;  // a file too many is no reason to hide why nothing was written
  std::filesystem::remove(path_, ignored);
}

void OutputFile::begin_run(std::string fingerprint) {
  if (earlier_run_.value_or(fingerprint) != fingerprint) {
    throw UsageError(fmt::format(
        "{}: its lines were made by another model or with other options (fingerprint {}, now {}); finish it "
        "with the command that began it, or name another file",
        path_.string(), *earlier_run_, fingerprint));
  }
  run_ = std::move(fingerprint);
}

bool OutputFile::begin_prompt(const Prompt& prompt) {
  std::string fingerprint = prompt_fingerprint(prompt);
  const auto found = finished_.find(prompt.index);
  if (found == finished_.end()) {
    begun_[prompt.index] = std::move(fingerprint);
    return true;
  }
  if (found->second == fingerprint) return false;
  throw UsageError(
      fmt::format("{}: its line with \"index\" {} was made from another prompt than the input now has there; "
                  "finish it with the input that began it, or name another file",
                  path_.string(), prompt.index));
}

void OutputFile::append(const TextOutput& output) {
  const auto begun = begun_.extract(output.index);
  Json line = to_json(output);
  line["fingerprint"] = {{"run", run_}, {"prompt", begun.mapped()}};
  writer_->append(line);
  is_new_ = false;
}

void OutputFile::close() {
  writer_->close();
  is_new_ = false;
}

}  // namespace flame::engine
