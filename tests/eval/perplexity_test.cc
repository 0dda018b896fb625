#include "flame/eval/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "flame/engine/engine.h"
#include "flame/model/decoder.h"
#include "flame/model/encoder.h"
#include "support/tiny_checkpoint.h"

namespace flame::eval {
namespace {

TEST(Perplexity, IsWhatDecodingStepByStepGives) {
  engine::Engine engine = engine::Engine::open(test::tiny_checkpoint());
  const std::vector<std::int32_t> input = {71, 3, 900, 1};
  const std::vector<std::int32_t> target = {5, 17, 30000, 1};
  const TokenLoss loss = token_loss(engine.config(), engine.dense_weights(), engine.device(), input, {&target, 1});
  EXPECT_EQ(loss.tokens, 4U);

  engine.device().begin_batch(1);
  model::Encoder encoder(engine.config(), engine.dense_weights(), engine.device());
  const std::vector<std::vector<std::int32_t>> inputs = {input};
  const auto encoded = encoder.encode(inputs);
  model::Decoder decoder(engine.config(), engine.dense_weights(), engine.device());
  decoder.begin(encoder.sequences(), encoded, 5);
  double expected = 0.0;
  std::int32_t last = 0;
  for (const std::int32_t token : target) {
    Matrix<float> logits(1, engine.config().vocab_size);
    decoder.step({&last, 1}, logits);
    double sum = 0.0;
    for (const float logit : logits.row(0)) sum += std::exp(static_cast<double>(logit));
    expected += std::log(sum) - logits.row(0)[static_cast<std::size_t>(token)];
    last = token;
  }
  EXPECT_NEAR(loss.negative_log_likelihood, expected, 1e-3);
  EXPECT_NEAR(loss.perplexity(), std::exp(expected / 4.0), 1e-3 * loss.perplexity());
}

TEST(Perplexity, OfSeveralTargetsIsTheSumOverThem) {
  engine::Engine engine = engine::Engine::open(test::tiny_checkpoint());
  const std::vector<std::int32_t> input = {71, 3, 900, 1};
  const std::vector<std::vector<std::int32_t>> targets = {{5, 17, 30000, 1}, {8, 1}, {1}};
  double sum = 0.0;
  for (const auto& target : targets) {
    sum += token_loss(engine.config(), engine.dense_weights(), engine.device(), input, {&target, 1})
               .negative_log_likelihood;
  }
  const TokenLoss all = token_loss(engine.config(), engine.dense_weights(), engine.device(), input, targets);
  EXPECT_NEAR(all.negative_log_likelihood, sum, 1e-4);
  EXPECT_EQ(all.tokens, 7U);
}

TEST(Perplexity, OfNothingIsOne) { EXPECT_EQ(TokenLoss().perplexity(), 1.0); }

}  // namespace
}  // namespace flame::eval
