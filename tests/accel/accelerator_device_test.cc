#include "flame/accel/accelerator_device.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "flame/accel/simulated_card.h"
#include "flame/base/error.h"
#include "flame/base/matrix_view.h"
#include "flame/experts/pack_bundle.h"
#include "flame/io/checkpoint.h"
#include "flame/kernels/expert.h"
#include "flame/model/synth.h"
#include "support/test_data.h"

#ifdef FLAME_TEST_RTL

namespace flame::accel {
namespace {

/// A small random model, packed to int8 2:4, and its device on the simulated card.
class AcceleratorDeviceTest : public ::testing::Test {
 protected:
  AcceleratorDeviceTest() {
    model::SwitchConfig config;
    config.vocab_size = 64;
    config.d_model = 64;
    config.d_kv = 16;
    config.d_ff = 128;
    config.num_heads = 4;
    config.num_layers = 2;
    config.num_decoder_layers = 4;
    config.num_sparse_encoder_layers = 1;
    config.num_sparse_decoder_layers = 2;
    config.encoder_sparse_step = 2;
    config.decoder_sparse_step = 2;
    config.num_experts = 4;
    config.decoder_start_token_id = 0;
    model::synthesise(config, directory_ / "model", {.type = DataType::kF32, .seed = 5});
    experts::PackOptions pack;
    pack.patterns = sparsity::LayerPatterns::parse("2:4");
    pack.type = kernels::PackedType::kInt8;
    (void)experts::pack_bundle(directory_ / "model", directory_ / "bundle", pack);
    bundle_ = std::make_unique<experts::Bundle>(experts::Bundle::open(directory_ / "bundle"));
    const auto checkpoint = std::make_shared<const io::Checkpoint>(io::Checkpoint::open(directory_ / "bundle"));
    dense_ = model::load_dense_weights(checkpoint, bundle_->config());
  }

  std::unique_ptr<AcceleratorDevice> device(const AcceleratorOptions& options) {
    return std::make_unique<AcceleratorDevice>(bundle_->config(), dense_, *bundle_, nullptr,
                                               std::make_unique<SimulatedCard>(SimulatedCardOptions{}), options);
  }

  /// What the CPU's packed int8 expert gives for one token.
  std::vector<float> on_cpu(model::MoeLayer layer, const model::RoutingDecision& decision, std::span<const float> x) {
    const experts::LayerIndex index = bundle_->grid().layer(layer);
    const experts::StoredExpert& stored = bundle_->expert(bundle_->grid().expert(index, decision.expert));
    std::vector<std::byte> bytes(stored.stored_bytes);
    io::FileSystem::real().open(bundle_->experts_file())->read_at(stored.offset, bytes);
    const kernels::ExpertParts parts = kernels::parts_of(
        bundle_->layout(index), std::span<const std::byte>(bytes).first(bundle_->layout(index).size_bytes()));
    Matrix<float> input(1, x.size());
    std::ranges::copy(x, input.row(0).begin());
    Matrix<float> output(1, x.size());
    const float probability[] = {decision.probability};
    kernels::run_expert(parts, input.view(), probability, output.view());
    return {output.row(0).begin(), output.row(0).end()};
  }

  test::TemporaryDirectory directory_;
  std::unique_ptr<experts::Bundle> bundle_;
  model::DenseWeights dense_;
};

TEST_F(AcceleratorDeviceTest, GivesTheCpusInt8ResultsBitForBitWhateverTheSlots) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const std::size_t slots : {1U, 3U, 12U}) {
    const auto accelerator = device({.slots = slots});
    accelerator->begin_batch(3);
    for (int pass = 0; pass < 4; ++pass) {
      for (const model::MoeLayer layer :
           {model::MoeLayer{model::Stack::kEncoder, 0}, {model::Stack::kDecoder, 0}, {model::Stack::kDecoder, 1}}) {
        // The long pass takes more than one command list.
        const std::size_t tokens = layer.stack == model::Stack::kDecoder ? 3 : pass == 1 ? 300 : 7;
        Matrix<float> hidden(tokens, 64);
        std::vector<std::uint32_t> sequence(tokens);
        for (std::size_t t = 0; t < tokens; ++t) {
          sequence[t] = static_cast<std::uint32_t>(t * 3 / tokens);
          for (float& value : hidden.row(t)) value = normal(random);
        }
        const model::MoeInput input{layer, hidden.view(), sequence};
        std::vector<model::RoutingDecision> decisions(tokens);
        Matrix<float> output(tokens, 64);
        accelerator->route(input, decisions);
        decisions[0].dropped = pass == 2;
        accelerator->compute(input, decisions, output.view());
        for (std::size_t t = 0; t < tokens; ++t) {
          const std::vector<float> got(output.row(t).begin(), output.row(t).end());
          const std::vector<float> expected =
              decisions[t].dropped ? std::vector<float>(64, 0.0F) : on_cpu(layer, decisions[t], hidden.row(t));
          ASSERT_EQ(got, expected) << "slots " << slots << " pass " << pass << " token " << t;
        }
      }
    }
    EXPECT_EQ(accelerator->report().router_disagreements, 0U);
    const model::MoeStatistics statistics = accelerator->statistics();
    EXPECT_GT(statistics.hits + statistics.late + statistics.misses, 0U);
    EXPECT_EQ(statistics.bytes_prefetch_used + statistics.bytes_demand > 0, true);
  }
}

TEST_F(AcceleratorDeviceTest, LooksUpAndLoadsEachExpertOfABatchOnce) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (const std::size_t slots : {1U, 2U, 3U}) {
    const auto accelerator = device({.slots = slots});
    constexpr std::size_t kRows = 8;
    accelerator->begin_batch(kRows);
    std::size_t distinct = 0;
    for (std::uint32_t pass = 0; pass < 6; ++pass) {
      Matrix<float> hidden(kRows, 64);
      std::vector<std::uint32_t> sequence(kRows);
      for (std::size_t t = 0; t < kRows; ++t) {
        sequence[t] = static_cast<std::uint32_t>(t);
        for (float& value : hidden.row(t)) value = normal(random);
      }
      const model::MoeInput input{{model::Stack::kDecoder, pass % 2}, hidden.view(), sequence};
      std::vector<model::RoutingDecision> decisions(kRows);
      Matrix<float> output(kRows, 64);
      accelerator->route(input, decisions);
      accelerator->compute(input, decisions, output.view());
      std::set<std::uint32_t> experts;
      for (const model::RoutingDecision& decision : decisions) experts.insert(decision.expert);
      distinct += experts.size();
    }
    const KernelCounters counters = accelerator->report().counters;
    const KernelCounters::Lookups lookups = counters.lookups();
    EXPECT_GT(distinct, 12U);
    EXPECT_EQ(lookups.hits + lookups.late + lookups.misses, distinct) << slots << " slots";
    EXPECT_EQ(counters.demand_loads, lookups.misses) << slots << " slots";
  }
}

TEST_F(AcceleratorDeviceTest, ReordersHistoriesAlongAnyPermutation) {
  const auto accelerator = device({.slots = 4});
  accelerator->begin_batch(4);
  for (const std::vector<std::uint32_t>& parents :
       {std::vector<std::uint32_t>{1, 0, 3, 2}, {0, 0, 0, 0}, {3, 2, 1, 0}, {1, 2, 3, 0}, {2, 2}, {0}}) {
    EXPECT_NO_THROW(accelerator->reorder(parents));
  }
}

TEST_F(AcceleratorDeviceTest, RefusesWhatTheAcceleratorCannotHold) {
  EXPECT_THROW(device({.slots = 100000}), UsageError);
  EXPECT_THROW(device({.budget_bytes = 100}), UsageError);
}

}  // namespace
}  // namespace flame::accel

#endif  // FLAME_TEST_RTL
