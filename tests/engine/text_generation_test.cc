#include "flame/engine/text_generation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/engine/engine.h"
#include "support/tiny_checkpoint.h"

namespace flame::engine {
namespace {

PromptSource from(std::vector<std::string> texts) {
  return [texts = std::move(texts), next = std::size_t{0}]() mutable -> std::optional<Prompt> {
    if (next == texts.size()) return std::nullopt;
    const std::size_t index = next++;
    return Prompt{.index = index, .text = texts[index], .tokens = {}};
  };
}

class TextGeneration : public ::testing::Test {
 protected:
  TextGeneration() { options_.generation.max_new_tokens = 6; }

  std::map<std::uint64_t, TextOutput> run(std::vector<std::string> texts) {
    std::map<std::uint64_t, TextOutput> outputs;
    callbacks_.on_output = [&](const TextOutput& output) { outputs.emplace(output.index, output); };
    total_ = generate_texts(engine_, from(std::move(texts)), options_, callbacks_);
    return outputs;
  }

  Engine engine_ = Engine::open(test::tiny_checkpoint());
  TextGenerationOptions options_;
  TextGenerationCallbacks callbacks_;
  RunStatistics total_;
};

TEST_F(TextGeneration, AnswersEveryPromptWhateverTheBatchSize) {
  const std::vector<std::string> texts = {"One.", "Two birds sang, and then a third.", "Three.", "Four and more."};
  const auto alone = run(texts);
  ASSERT_EQ(alone.size(), 4U);
  for (const std::size_t batch : {2U, 3U, 8U}) {
    options_.batch_size = batch;
    const auto together = run(texts);
    ASSERT_EQ(together.size(), 4U);
    for (const auto& [index, output] : alone) {
      EXPECT_EQ(together.at(index).sequences.front().tokens, output.sequences.front().tokens) << batch;
    }
  }
}

TEST_F(TextGeneration, StreamsExactlyTheTextOfTheOutput) {
  std::string streamed;
  callbacks_.on_text = [&](std::string_view piece) { streamed += piece; };
  const auto outputs = run({"Hello there."});
  EXPECT_EQ(streamed, outputs.at(0).texts.front());
}

TEST_F(TextGeneration, DoesNotStreamBeams) {
  options_.generation.num_beams = 2;
  callbacks_.on_text = [](std::string_view) { FAIL() << "a beam's text may be taken back"; };
  EXPECT_EQ(run({"Hello there."}).size(), 1U);
}

TEST_F(TextGeneration, PutsThePrefixBeforeEveryText) {
  const auto plain = run({"summarize: Hello."});
  options_.prefix = "summarize: ";
  EXPECT_EQ(run({"Hello."}).at(0).input_tokens, plain.at(0).input_tokens);
}

TEST_F(TextGeneration, ThrowsForAnEmptyPromptUnlessTheCallerSkips) {
  EXPECT_THROW(run({"One.", " \n"}), UsageError);
  std::vector<std::uint64_t> skipped;
  callbacks_.on_skipped = [&](const Prompt& prompt, const std::string&) { skipped.push_back(prompt.index); };
  EXPECT_EQ(run({"One.", " \n", "caf\xe9", "Four."}).size(), 2U);
  EXPECT_EQ(skipped, (std::vector<std::uint64_t>{1, 2}));
}

TEST_F(TextGeneration, WarnsOfAPromptLongerThanTheModelWasMadeFor) {
  std::vector<std::string> warnings;
  callbacks_.on_warning = [&](const std::string& message) { warnings.push_back(message); };
  std::string text;
  for (std::size_t i = 0; i < engine_.longest_input(); ++i) text += "word ";
  run({text, "short"});
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_THAT(warnings.front(), ::testing::HasSubstr("prompt 1"));
}

TEST_F(TextGeneration, CountsWhatItDid) {
  const auto outputs = run({"One.", "Two."});
  std::uint64_t tokens = 0;
  for (const auto& [index, output] : outputs) tokens += output.sequences.front().tokens.size();
  EXPECT_EQ(total_.output_tokens, tokens);
  EXPECT_EQ(total_.input_tokens, outputs.at(0).input_tokens + outputs.at(1).input_tokens);
  EXPECT_GT(total_.peak_memory_bytes, 0U);
  EXPECT_EQ(total_.experts.late + total_.experts.misses, 0U) << "all experts are resident";
  EXPECT_GT(total_.experts.hits, 0U);
}

TEST_F(TextGeneration, KeepsWhatWasFinishedWhenInterrupted) {
  std::vector<std::uint64_t> finished;
  callbacks_.on_output = [&](const TextOutput& output) {
    finished.push_back(output.index);
    request_interrupt();
  };
  EXPECT_THROW(generate_texts(engine_, from({"One.", "Two.", "Three."}), options_, callbacks_), Interrupted);
  clear_interrupt();
  EXPECT_EQ(finished, (std::vector<std::uint64_t>{0}));
  EXPECT_EQ(run({"One."}).size(), 1U) << "the engine can be used again";
}

TEST_F(TextGeneration, RefusesABatchOfNothing) {
  options_.batch_size = 0;
  EXPECT_THROW(run({"One."}), UsageError);
}

TEST_F(TextGeneration, WritesTheContractsKeys) {
  const Json line = to_json(run({"One."}).at(0));
  for (const char* key : {"text", "tokens", "input_tokens", "stats"}) EXPECT_TRUE(line.contains(key)) << key;
  EXPECT_EQ(line.at("tokens").size(), line.at("stats").at("output_tokens").get<std::size_t>());
}

}  // namespace
}  // namespace flame::engine
