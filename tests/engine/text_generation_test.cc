#include "flame/engine/text_generation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
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

TEST_F(TextGeneration, CutsLongerInputsAndKeepsTheEndToken) {
  const Prompt text{.index = 0, .text = "One fine day two birds sang.", .tokens = {}};
  const std::vector<std::int32_t> whole = input_ids(engine_, text, "say: ");
  std::vector<std::int32_t> cut(whole.begin(), whole.begin() + 4);
  cut.push_back(1);
  EXPECT_EQ(input_ids(engine_, text, "say: ", 5), cut);
  EXPECT_EQ(input_ids(engine_, text, "say: ", whole.size()), whole);
  const Prompt ids{.index = 0, .text = {}, .tokens = {9, 8, 7, 6, 1}};
  EXPECT_THAT(input_ids(engine_, ids, "", 3), ::testing::ElementsAre(9, 8, 1));
  const Prompt without_end{.index = 0, .text = {}, .tokens = {9, 8, 7, 6}};
  EXPECT_THAT(input_ids(engine_, without_end, "", 3), ::testing::ElementsAre(9, 8, 7));
  options_.max_input_tokens = 5;
  EXPECT_EQ(run({text.text}).at(0).input_tokens, 5U);
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

TEST_F(TextGeneration, GivesAnOutputOfABatchAsSoonAsItIsDone) {
  // The end token of one becomes what the other must not stop at: they finish at different steps.
  options_.generation.max_new_tokens = 12;
  options_.batch_size = 2;
  const std::vector<std::string> texts = {"One.", "Two birds sang, and then a third."};
  const auto alone = run(texts);
  const auto& first = alone.at(0).sequences.front().tokens;
  const auto& second = alone.at(1).sequences.front().tokens;
  const auto different = std::find_if(second.begin(), second.end(), [&](std::int32_t token) {
    return std::find(first.begin(), first.end(), token) == first.end();
  });
  ASSERT_NE(different, second.end());
  options_.generation.eos_token_ids = {*different};
  std::vector<std::uint64_t> order;
  std::vector<std::uint64_t> steps;
  callbacks_.on_output = [&](const TextOutput& output) {
    order.push_back(output.index);
    steps.push_back(engine_.generator().statistics().decoder_steps);
  };
  total_ = generate_texts(engine_, from(texts), options_, callbacks_);
  EXPECT_THAT(order, ::testing::ElementsAre(1, 0));
  EXPECT_LT(steps[0], steps[1]) << "the first was given while the other was still running";
  order.clear();
  options_.keep_order = true;
  total_ = generate_texts(engine_, from(texts), options_, callbacks_);
  EXPECT_THAT(order, ::testing::ElementsAre(0, 1));
}

TEST_F(TextGeneration, GivesWhatWasDoneWhenTheBatchFails) {
  options_.generation.max_new_tokens = 12;
  options_.batch_size = 2;
  options_.keep_order = true;
  const std::vector<std::string> texts = {"One.", "Two birds sang, and then a third."};
  const auto alone = run(texts);
  const auto& first = alone.at(0).sequences.front().tokens;
  const auto& second = alone.at(1).sequences.front().tokens;
  const auto different = std::find_if(second.begin(), second.end(), [&](std::int32_t token) {
    return std::find(first.begin(), first.end(), token) == first.end();
  });
  ASSERT_NE(different, second.end());
  options_.generation.eos_token_ids = {*different};
  // The device of this engine fails once the second prompt is done.
  struct Failing final : model::MoeDevice {
    explicit Failing(std::unique_ptr<model::MoeDevice> wrapped, std::size_t allowed)
        : device(std::move(wrapped)), steps_left(allowed) {}
    void begin_batch(std::size_t sequences) override { device->begin_batch(sequences); }
    void reorder(std::span<const std::uint32_t> parents) override { device->reorder(parents); }
    void feed(std::span<const std::int32_t> tokens) override {
      if (steps_left-- == 0) throw DeviceError("broken");
      device->feed(tokens);
    }
    void approach(model::MoeLayer layer, MatrixView<const float> hidden) override { device->approach(layer, hidden); }
    void route(const model::MoeInput& input, std::span<model::RoutingDecision> decisions) override {
      device->route(input, decisions);
    }
    void compute(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions,
                 MatrixView<float> output) override {
      device->compute(input, decisions, output);
    }
    void begin_statistics() override { device->begin_statistics(); }
    [[nodiscard]] model::MoeStatistics statistics() const override { return device->statistics(); }
    [[nodiscard]] std::string describe() const override { return device->describe(); }
    std::unique_ptr<model::MoeDevice> device;
    std::size_t steps_left = 0;
  };
  const auto steps = static_cast<std::size_t>(different - second.begin()) + 1;
  EngineOptions setup;
  setup.decorate = [&](std::unique_ptr<model::MoeDevice> device) {
    return std::make_unique<Failing>(std::move(device), steps);
  };
  Engine failing = Engine::open(test::tiny_checkpoint(), setup);
  std::vector<std::uint64_t> given;
  callbacks_.on_output = [&](const TextOutput& output) { given.push_back(output.index); };
  EXPECT_THROW(generate_texts(failing, from(texts), options_, callbacks_), DeviceError);
  EXPECT_THAT(given, ::testing::ElementsAre(1));
}

TEST_F(TextGeneration, AnOutputsTokensAreItsOwnAndItsTimesTheBatchs) {
  options_.batch_size = 3;
  const auto outputs = run({"One.", "Two birds sang, and then a third.", "Three."});
  for (const auto& [index, output] : outputs) {
    EXPECT_EQ(output.statistics.prompts, 3U);
    EXPECT_EQ(output.statistics.input_tokens, output.input_tokens);
    EXPECT_EQ(output.statistics.output_tokens, output.sequences.front().tokens.size());
    EXPECT_EQ(output.statistics.encoder_seconds, outputs.at(0).statistics.encoder_seconds);
    EXPECT_LE(output.statistics.decoder_seconds, total_.decoder_seconds);
  }
  EXPECT_EQ(total_.prompts, 3U);
}

TEST_F(TextGeneration, SamplesTheSameTextsInAnyBatch) {
  options_.generation.do_sample = true;
  options_.generation.top_k = 0;
  options_.generation.temperature = 3.0;
  options_.generation.seed = 5;
  const std::vector<std::string> texts = {"One.", "One.", "", "One."};
  callbacks_.on_skipped = [](const Prompt&, const std::string&) {};
  const auto alone = run(texts);
  EXPECT_NE(alone.at(0).sequences.front().tokens, alone.at(1).sequences.front().tokens) << "each has its own numbers";
  for (const std::size_t batch : {2U, 4U}) {
    options_.batch_size = batch;
    const auto together = run(texts);
    for (const auto& [index, output] : alone) {
      EXPECT_EQ(together.at(index).sequences.front().tokens, output.sequences.front().tokens) << batch;
    }
  }
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
