#include "flame/eval/text_predictions.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "flame/base/error.h"
#include "flame/base/progress.h"
#include "flame/base/thread_pool.h"
#include "flame/engine/output_file.h"
#include "flame/io/file.h"
#include "flame/io/json_lines.h"

namespace flame::eval {

TextPredictions read_predictions(const std::filesystem::path& file, const std::string& key) {
  io::JsonLinesOptions options;
  options.strict = true;
  io::JsonLinesReader reader(file, options);
  TextPredictions predictions;
  while (const std::optional<Json> line = reader.next()) {
    const JsonView view(*line, fmt::format("{}: line {}", file.string(), reader.line()));
    const auto own_index = view.find("index");
    const std::uint64_t index = own_index ? own_index->as_unsigned() : reader.line() - 1;
    if (!predictions.emplace(index, view.at(key).as_string()).second) {
      view.fail(fmt::format("a second prediction for example {}", index));
    }
  }
  return predictions;
}

TextPredictions generate_predictions(engine::Engine& engine, std::span<const TextExample> examples,
                                     const engine::TextGenerationOptions& options, const std::filesystem::path& file,
                                     const std::function<void(const std::string& message)>& on_warning) {
  using Mode = engine::OutputFile::Mode;
  engine::OutputFile output(file, io::FileSystem::real().exists(file) ? Mode::kResume : Mode::kNew);
  output.begin_run(engine::run_fingerprint(engine, options));
  TextPredictions predictions = read_predictions(file);

  Progress progress("generating", examples.size());
  std::size_t next = 0;
  const engine::PromptSource source = [&]() -> std::optional<engine::Prompt> {
    while (next < examples.size()) {
      const TextExample& example = examples[next++];
      engine::Prompt prompt{.index = example.index, .text = example.input, .tokens = {}};
      if (output.begin_prompt(prompt)) return prompt;
      progress.advance();
    }
    return std::nullopt;
  };
  engine::TextGenerationCallbacks callbacks;
  callbacks.on_warning = on_warning;
  callbacks.on_output = [&](const engine::TextOutput& generated) {
    if (generated.texts.empty()) throw ModelError("the model has no tokenizer, so it gives no text to score");
    output.append(generated);
    predictions.emplace(generated.index, generated.texts.front());
    progress.advance();
  };
  engine::generate_texts(engine, source, options, callbacks);
  output.close();
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
