#include "flame/engine/tracing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/routing/trace.h"
#include "support/test_data.h"
#include "support/tiny_checkpoint.h"

namespace flame::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

const std::vector<std::string> kTexts = {"One.", "Two birds sang, and then a third.", "Three.", "Four and more.",
                                         "Five!"};

class Tracing : public ::testing::Test {
 protected:
  Tracing() : engine_(open_for_tracing(test::tiny_checkpoint(), {}, {.hidden = true, .approach = true}, recorder_)) {
    options_.generation.max_new_tokens = 6;
    options_.record = {.hidden = true, .approach = true};
    options_.batch_size = 2;
    options_.part_examples = 2;
    options_.data = "test";
  }

  TracePromptSource prompts(std::optional<std::string> reference = {}, std::size_t fail_at = 100) {
    return [this, reference = std::move(reference), fail_at,
            next = std::size_t{0}]() mutable -> std::optional<TracePrompt> {
      if (next == fail_at) request_interrupt();
      if (next == kTexts.size()) return std::nullopt;
      TracePrompt prompt;
      prompt.prompt.index = next;
      prompt.prompt.text = kTexts[next++];
      prompt.reference = reference;
      return prompt;
    };
  }

  routing::Trace read(const std::string& name) {
    return routing::read_trace(folder_ / name, {.hidden = true, .approach = true});
  }

  test::TemporaryDirectory folder_;
  routing::TraceRecorder* recorder_ = nullptr;
  Engine engine_;
  TracingOptions options_;
  TracingCallbacks callbacks_;
};

TEST_F(Tracing, RecordsEveryDecisionOfWhatIsGenerated) {
  const TracingSummary summary = trace_prompts(engine_, *recorder_, prompts(), options_, callbacks_, folder_ / "t");
  EXPECT_EQ(summary.examples, kTexts.size());
  EXPECT_FALSE(std::filesystem::exists(folder_ / "t.parts"));
  const routing::Trace trace = read("t");
  EXPECT_EQ(trace.decoder.steps(), summary.decoder_steps);
  EXPECT_EQ(trace.info.experts, engine_.config().num_experts);
  EXPECT_EQ(trace.info.decoder_layers, engine_.config().moe_layers(model::Stack::kDecoder));
  EXPECT_EQ(trace.info.checksum.size(), 16U);
  EXPECT_EQ(trace.decoder.hidden.size(), trace.decoder.experts.size() * engine_.config().d_model);
  EXPECT_EQ(trace.decoder.approach.size(), trace.decoder.hidden.size());
  const std::vector<routing::StepRange> encoder = routing::examples_of(trace.encoder);
  const std::vector<routing::StepRange> decoder = routing::examples_of(trace.decoder);
  ASSERT_EQ(decoder.size(), kTexts.size());
  Engine plain = Engine::open(test::tiny_checkpoint());
  for (std::size_t i = 0; i < kTexts.size(); ++i) {
    const std::vector<std::int32_t> input = engine_.require_tokenizer().encode(kTexts[i]);
    const std::vector<std::int32_t> output =
        plain.generator()
            .generate(std::vector<std::vector<std::int32_t>>{input}, options_.generation)
            .front()
            .sequences.front()
            .tokens;
    std::vector<std::int32_t> fed = {options_.generation.decoder_start_token_id};
    fed.insert(fed.end(), output.begin(), output.end() - 1);
    const auto steps = [](const routing::StackTrace& stack, routing::StepRange range) {
      return std::vector<std::int32_t>(stack.token.begin() + static_cast<std::ptrdiff_t>(range.first),
                                       stack.token.begin() + static_cast<std::ptrdiff_t>(range.end));
    };
    EXPECT_EQ(steps(trace.encoder, encoder[i]), input);
    EXPECT_EQ(steps(trace.decoder, decoder[i]), fed);
  }
}

TEST_F(Tracing, DoesNotDependOnTheBatch) {
  trace_prompts(engine_, *recorder_, prompts(), options_, callbacks_, folder_ / "a");
  options_.batch_size = 4;
  trace_prompts(engine_, *recorder_, prompts(), options_, callbacks_, folder_ / "b");
  EXPECT_EQ(read("a").decoder.experts, read("b").decoder.experts);
  EXPECT_EQ(read("a").encoder.experts, read("b").encoder.experts);
}

TEST_F(Tracing, GoesOnFromWhereAnInterruptedRunStopped) {
  trace_prompts(engine_, *recorder_, prompts(), options_, callbacks_, folder_ / "whole");
  EXPECT_THROW(trace_prompts(engine_, *recorder_, prompts({}, 3), options_, callbacks_, folder_ / "t"), Interrupted);
  clear_interrupt();
  EXPECT_FALSE(std::filesystem::exists(folder_ / "t"));
  const TracingSummary summary = trace_prompts(engine_, *recorder_, prompts(), options_, callbacks_, folder_ / "t");
  EXPECT_EQ(summary.resumed, 2U);
  EXPECT_EQ(summary.examples, kTexts.size());
  EXPECT_EQ(read("t").decoder.experts, read("whole").decoder.experts);
  EXPECT_EQ(read("t").decoder.example, read("whole").decoder.example);
  EXPECT_EQ(read("t").decoder.hidden, read("whole").decoder.hidden);
}

TEST_F(Tracing, RefusesPartsOfAnotherTrace) {
  EXPECT_THROW(trace_prompts(engine_, *recorder_, prompts({}, 3), options_, callbacks_, folder_ / "t"), Interrupted);
  clear_interrupt();
  options_.generation.max_new_tokens = 7;
  try {
    trace_prompts(engine_, *recorder_, prompts(), options_, callbacks_, folder_ / "t");
    ADD_FAILURE() << "joined parts of different runs";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("remove the folder to start over"));
  }
}

TEST_F(Tracing, RefusesPartsThatOtherSettingsMade) {
  EXPECT_THROW(trace_prompts(engine_, *recorder_, prompts({}, 3), options_, callbacks_, folder_ / "t"), Interrupted);
  clear_interrupt();
  const auto refusal = [&](Engine& engine, routing::TraceRecorder& recorder, const TracingOptions& options) {
    try {
      trace_prompts(engine, recorder, prompts(), options, callbacks_, folder_ / "t");
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string("joined parts of different runs");
  };
  TracingOptions longer = options_;
  longer.generation.min_new_tokens = 4;
  EXPECT_THAT(refusal(engine_, *recorder_, longer), HasSubstr("name another output"));
  TracingOptions plain = options_;
  plain.record = {};
  EXPECT_THAT(refusal(engine_, *recorder_, plain), HasSubstr("with hidden states (--hidden)"));
  routing::TraceRecorder* recorder = nullptr;
  EngineOptions widened;
  widened.type = DataType::kF32;
  Engine engine = open_for_tracing(test::tiny_checkpoint(), widened, options_.record, recorder);
  ASSERT_NE(engine.dense_weights().types, engine_.dense_weights().types);
  EXPECT_THAT(refusal(engine, *recorder, options_), HasSubstr("weights in"));
  EXPECT_EQ(trace_prompts(engine_, *recorder_, prompts(), options_, callbacks_, folder_ / "t").resumed, 2U);
}

TEST_F(Tracing, RefusesToAddHiddenStatesToPartsWithout) {
  routing::TraceRecorder* recorder = nullptr;
  Engine engine = open_for_tracing(test::tiny_checkpoint(), {}, {}, recorder);
  TracingOptions plain = options_;
  plain.record = {};
  EXPECT_THROW(trace_prompts(engine, *recorder, prompts({}, 3), plain, callbacks_, folder_ / "t"), Interrupted);
  clear_interrupt();
  std::size_t progress = 0;
  callbacks_.on_progress = [&](std::uint64_t) { ++progress; };
  EXPECT_THROW(trace_prompts(engine_, *recorder_, prompts(), options_, callbacks_, folder_ / "t"), UsageError);
  EXPECT_EQ(progress, 0U) << "found only after tracing";
}

TEST_F(Tracing, NamesEverySettingOfDecoding) {
  options_.generation.min_new_tokens = 2;
  options_.generation.forced_eos_token_ids = {1};
  options_.generation.suppress_tokens = {5, 6};
  options_.generation.bad_words_ids = {{7, 8}};
  options_.prefix = "p: ";
  trace_prompts(engine_, *recorder_, prompts(), options_, callbacks_, folder_ / "t");
  EXPECT_EQ(read("t").info.decoding,
            "greedy, at most 6 tokens, at least 2 tokens, last token 1, never 5 6, no word 7 8, prefix \"p: \"");
}

TEST_F(Tracing, SkipsIdsThatTheModelDoesNotHave) {
  std::vector<std::string> skipped;
  callbacks_.on_skipped = [&](const Prompt&, const std::string& why) { skipped.push_back(why); };
  const auto source = [](std::vector<std::vector<std::int32_t>> inputs) -> TracePromptSource {
    return [inputs = std::move(inputs), next = std::size_t{0}]() mutable -> std::optional<TracePrompt> {
      if (next == inputs.size()) return std::nullopt;
      TracePrompt prompt;
      prompt.prompt.index = next;
      prompt.prompt.tokens = inputs[next++];
      return prompt;
    };
  };
  EXPECT_EQ(
      trace_prompts(engine_, *recorder_, source({{3, 1}, {99999999, 1}, {4, 1}}), options_, callbacks_, folder_ / "t")
          .examples,
      2U);
  EXPECT_THAT(skipped, ElementsAre(HasSubstr("token id 99999999")));
  EXPECT_THROW(trace_prompts(engine_, *recorder_, source({{-1}}), options_, callbacks_, folder_ / "u"), UsageError);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "u.parts")) << "a failed trace left an empty folder";
}

TEST_F(Tracing, WarnsOfAPromptLongerThanTheModelWasMadeFor) {
  std::vector<std::string> warnings;
  callbacks_.on_warning = [&](const std::string& message) { warnings.push_back(message); };
  TracePrompt prompt;
  prompt.prompt.tokens.assign(engine_.longest_input() + 1, 3);
  const TracePromptSource source = [&, done = false]() mutable -> std::optional<TracePrompt> {
    if (std::exchange(done, true)) return std::nullopt;
    return prompt;
  };
  trace_prompts(engine_, *recorder_, source, options_, callbacks_, folder_ / "t");
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("prompt 1 has")));
}

TEST_F(Tracing, FollowsAReference) {
  options_.forced_field = "summary";
  trace_prompts(engine_, *recorder_, prompts("Birds sing."), options_, callbacks_, folder_ / "t");
  const routing::Trace trace = read("t");
  EXPECT_EQ(trace.info.decoding, "teacher-forced summary");
  std::vector<std::int32_t> fed = {options_.generation.decoder_start_token_id};
  const std::vector<std::int32_t> reference = engine_.require_tokenizer().encode("Birds sing.");
  fed.insert(fed.end(), reference.begin(), reference.end() - 1);
  for (const routing::StepRange& range : routing::examples_of(trace.decoder)) {
    EXPECT_THAT(std::span(trace.decoder.token).subspan(range.first, range.end - range.first), ElementsAreArray(fed));
  }
}

TEST_F(Tracing, SkipsPromptsThatCannotBeRun) {
  std::vector<std::string> warnings;
  callbacks_.on_skipped = [&](const Prompt&, const std::string& why) { warnings.push_back(why); };
  std::vector<std::string> texts = {"", "Two.", "\xff"};
  const TracePromptSource source = [&, next = std::size_t{0}]() mutable -> std::optional<TracePrompt> {
    if (next == texts.size()) return std::nullopt;
    TracePrompt prompt;
    prompt.prompt.index = next;
    prompt.prompt.text = texts[next++];
    return prompt;
  };
  EXPECT_EQ(trace_prompts(engine_, *recorder_, source, options_, callbacks_, folder_ / "t").examples, 1U);
  EXPECT_EQ(warnings.size(), 2U);
}

}  // namespace
}  // namespace flame::engine
