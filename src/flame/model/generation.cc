#include "flame/model/generation.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/random.h"
#include "flame/base/thread_pool.h"
#include "flame/kernels/vector_ops.h"
#include "flame/model/beam_search.h"
#include "flame/model/decoder.h"
#include "flame/model/encoder.h"
#include "flame/model/input_memory.h"
#include "flame/model/logits_processor.h"

namespace flame::model {
namespace {

using Clock = std::chrono::steady_clock;

// Room that the caches get before the first step; longer outputs make them grow.
constexpr std::size_t kPositionsAhead = 128;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void check_inputs(std::span<const std::vector<std::int32_t>> inputs, std::size_t vocab_size) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].empty()) throw UsageError("input " + std::to_string(i) + " of the batch has no tokens");
    for (const std::int32_t token : inputs[i]) {
      if (token >= 0 && static_cast<std::size_t>(token) < vocab_size) continue;
      throw UsageError("input " + std::to_string(i) + " of the batch holds token id " + std::to_string(token) +
                       "; the model's vocabulary has ids 0 to " + std::to_string(vocab_size - 1));
    }
  }
}

// Parents that change nothing.
bool is_identity(std::span<const std::uint32_t> parents, std::size_t rows) {
  if (parents.size() != rows) return false;
  for (std::size_t i = 0; i < rows; ++i) {
    if (parents[i] != i) return false;
  }
  return true;
}

// A token at random by the softmax of `scores`, which are overwritten with it.
std::int32_t sample(std::span<float> scores, Random& random) {
  kernels::softmax(scores);
  double sum = 0.0;
  for (const float probability : scores) sum += probability;
  double left = random.next_uniform() * sum;
  std::size_t last_possible = 0;
  for (std::size_t token = 0; token < scores.size(); ++token) {
    if (scores[token] <= 0.0F) continue;
    last_possible = token;
    left -= scores[token];
    if (left < 0.0) break;
  }
  return static_cast<std::int32_t>(last_possible);
}

void throw_if_asked(const GenerationCallbacks& callbacks) {
  if (callbacks.interrupted && callbacks.interrupted()) throw Interrupted("interrupted while generating");
}

std::uint64_t number_of(const GenerationOptions& options, std::size_t input) {
  return options.input_numbers.empty() ? input : options.input_numbers[input];
}

bool is_end(const GenerationOptions& options, std::int32_t token) {
  return std::ranges::find(options.eos_token_ids, token) != options.eos_token_ids.end();
}

// One sequence that greedy decoding or sampling makes.
struct Row {
  std::size_t input = 0;
  std::size_t sequence = 0;          // of the input's sequences
  std::vector<std::int32_t> tokens;  // the start token first
  Random random{0};
};

}  // namespace

struct Generator::Implementation {
  Implementation(const SwitchConfig& model_config, const DenseWeights& weights, MoeDevice& moe_device)
      : config(model_config),
        dense(weights),
        device(moe_device),
        encoder(model_config, weights, moe_device),
        decoder(model_config, weights, moe_device) {}

  void encode(std::span<const std::vector<std::int32_t>> inputs, const GenerationOptions& options,
              const GenerationCallbacks& callbacks);
  void step(std::span<const std::int32_t> tokens, const GenerationCallbacks& callbacks);
  void reorder(std::span<const std::uint32_t> parents);
  void finish(std::size_t input, const GenerationResult& result, const GenerationCallbacks& callbacks);
  std::vector<GenerationResult> run_rows(std::size_t inputs, const GenerationOptions& options,
                                         const GenerationCallbacks& callbacks);
  std::vector<GenerationResult> run_beams(std::size_t inputs, const GenerationOptions& options,
                                          const GenerationCallbacks& callbacks);
  void choose_tokens(std::vector<Row>& rows, const GenerationOptions& options);

  const SwitchConfig& config;
  const DenseWeights& dense;
  MoeDevice& device;
  Encoder encoder;
  Decoder decoder;
  GenerationStatistics statistics;
  Matrix<float> logits;  // [rows, vocab]
  Clock::time_point start;
  Clock::time_point decoding_since;
  std::vector<LogitsProcessor> processors;  // one a batch row, as rows are processed in parallel
};

void Generator::Implementation::encode(std::span<const std::vector<std::int32_t>> inputs,
                                       const GenerationOptions& options, const GenerationCallbacks& callbacks) {
  throw_if_asked(callbacks);
  std::size_t tokens = 0;
  for (const std::vector<std::int32_t>& input : inputs) tokens += input.size();
  require_input_memory(config, dense, tokens);
  start = Clock::now();
  device.begin_batch(inputs.size());
  const MatrixView<const float> encoded = encoder.encode(inputs, [&] { throw_if_asked(callbacks); });
  decoder.begin(encoder.sequences(), encoded, std::min(options.length_limit(), kPositionsAhead));
  statistics.encoder_seconds = seconds_since(start);
  statistics.input_tokens = tokens;
}

void Generator::Implementation::step(std::span<const std::int32_t> tokens, const GenerationCallbacks& callbacks) {
  throw_if_asked(callbacks);
  logits.resize(tokens.size(), config.vocab_size);
  decoder.step(tokens, logits);
  if (statistics.decoder_steps == 0) statistics.first_token_seconds = seconds_since(start);
  ++statistics.decoder_steps;
  statistics.decoder_tokens += tokens.size();
}

void Generator::Implementation::finish(std::size_t input, const GenerationResult& result,
                                       const GenerationCallbacks& callbacks) {
  statistics.decoder_seconds = seconds_since(decoding_since);
  for (const GeneratedSequence& sequence : result.sequences) statistics.output_tokens += sequence.tokens.size();
  if (callbacks.on_result) callbacks.on_result(input, result);
}

void Generator::Implementation::reorder(std::span<const std::uint32_t> parents) {
  if (!is_identity(parents, decoder.rows())) decoder.reorder(parents);
}

void Generator::Implementation::choose_tokens(std::vector<Row>& rows, const GenerationOptions& options) {
  ThreadPool::parallel_for(rows.size(), 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::span<float> scores = logits.row(i);
      processors[i].constrain(rows[i].tokens, scores);
      if (options.do_sample) {
        processors[i].warp(scores);
        rows[i].tokens.push_back(sample(scores, rows[i].random));
      } else {
        rows[i].tokens.push_back(static_cast<std::int32_t>(kernels::argmax(scores)));
      }
    }
  });
}

std::vector<GenerationResult> Generator::Implementation::run_rows(std::size_t inputs, const GenerationOptions& options,
                                                                  const GenerationCallbacks& callbacks) {
  const std::size_t sequences = options.num_return_sequences;
  std::vector<GenerationResult> results(inputs);
  std::vector<std::size_t> unfinished(inputs, sequences);
  std::vector<Row> rows;
  std::vector<std::uint32_t> parents;
  for (std::size_t i = 0; i < inputs * sequences; ++i) {
    const std::size_t input = i / sequences;
    rows.push_back({.input = input,
                    .sequence = i % sequences,
                    .tokens = {options.decoder_start_token_id},
                    .random = Random(options.seed, number_of(options, input) * sequences + i % sequences)});
    rows.back().tokens.reserve(std::min(options.length_limit(), kPositionsAhead) + 1);
    parents.push_back(static_cast<std::uint32_t>(input));
    results[input].sequences.resize(sequences);
  }
  reorder(parents);
  processors.assign(rows.size(), LogitsProcessor(options, config.vocab_size));

  std::vector<std::int32_t> last;
  while (!rows.empty()) {
    last.clear();
    for (const Row& row : rows) last.push_back(row.tokens.back());
    step(last, callbacks);
    choose_tokens(rows, options);

    parents.clear();
    std::size_t kept = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const std::int32_t token = rows[i].tokens.back();
      const std::size_t input = rows[i].input;
      if (callbacks.on_token && sequences == 1) callbacks.on_token(input, token);
      if (!is_end(options, token) && rows[i].tokens.size() < options.length_limit()) {
        parents.push_back(static_cast<std::uint32_t>(i));
        if (kept != i) std::swap(rows[kept], rows[i]);
        ++kept;
        continue;
      }
      results[input].sequences[rows[i].sequence].tokens.assign(rows[i].tokens.begin() + 1, rows[i].tokens.end());
      if (--unfinished[input] == 0) finish(input, results[input], callbacks);
    }
    rows.resize(kept);
    if (!rows.empty()) reorder(parents);
  }
  return results;
}

std::vector<GenerationResult> Generator::Implementation::run_beams(std::size_t inputs, const GenerationOptions& options,
                                                                   const GenerationCallbacks& callbacks) {
  const std::size_t beams = options.num_beams;
  std::vector<GenerationResult> results(inputs);
  std::vector<BeamSearch> searches(inputs, BeamSearch(options, config.vocab_size));
  std::vector<std::size_t> running;  // inputs, in the order of their rows
  std::vector<std::uint32_t> parents;
  for (std::size_t input = 0; input < inputs; ++input) {
    running.push_back(input);
    parents.insert(parents.end(), beams, static_cast<std::uint32_t>(input));
  }
  reorder(parents);
  processors.assign(inputs * beams, LogitsProcessor(options, config.vocab_size));

  std::vector<std::int32_t> last;
  while (!running.empty()) {
    last.clear();
    for (const std::size_t input : running) {
      for (const Beam& beam : searches[input].running()) last.push_back(beam.tokens.back());
    }
    step(last, callbacks);
    ThreadPool::parallel_for(last.size(), 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t row = begin; row < end; ++row) {
        log_softmax(logits.row(row));
        const Beam& beam = searches[running[row / beams]].running()[row % beams];
        processors[row].constrain(beam.tokens, logits.row(row));
      }
    });

    parents.clear();
    std::size_t kept = 0;
    for (std::size_t i = 0; i < running.size(); ++i) {
      const std::size_t input = running[i];
      BeamSearch& search = searches[input];
      search.advance(logits.view().rows_from(i * beams, beams));
      if (!search.done()) {
        for (const std::uint32_t parent : search.parents()) {
          parents.push_back(static_cast<std::uint32_t>(i * beams) + parent);
        }
        running[kept++] = input;
        continue;
      }
      for (const Beam& beam : search.finished().first(options.num_return_sequences)) {
        results[input].sequences.push_back({{beam.tokens.begin() + 1, beam.tokens.end()}, beam.score});
      }
      finish(input, results[input], callbacks);
    }
    running.resize(kept);
    if (!running.empty()) reorder(parents);
  }
  return results;
}

Generator::Generator(const SwitchConfig& config, const DenseWeights& weights, MoeDevice& device)
    : implementation_(std::make_unique<Implementation>(config, weights, device)) {}

Generator::~Generator() = default;

std::vector<GenerationResult> Generator::generate(std::span<const std::vector<std::int32_t>> inputs,
                                                  const GenerationOptions& options,
                                                  const GenerationCallbacks& callbacks) {
  Implementation& self = *implementation_;
  self.statistics = {};
  check_options(options, self.config.vocab_size);
  check_inputs(inputs, self.config.vocab_size);
  if (!options.input_numbers.empty() && options.input_numbers.size() != inputs.size()) {
    throw UsageError("the batch has " + std::to_string(inputs.size()) + " inputs, and numbers for " +
                     std::to_string(options.input_numbers.size()));
  }
  if (inputs.empty()) return {};

  self.encode(inputs, options, callbacks);
  self.decoding_since = Clock::now();
  // The counts stand when a callback or the device throws, too.
  struct Stopwatch {
    Implementation& self;
    ~Stopwatch() { self.statistics.decoder_seconds = seconds_since(self.decoding_since); }
  };
  const Stopwatch stopwatch{self};
  return options.num_beams > 1 ? self.run_beams(inputs.size(), options, callbacks)
                               : self.run_rows(inputs.size(), options, callbacks);
}

const GenerationStatistics& Generator::statistics() const { return implementation_->statistics; }

std::size_t Generator::cache_bytes() const { return implementation_->decoder.cache_bytes(); }

}  // namespace flame::model
