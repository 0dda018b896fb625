#include "flame/model/decoder.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <new>
#include <numeric>
#include <vector>

#include "flame/base/thread_pool.h"
#include "flame/model/encoder.h"
#include "model/checkpoints.h"
#include "support/test_data.h"

// Every allocation of this test program is counted, except under sanitizers, which have an operator new of their own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FLAME_COUNTS_ALLOCATIONS 1
#else
#define FLAME_COUNTS_ALLOCATIONS 0
#endif

namespace {

std::atomic<std::size_t> allocations = 0;

}  // namespace

#if FLAME_COUNTS_ALLOCATIONS
// Not inlined: the compiler would warn that what operator new gives is handed to free().
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
  ++allocations;
  return std::malloc(size == 0 ? 1 : size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }
#endif

namespace flame::model {
namespace {

/// No experts and no memory of its own: what remains is the decoder.
class SilentDevice final : public MoeDevice {
 public:
  void begin_batch(std::size_t /*sequences*/) override {}
  void reorder(std::span<const std::uint32_t> /*parents*/) override {}
  void feed(std::span<const std::int32_t> /*tokens*/) override {}
  void approach(MoeLayer /*layer*/, MatrixView<const float> /*hidden*/) override {}
  void route(const MoeInput& /*input*/, std::span<RoutingDecision> decisions) override {
    for (RoutingDecision& decision : decisions) decision = {};
  }
  void compute(const MoeInput& input, std::span<const RoutingDecision> /*decisions*/,
               MatrixView<float> output) override {
    for (std::size_t i = 0; i < output.rows(); ++i) {
      for (std::size_t j = 0; j < output.columns(); ++j) output.row(i)[j] = 0.1F * input.hidden.row(i)[j];
    }
  }
  void begin_statistics() override {}
  [[nodiscard]] MoeStatistics statistics() const override { return {}; }
  [[nodiscard]] std::string describe() const override { return "silent"; }
};

class DecoderTest : public testing::Test {
 protected:
  DecoderTest() {
    synthesise(config, directory / "model",
               {.type = DataType::kBF16, .seed = 4, .shard_bytes = 1 << 30, .tokenizer = {}});
    dense =
        load_dense_weights(std::make_shared<const io::Checkpoint>(io::Checkpoint::open(directory / "model")), config);
    encoder = std::make_unique<Encoder>(config, dense, device);
    decoder = std::make_unique<Decoder>(config, dense, device);
  }

  void begin(std::size_t positions) {
    const MatrixView<const float> encoded = encoder->encode(inputs);
    decoder->begin(encoder->sequences(), encoded, positions);
  }

  test::TemporaryDirectory directory;
  SwitchConfig config = test::small_config();
  DenseWeights dense;
  SilentDevice device;
  std::unique_ptr<Encoder> encoder;
  std::unique_ptr<Decoder> decoder;
  std::vector<std::vector<std::int32_t>> inputs{{5, 6, 7, 8, 9}, {20, 21, 22}};
};

TEST_F(DecoderTest, StepByStepAndAtOnceAgree) {
  const std::vector<std::vector<std::int32_t>> targets{{0, 3, 9, 27, 81}, {0, 2, 4, 8, 16}};
  begin(8);
  Matrix<float> at_once(10, config.vocab_size);
  decoder->extend(targets, at_once);
  begin(1);
  Matrix<float> logits(2, config.vocab_size);
  for (std::size_t step = 0; step < 5; ++step) {
    decoder->step(std::vector<std::int32_t>{targets[0][step], targets[1][step]}, logits);
    for (std::size_t row = 0; row < 2; ++row) {
      for (std::size_t token = 0; token < config.vocab_size; ++token) {
        ASSERT_NEAR(logits.row(row)[token], at_once.row(row * 5 + step)[token], 1e-4F);
      }
    }
  }
}

TEST_F(DecoderTest, Bf16StaysCloseToFp32Arithmetic) {
  const auto checkpoint = std::make_shared<const io::Checkpoint>(io::Checkpoint::open(directory / "model"));
  const DenseWeights fast = load_dense_weights(checkpoint, config, {.type = DataType::kBF16, .check_finite = true});
  Encoder fast_encoder(config, fast, device);
  Decoder fast_decoder(config, fast, device);
  inputs = {std::vector<std::int32_t>(40)};
  std::iota(inputs[0].begin(), inputs[0].end(), 5);
  begin(4);
  const MatrixView<const float> encoded = fast_encoder.encode(inputs);
  fast_decoder.begin(fast_encoder.sequences(), encoded, 4);
  EXPECT_EQ(2 * fast_decoder.cache_bytes(), decoder->cache_bytes());
  Matrix<float> exact(1, config.vocab_size);
  Matrix<float> rounded(1, config.vocab_size);
  for (const std::int32_t token : {0, 3, 9}) {
    decoder->step(std::vector<std::int32_t>{token}, exact);
    fast_decoder.step(std::vector<std::int32_t>{token}, rounded);
    double squares = 0.0;
    double difference = 0.0;
    for (std::size_t i = 0; i < config.vocab_size; ++i) {
      squares += std::pow(exact.row(0)[i], 2.0F);
      difference += std::pow(rounded.row(0)[i] - exact.row(0)[i], 2.0F);
    }
    EXPECT_LT(std::sqrt(difference / squares), 0.01);
    EXPECT_GT(difference, 0.0) << "nothing was rounded";
  }
}

TEST_F(DecoderTest, RowsMayBeSwappedRepeatedAndLeftOut) {
  Matrix<float> two(2, config.vocab_size);
  Matrix<float> three(3, config.vocab_size);
  begin(4);
  decoder->step(std::vector<std::int32_t>{0, 0}, two);
  decoder->step(std::vector<std::int32_t>{4, 5}, two);
  const std::vector<float> first(two.row(0).begin(), two.row(0).end());
  const std::vector<float> second(two.row(1).begin(), two.row(1).end());

  begin(4);
  decoder->step(std::vector<std::int32_t>{0, 0}, two);
  decoder->reorder(std::vector<std::uint32_t>{1, 0, 1});
  ASSERT_EQ(decoder->rows(), 3U);
  decoder->step(std::vector<std::int32_t>{5, 4, 5}, three);
  EXPECT_EQ(std::vector<float>(three.row(0).begin(), three.row(0).end()), second);
  EXPECT_EQ(std::vector<float>(three.row(1).begin(), three.row(1).end()), first);
  EXPECT_EQ(std::vector<float>(three.row(2).begin(), three.row(2).end()), second);
  decoder->reorder(std::vector<std::uint32_t>{1});
  EXPECT_EQ(decoder->rows(), 1U);
}

TEST_F(DecoderTest, OnceWarmAStepAllocatesNothing) {
  if (FLAME_COUNTS_ALLOCATIONS == 0) GTEST_SKIP() << "not counted under sanitizers";
  // One thread: a worker's scratch memory grows when it first gets work, which is a matter of timing.
  ThreadPool::set_threads(1);
  Matrix<float> logits(2, config.vocab_size);
  const std::vector<std::int32_t> tokens{3, 4};
  const std::vector<std::uint32_t> swapped{1, 0};
  std::size_t made = 0;
  for (int round = 0; round < 2; ++round) {
    begin(64);
    const std::size_t before = allocations;
    for (int i = 0; i < 60; ++i) {
      decoder->step(tokens, logits);
      decoder->reorder(swapped);
    }
    made = allocations - before;
  }
  EXPECT_EQ(made, 0U);
  ThreadPool::set_threads(0);
}

TEST_F(DecoderTest, GoesOnPastThePositionsItWasToldOf) {
  begin(2);
  Matrix<float> logits(2, config.vocab_size);
  for (std::int32_t i = 0; i < 150; ++i) decoder->step(std::vector<std::int32_t>{i % 97, (3 * i) % 97}, logits);
  for (const float logit : logits.row(1)) ASSERT_TRUE(std::isfinite(logit));
}

TEST_F(DecoderTest, EncodesLongInputs) {
  inputs = {std::vector<std::int32_t>(1300, 7), {3}};
  begin(2);
  EXPECT_EQ(encoder->sequences().tokens(), 1301U);
  Matrix<float> logits(2, config.vocab_size);
  decoder->step(std::vector<std::int32_t>{0, 0}, logits);
  for (const float logit : logits.row(0)) ASSERT_TRUE(std::isfinite(logit));
}

}  // namespace
}  // namespace flame::model
