#include "flame/eval/text_predictions.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "flame/base/error.h"
#include "flame/base/progress.h"
#include "flame/base/thread_pool.h"
#include "flame/io/file.h"
#include "flame/io/json_lines.h"

namespace flame::eval {
namespace {

void add_prediction(const Json& line, const std::filesystem::path& file, std::uint64_t number, const std::string& key,
                    TextPredictions& predictions) {
  const JsonView view(line, fmt::format("{}: line {}", file.string(), number));
  const auto own_index = view.find("index");
  const std::uint64_t index = own_index ? own_index->as_unsigned() : number - 1;
  if (!predictions.emplace(index, view.at(key).as_string()).second) {
    view.fail(fmt::format("a second prediction for example {}", index));
  }
}

}  // namespace

TextPredictions read_predictions(const std::filesystem::path& file, const std::string& key) {
  io::JsonLinesOptions options;
  options.strict = true;
  io::JsonLinesReader reader(file, options);
  TextPredictions predictions;
  while (const std::optional<Json> line = reader.next()) {
    add_prediction(*line, file, reader.line(), key, predictions);
  }
  return predictions;
}

TextPredictions generate_predictions(engine::Engine& engine, std::span<const TextExample> examples,
                                     const engine::TextGenerationOptions& options, const std::filesystem::path& file,
                                     const std::function<void(const std::string& message)>& on_warning) {
  io::FileSystem& files = io::FileSystem::real();
  TextPredictions predictions;
  io::FinishedLines finished;
  const bool resumed = files.exists(file);
  if (resumed) {
    finished = io::scan_finished_lines(file, files, [&](std::uint64_t number, const Json& line) {
      add_prediction(line, file, number, "text", predictions);
    });
  }
  io::JsonLinesWriter writer =
      resumed ? io::JsonLinesWriter::resume(file, finished) : io::JsonLinesWriter::create(file);

  Progress progress("generating", examples.size());
  progress.advance(predictions.size());
  std::size_t next = 0;
  const engine::PromptSource source = [&]() -> std::optional<engine::Prompt> {
    while (next < examples.size() && predictions.contains(examples[next].index)) ++next;
    if (next == examples.size()) return std::nullopt;
    const TextExample& example = examples[next++];
    return engine::Prompt{.index = example.index, .text = example.input, .tokens = {}};
  };
  engine::TextGenerationCallbacks callbacks;
  callbacks.on_warning = on_warning;
  callbacks.on_output = [&](const engine::TextOutput& output) {
    if (output.texts.empty()) throw ModelError("the model has no tokenizer, so it gives no text to score");
    writer.append(engine::to_json(output));
    predictions.emplace(output.index, output.texts.front());
    progress.advance();
  };
  engine::generate_texts(engine, source, options, callbacks);
  writer.close();
  return predictions;
}

std::vector<RougeScores> score(std::span<const TextExample> examples, const TextPredictions& predictions, bool stem,
                               ManyReferences many) {
  std::size_t missing = 0;
  std::uint64_t first_missing = 0;
  for (const TextExample& example : examples) {
    if (predictions.contains(example.index)) continue;
    if (missing++ == 0) first_missing = example.index;
  }
  if (missing > 0) {
    throw ModelError(fmt::format("{} of {} examples have no prediction, the first of them example {} (counted from 0)",
                                 missing, examples.size(), first_missing));
  }
  std::vector<RougeScores> scores(examples.size());
  ThreadPool::parallel_for(examples.size(), 8, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      scores[i] = rouge(examples[i].references, predictions.at(examples[i].index), stem, many);
    }
  });
  return scores;
}

}  // namespace flame::eval
