#include "flame/model/generation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "flame/base/error.h"
#include "flame/base/random.h"
#include "flame/base/thread_pool.h"
#include "model/checkpoints.h"
#include "model/plain_device.h"
#include "support/test_data.h"

namespace flame::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Tokens = std::vector<std::int32_t>;

class GenerationTest : public testing::Test {
 protected:
  GenerationTest() {
    config.expert_capacity = 5;  // some tokens are dropped
    synthesise(config, directory / "model",
               {.type = DataType::kF32, .seed = 2, .shard_bytes = 1 << 30, .tokenizer = {}});
    checkpoint = std::make_shared<const io::Checkpoint>(io::Checkpoint::open(directory / "model"));
    dense = load_dense_weights(checkpoint, config);
    device = std::make_unique<test::PlainDevice>(config, dense, load_expert_weights(checkpoint, config));
    generator = std::make_unique<Generator>(config, dense, *device);
    Random random(5);
    for (const int length : {30, 1, 17, 64, 2, 16, 90}) {
      inputs.emplace_back();
      for (int i = 0; i < length; ++i) inputs.back().push_back(static_cast<std::int32_t>(random.next_below(97)));
    }
    options.max_new_tokens = 12;
    // End tokens that do come up, so that rows finish at different steps.
    options.eos_token_ids = {};
    const std::vector<GenerationResult> endless = generator->generate(inputs, options);
    options.eos_token_ids = {endless[0].sequences[0].tokens[2], endless[3].sequences[0].tokens[6]};
  }

  static void expect_equal(const GenerationResult& a, const GenerationResult& b) {
    ASSERT_EQ(a.sequences.size(), b.sequences.size());
    for (std::size_t i = 0; i < a.sequences.size(); ++i) {
      EXPECT_EQ(a.sequences[i].tokens, b.sequences[i].tokens);
      EXPECT_EQ(a.sequences[i].score, b.sequences[i].score) << "bit for bit";
    }
  }

  /// Every input alone gives, bit for bit, what it gives in a batch with the others.
  void expect_batches_do_not_matter() {
    const std::vector<GenerationResult> together = generator->generate(inputs, options);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      GenerationOptions alone = options;
      alone.input_numbers = {i};
      expect_equal(generator->generate({&inputs[i], 1}, alone).front(), together[i]);
    }
  }

  test::TemporaryDirectory directory;
  SwitchConfig config = test::small_config();
  std::shared_ptr<const io::Checkpoint> checkpoint;
  DenseWeights dense;
  std::unique_ptr<test::PlainDevice> device;
  std::unique_ptr<Generator> generator;
  std::vector<Tokens> inputs;
  GenerationOptions options;
};

TEST_F(GenerationTest, AResultDoesNotDependOnBatchMatesGreedy) { expect_batches_do_not_matter(); }

TEST_F(GenerationTest, AResultDoesNotDependOnBatchMatesWithBeams) {
  options.num_beams = 4;
  options.num_return_sequences = 3;
  expect_batches_do_not_matter();
}

TEST_F(GenerationTest, AResultDoesNotDependOnBatchMatesSampling) {
  options.do_sample = true;
  options.num_return_sequences = 2;
  options.seed = 9;
  expect_batches_do_not_matter();
}

TEST_F(GenerationTest, AResultDoesNotDependOnTheNumberOfThreads) {
  options.num_beams = 3;
  ThreadPool::set_threads(1);
  const std::vector<GenerationResult> one = generator->generate(inputs, options);
  ThreadPool::set_threads(3);
  const std::vector<GenerationResult> three = generator->generate(inputs, options);
  ThreadPool::set_threads(0);
  for (std::size_t i = 0; i < inputs.size(); ++i) expect_equal(one[i], three[i]);
}

TEST_F(GenerationTest, BeamsOfOneAreGreedy) {
  const std::vector<GenerationResult> greedy = generator->generate(inputs, options);
  options.do_sample = true;
  options.top_k = 1;
  const std::vector<GenerationResult> sampled = generator->generate(inputs, options);
  for (std::size_t i = 0; i < inputs.size(); ++i) expect_equal(greedy[i], sampled[i]);
}

TEST_F(GenerationTest, TheSeedDecidesWhatIsSampled) {
  options.do_sample = true;
  options.eos_token_ids = {};
  const auto sample = [&](std::uint64_t seed) {
    options.seed = seed;
    return generator->generate(inputs, options).front().sequences.front().tokens;
  };
  EXPECT_EQ(sample(1), sample(1));
  EXPECT_NE(sample(1), sample(2));
}

TEST_F(GenerationTest, SamplingFollowsTheProbabilities) {
  options = {};
  options.max_new_tokens = 1;
  options.do_sample = true;
  options.top_k = 3;
  options.num_return_sequences = 400;
  options.temperature = 3.0;
  std::map<std::int32_t, int> seen;
  const std::vector<GenerationResult> results = generator->generate({inputs.data(), 1}, options);
  for (const GeneratedSequence& sequence : results.front().sequences) {
    ++seen[sequence.tokens.front()];
  }
  EXPECT_EQ(seen.size(), 3U);
  for (const auto& [token, count] : seen) EXPECT_GT(count, 40) << token;
}

TEST_F(GenerationTest, TokensArriveOneByOneAndResultsAsTheyFinish) {
  std::vector<Tokens> streamed(inputs.size());
  std::vector<std::size_t> finished;
  std::vector<std::size_t> lengths;
  GenerationCallbacks callbacks;
  callbacks.on_token = [&](std::size_t input, std::int32_t token) { streamed[input].push_back(token); };
  callbacks.on_result = [&](std::size_t input, const GenerationResult& result) {
    EXPECT_EQ(result.sequences.front().tokens, streamed[input]);
    finished.push_back(input);
    lengths.push_back(streamed[input].size());
  };
  const std::vector<GenerationResult> results = generator->generate(inputs, options, callbacks);
  for (std::size_t i = 0; i < inputs.size(); ++i) EXPECT_EQ(results[i].sequences.front().tokens, streamed[i]);
  EXPECT_EQ(finished.size(), inputs.size());
  EXPECT_TRUE(std::ranges::is_sorted(lengths)) << "the shortest first";
  EXPECT_LT(lengths.front(), lengths.back()) << "the fixture should have both";
}

TEST_F(GenerationTest, AnInterruptKeepsWhatHasFinished) {
  for (const std::size_t beams : {1U, 3U}) {
    options.num_beams = beams;
    const std::vector<GenerationResult> whole = generator->generate(inputs, options);
    std::size_t kept = 0;
    GenerationCallbacks callbacks;
    callbacks.on_result = [&](std::size_t input, const GenerationResult& result) {
      expect_equal(result, whole[input]);
      ++kept;
    };
    callbacks.interrupted = [&] { return kept > 0; };
    EXPECT_THROW(static_cast<void>(generator->generate(inputs, options, callbacks)), Interrupted);
    EXPECT_GE(kept, 1U);
    EXPECT_LT(kept, inputs.size());
    EXPECT_GT(generator->statistics().decoder_steps, 0U);
    expect_equal(generator->generate(inputs, options).front(), whole.front());
  }
}

TEST_F(GenerationTest, CountsTokensStepsAndSeconds) {
  options.eos_token_ids = {};
  static_cast<void>(generator->generate({inputs.data(), 2}, options));
  const GenerationStatistics& statistics = generator->statistics();
  EXPECT_EQ(statistics.input_tokens, 31U);
  EXPECT_EQ(statistics.output_tokens, 24U);
  EXPECT_EQ(statistics.decoder_steps, 12U);
  EXPECT_EQ(statistics.decoder_tokens, 24U);
  EXPECT_GT(statistics.encoder_seconds, 0.0);
  EXPECT_GT(statistics.decoder_seconds, 0.0);
  EXPECT_GT(generator->cache_bytes(), 0U);
}

TEST_F(GenerationTest, TellsTheDeviceWhoGoesOnFromWhom) {
  options.num_beams = 2;
  options.max_new_tokens = 2;
  options.eos_token_ids = {};
  static_cast<void>(generator->generate({inputs.data(), 2}, options));
  ASSERT_GE(device->calls().size(), 5U);
  EXPECT_EQ(device->calls()[0], "begin_batch 2");
  EXPECT_EQ(device->calls()[1], "reorder 0 0 1 1");
  EXPECT_EQ(device->calls()[2], "feed 0 0 0 0");
  EXPECT_EQ(device->calls()[3], "reorder 0 0 2 2") << "all beams come from the first";
  EXPECT_THAT(device->calls()[4], testing::StartsWith("feed "));
  EXPECT_EQ(device->log().size(), 2U + 2 * 2);
}

TEST_F(GenerationTest, NamesIdsOutsideTheVocabularyAndEmptyInputs) {
  inputs[1] = {97};
  EXPECT_THROW(static_cast<void>(generator->generate(inputs, options)), UsageError);
  inputs[1] = {-1};
  EXPECT_THROW(static_cast<void>(generator->generate(inputs, options)), UsageError);
  inputs[1] = {};
  try {
    static_cast<void>(generator->generate(inputs, options));
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("input 1"));
  }
  EXPECT_TRUE(generator->generate({}, options).empty());
}

}  // namespace
}  // namespace flame::model
