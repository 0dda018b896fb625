#include "flame/accel/driver.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "accel/random_expert.h"
#include "flame/accel/registers.h"
#include "flame/accel/simulated_card.h"
#include "flame/base/error.h"

#ifdef FLAME_TEST_RTL

namespace flame::accel {
namespace {

using test::RandomExpert;

/// A small model on the simulated card.
class Kernel {
 public:
  Kernel(const SimulatedCardOptions& options, std::size_t d_model, std::size_t d_ff, DevicePattern pattern,
         std::size_t layers, std::size_t experts, std::size_t slots, unsigned seed)
      : random_(seed), layers_(layers), experts_(experts), d_model_(d_model) {
    auto card = std::make_unique<SimulatedCard>(options);
    card_ = card.get();
    driver_ = std::make_unique<Driver>(std::move(card));
    driver_->configure(d_model, d_ff, pattern, layers, experts, slots);
    std::normal_distribution<float> normal;
    for (std::size_t layer = 0; layer < layers; ++layer) {
      for (std::size_t expert = 0; expert < experts; ++expert) {
        weights_.emplace_back(d_model, d_ff, pattern, random_);
        driver_->load_expert(layer, expert, weights_.back().view());
      }
      routers_.emplace_back(experts * d_model);
      for (float& weight : routers_.back()) weight = normal(random_);
      driver_->load_router(layer, routers_.back());
    }
  }

  [[nodiscard]] std::vector<float> token() {
    std::normal_distribution<float> normal;
    std::vector<float> x(d_model_);
    for (float& value : x) value = normal(random_);
    return x;
  }
  [[nodiscard]] std::size_t best_expert(std::size_t layer, const std::vector<float>& x) const {
    std::vector<double> logits(experts_);
    for (std::size_t e = 0; e < experts_; ++e) {
      for (std::size_t k = 0; k < d_model_; ++k) logits[e] += double{routers_[layer][e * d_model_ + k]} * double{x[k]};
    }
    return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  /// The expert's integers are those of the reference, bit for bit.
  void expect_result(std::size_t layer, const std::vector<float>& x, const LayerResult& result) const {
    std::vector<std::int8_t> codes(d_model_);
    kernels::quantise_symmetric(x, codes);
    const auto expected = kernels::int8_expert_reference(weights_[layer * experts_ + result.expert].view(), codes);
    ASSERT_EQ(result.hidden_maximum, expected.hidden_maximum);
    ASSERT_EQ(result.accumulators, expected.accumulators);
  }

  Driver& driver() { return *driver_; }
  SimulatedCard& card() { return *card_; }
  std::mt19937& random() { return random_; }

 private:
  std::mt19937 random_;
  std::size_t layers_, experts_, d_model_;
  SimulatedCard* card_ = nullptr;
  std::unique_ptr<Driver> driver_;
  std::vector<RandomExpert> weights_;
  std::vector<std::vector<float>> routers_;
};

/// A card that outlives its users, as one whose bitstream is loaded already does.
class SharedCard final : public KernelBackend {
 public:
  explicit SharedCard(SimulatedCard& card) : card_(card) {}
  std::uint64_t allocate(std::size_t bytes, std::size_t port) override { return card_.allocate(bytes, port); }
  void release(std::uint64_t address) override { card_.release(address); }
  void upload(std::uint64_t address, std::span<const std::uint8_t> bytes) override { card_.upload(address, bytes); }
  void download(std::uint64_t address, std::span<std::uint8_t> bytes) override { card_.download(address, bytes); }
  void write_register(std::uint32_t offset, std::uint32_t value) override { card_.write_register(offset, value); }
  std::uint32_t read_register(std::uint32_t offset) override { return card_.read_register(offset); }
  void run() override { card_.run(); }
  void let_pass(std::uint64_t cycles) override { card_.let_pass(cycles); }
  [[nodiscard]] double clock_mhz() const override { return card_.clock_mhz(); }
  [[nodiscard]] std::string describe() const override { return card_.describe(); }

 private:
  SimulatedCard& card_;
};

/// A table that predicts something, right or wrong, for most contexts.
std::vector<TableEntry> some_table(std::size_t layers, std::size_t experts) {
  std::vector<TableEntry> table;
  const auto id = [&](std::size_t value) { return static_cast<std::uint8_t>(value % experts); };
  for (std::size_t layer = 0; layer < layers; ++layer) {
    table.push_back({layer, {}, {id(layer), id(layer + 1)}});
    for (std::size_t a = 0; a < experts; a += 2) table.push_back({layer, {id(a)}, {id(a + layer), id(a + 3)}});
    for (std::size_t a = 0; a < experts; ++a) {
      for (std::size_t b = 0; b < experts; b += 3) table.push_back({layer, {id(a), id(b)}, {id(a + b), id(a), id(b)}});
    }
  }
  return table;
}

constexpr LayerFlags kWholeLayer{.route = true, .forced = false, .lookup = true, .observe = true, .compute = true};

struct Case {
  RtlConfiguration configuration;
  unsigned n, m;
  std::size_t d_model, d_ff, slots, prefetches;
  unsigned stalls;
};

class KernelIsBitExact : public ::testing::TestWithParam<Case> {};

TEST_P(KernelIsBitExact, OnEveryTokenWhateverTheSlotsTheGuessesAndTheStalls) {
  const Case& c = GetParam();
  SimulatedCardOptions options;
  options.configuration = c.configuration;
  options.stalls = {c.stalls, c.stalls, c.stalls, c.stalls, c.stalls};
  options.seed = c.stalls + c.slots;
  Kernel kernel(options, c.d_model, c.d_ff, DevicePattern::from(c.n, c.m), 3, 8, c.slots, 21);
  Driver& driver = kernel.driver();
  driver.set_policy({.order = 2, .prefetch_count = c.prefetches, .path_layers = 3});
  if (c.prefetches != 0) driver.load_table(some_table(3, 8));

  constexpr std::size_t kTokens = 60;
  driver.reserve(kTokens);
  std::vector<std::vector<float>> tokens;
  CommandList commands;
  commands.flush();
  commands.clear_sequence(0);
  for (std::size_t t = 0; t < kTokens; ++t) {
    tokens.push_back(kernel.token());
    driver.upload_token(t, driver.make_token(tokens[t], true, true));
    commands.layer(kWholeLayer, t % 3, 0, 0, driver.token_address(t), driver.result_address(t));
    if (t % 7 == 3) commands.delay(500);
  }
  driver.run(commands, true);
  for (std::size_t t = 0; t < kTokens; ++t) {
    const LayerResult result = driver.download_result(t, true);
    ASSERT_EQ(result.expert, kernel.best_expert(t % 3, tokens[t])) << "token " << t;
    kernel.expect_result(t % 3, tokens[t], result);
  }
  const KernelCounters counters = driver.counters();
  const auto lookups = counters.lookups();
  EXPECT_EQ(lookups.hits + lookups.late + lookups.misses, kTokens);
  EXPECT_EQ(counters.demand_loads, lookups.misses);
  EXPECT_EQ(counters[CycleKind::kCompute], kTokens * driver.layout().steps());
  EXPECT_EQ(counters[CycleKind::kDelay], 500U * ((kTokens + 3) / 7));
  if (c.prefetches == 0) {
    EXPECT_EQ(lookups.late, 0U);
    EXPECT_EQ(counters.load_bytes, lookups.misses * driver.layout().slot_bytes());
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, KernelIsBitExact,
                         ::testing::Values(Case{RtlConfiguration::kLanes64, 2, 4, 160, 512, 6, 2, 0},
                                           Case{RtlConfiguration::kLanes64, 2, 4, 160, 512, 6, 2, 60},
                                           Case{RtlConfiguration::kLanes64, 1, 1, 64, 128, 1, 2, 0},
                                           Case{RtlConfiguration::kLanes64, 1, 4, 128, 256, 1, 1, 120},
                                           Case{RtlConfiguration::kLanes64, 4, 8, 72, 200, 24, 4, 30},
                                           Case{RtlConfiguration::kLanes64, 1, 2, 64, 192, 2, 0, 200},
                                           Case{RtlConfiguration::kLanes64, 2, 8, 32, 37, 3, 3, 0},
                                           Case{RtlConfiguration::kLanes16, 2, 4, 160, 256, 4, 2, 0},
                                           Case{RtlConfiguration::kLanes16, 2, 4, 160, 256, 4, 2, 60},
                                           Case{RtlConfiguration::kLanes16, 1, 1, 64, 128, 1, 2, 0},
                                           Case{RtlConfiguration::kLanes16, 1, 4, 128, 256, 2, 1, 120},
                                           Case{RtlConfiguration::kLanes16, 4, 8, 72, 200, 5, 4, 30},
                                           Case{RtlConfiguration::kLanes16, 1, 2, 256, 192, 2, 0, 200},
                                           Case{RtlConfiguration::kLanes16, 2, 8, 32, 37, 3, 3, 0},
                                           Case{RtlConfiguration::kLanes256, 2, 4, 128, 512, 4, 2, 0},
                                           Case{RtlConfiguration::kLanes256, 1, 1, 192, 192, 3, 2, 90},
                                           Case{RtlConfiguration::kLanes256, 1, 4, 256, 512, 5, 3, 20}));

TEST(Kernel, CountersAccountForEveryCycleBetweenStartAndDone) {
  Kernel kernel({}, 64, 128, DevicePattern::from(2, 4), 2, 4, 3, 22);
  Driver& driver = kernel.driver();
  driver.reserve(1);
  driver.upload_token(0, driver.make_token(kernel.token(), true, true));
  CommandList commands;
  for (std::size_t i = 0; i < 20; ++i) {
    commands.layer(kWholeLayer, i % 2, 0, 0, driver.token_address(0), driver.result_address(0));
  }
  driver.run(commands, true);
  const std::uint64_t before = kernel.card().cycles();
  const KernelCounters first = driver.counters();
  driver.run(commands);
  const KernelCounters second = driver.counters();
  const std::uint64_t passed = kernel.card().cycles() - before;
  const std::uint64_t busy = second.busy_cycles() - first.busy_cycles();
  const std::uint64_t idle = second[CycleKind::kIdle] - first[CycleKind::kIdle];
  // Counters are read one register after the other, so the two readings are a few hundred cycles apart.
  EXPECT_NEAR(static_cast<double>(busy + idle), static_cast<double>(passed), 600.0);
  // Every result carries its own command's cycles, which are the layer's share of the total.
  EXPECT_GT(driver.download_result(0, true).cycles, driver.layout().steps());
}

TEST(Kernel, LookupsWithoutPredictionAreThoseOfAnLruOfTheSameSlots) {
  for (const std::size_t slots : {1U, 3U, 5U}) {
    Kernel kernel({}, 64, 64, DevicePattern::from(1, 4), 3, 8, slots, 23);
    Driver& driver = kernel.driver();
    driver.reserve(1);
    driver.upload_token(0, driver.make_token(kernel.token(), true, true));
    std::deque<std::size_t> lru;
    KernelCounters::Lookups expected;
    CommandList commands;
    for (std::size_t i = 0; i < 300; ++i) {
      const std::size_t layer = i % 3;
      const std::size_t expert = kernel.random()() % 3;
      const std::size_t key = layer * 8 + expert;
      commands.layer({.route = false, .forced = true, .lookup = true, .compute = true}, layer, expert, 0,
                     driver.token_address(0), driver.result_address(0));
      const auto found = std::find(lru.begin(), lru.end(), key);
      if (found != lru.end()) {
        ++expected.hits;
        lru.erase(found);
      } else {
        ++expected.misses;
      }
      lru.push_front(key);
      if (lru.size() > slots) lru.pop_back();
    }
    driver.run(commands, true);
    const auto lookups = driver.counters().lookups();
    EXPECT_EQ(lookups.hits, expected.hits);
    EXPECT_EQ(lookups.late, 0U);
    EXPECT_EQ(lookups.misses, expected.misses);
  }
}

TEST(Kernel, KeepValuesOutrankRecency) {
  Kernel kernel({}, 64, 64, DevicePattern::from(1, 4), 1, 8, 2, 24);
  Driver& driver = kernel.driver();
  std::vector<std::uint8_t> keep(8, 0);
  keep[5] = 9;
  driver.load_keep(keep);
  driver.reserve(1);
  driver.upload_token(0, driver.make_token(kernel.token(), true, true));
  CommandList commands;
  for (const std::size_t expert : {5U, 0U, 1U, 2U, 3U, 5U}) {
    commands.layer({.forced = true, .lookup = true, .compute = true}, 0, expert, 0, driver.token_address(0),
                   driver.result_address(0));
  }
  driver.run(commands, true);
  EXPECT_EQ(driver.counters().lookups().hits, 1U);  // 5 is still there
}

TEST(Kernel, APredictedExpertIsThereWhenTheDenseLayersGiveTheTime) {
  Kernel kernel({}, 64, 128, DevicePattern::from(2, 4), 2, 4, 3, 25);
  Driver& driver = kernel.driver();
  driver.set_policy({.order = 1, .prefetch_count = 1, .path_layers = 2});
  std::vector<TableEntry> table;
  for (std::uint8_t e = 0; e < 4; ++e) {
    for (std::size_t layer = 0; layer < 2; ++layer)
      table.push_back({layer, {e}, {static_cast<std::uint8_t>((e + 1) % 4)}});
  }
  driver.load_table(table);
  driver.reserve(1);
  driver.upload_token(0, driver.make_token(kernel.token(), true, true));
  CommandList commands;
  commands.clear_sequence(0);
  for (std::size_t i = 0; i < 40; ++i) {
    commands.layer({.route = true, .forced = true, .lookup = true, .observe = true, .compute = true}, i % 2, i % 4, 0,
                   driver.token_address(0), driver.result_address(0));
    commands.delay(2000);
  }
  driver.run(commands, true);
  const auto lookups = driver.counters().lookups();
  EXPECT_EQ(lookups.hits, 39U);
  EXPECT_EQ(lookups.misses, 1U);
}

TEST(Kernel, TheNextExpertOfAPassIsOnItsWayWhileOneComputes) {
  constexpr std::size_t kExperts = 8;
  for (const std::size_t slots : {std::size_t{2}, kExperts}) {
    Kernel kernel({}, 128, 512, DevicePattern::from(2, 4), 1, kExperts, slots, 28);
    Driver& driver = kernel.driver();
    driver.set_policy({.order = 0, .prefetch_count = 0, .path_layers = 1, .drop_contradicted = false});
    driver.reserve(1);
    driver.upload_token(0, driver.make_token(kernel.token(), false, true));
    CommandList commands;
    for (std::size_t e = 0; e < kExperts; ++e) {
      if (e + 1 < kExperts) commands.prefetch(0, e + 1);
      commands.layer({.route = false, .lookup = true, .compute = true}, 0, e, 0, driver.token_address(0),
                     driver.result_address(0));
    }
    driver.run(commands, true);
    const KernelCounters counters = driver.counters();
    EXPECT_EQ(counters.demand_loads, 1U) << slots << " slots";
    EXPECT_EQ(counters.prefetch_loads, kExperts - 1);
    EXPECT_EQ(counters.prefetch_used, kExperts - 1);
  }
}

TEST(Kernel, RowsOfABatchMayDecideFasterThanTheirGuessesAreTaken) {
  constexpr std::size_t kRows = 24;
  for (const std::size_t prefetches : {1U, 4U}) {
    Kernel kernel({}, 128, 512, DevicePattern::from(2, 4), 3, 8, 5, 29);
    Driver& driver = kernel.driver();
    driver.set_policy({.order = 2, .prefetch_count = prefetches, .path_layers = 3, .drop_contradicted = false});
    driver.load_table(some_table(3, 8));
    driver.reserve(kRows);
    CommandList commands;
    std::vector<std::vector<float>> tokens;
    for (std::size_t row = 0; row < kRows; ++row) {
      tokens.push_back(kernel.token());
      driver.upload_token(row, driver.make_token(tokens[row], true, true));
      commands.clear_sequence(row);
    }
    for (std::size_t layer = 0; layer < 3; ++layer) {
      for (std::size_t row = 0; row < kRows; ++row) {
        commands.layer({.route = true, .forced = false, .lookup = false, .observe = true, .compute = false}, layer, 0,
                       row, driver.token_address(row), driver.result_address(row));
      }
    }
    driver.run(commands, true);
    EXPECT_GT(driver.counters().prefetch_loads, 0U);
    CommandList computed;
    for (std::size_t row = 0; row < kRows; ++row) {
      computed.layer(kWholeLayer, 0, 0, row, driver.token_address(row), driver.result_address(row));
    }
    driver.run(computed);
    for (std::size_t row = 0; row < kRows; ++row)
      kernel.expect_result(0, tokens[row], driver.download_result(row, true));
  }
}

TEST(Kernel, ASecondUserOfACardFindsNothingOfTheFirst) {
  const DevicePattern pattern = DevicePattern::from(2, 4);
  constexpr std::size_t kExperts = 4;
  std::mt19937 random(31);
  std::normal_distribution<float> normal;
  std::vector<float> x(64);
  for (float& value : x) value = normal(random);
  std::vector<std::int8_t> codes(64);
  kernels::quantise_symmetric(x, codes);
  SimulatedCard card({});
  for (int user = 0; user < 2; ++user) {
    Driver driver(std::make_unique<SharedCard>(card));
    driver.configure(64, 128, pattern, 1, kExperts, 2);
    const RandomExpert weights(64, 128, pattern, random);
    for (std::size_t e = 0; e < kExperts; ++e) driver.load_expert(0, e, weights.view());
    driver.reserve(1);
    driver.upload_token(0, driver.make_token(x, false, true));
    const auto look_up = [&](std::size_t expert) {
      CommandList commands;
      commands.layer({.lookup = true, .compute = true}, 0, expert, 0, driver.token_address(0),
                     driver.result_address(0));
      driver.run(commands);
      const LayerResult result = driver.download_result(0, true);
      EXPECT_EQ(result.accumulators, kernels::int8_expert_reference(weights.view(), codes).accumulators)
          << "user " << user << " expert " << expert;
      return result.lookup;
    };
    EXPECT_EQ(look_up(1), LookupClass::kMiss);
    EXPECT_EQ(look_up(1), LookupClass::kHit);
    EXPECT_EQ(look_up(2), LookupClass::kMiss);
    EXPECT_EQ(look_up(3), LookupClass::kMiss);  // no keep value of the first user holds expert 1
    EXPECT_EQ(look_up(1), LookupClass::kMiss);
    // Weights that change, or other slots, make what is there useless too.
    driver.load_expert(0, 1, weights.view());
    EXPECT_EQ(look_up(1), LookupClass::kMiss);
    driver.set_slots(3);
    EXPECT_EQ(look_up(1), LookupClass::kMiss);
    driver.load_keep(std::vector<std::uint8_t>{0, 255, 0, 0});
  }
}

TEST(Kernel, AnExpertOfBrokenWordsIsNeverUsedAgain) {
  Kernel kernel({}, 64, 128, DevicePattern::from(2, 4), 1, 4, 4, 32);
  Driver& driver = kernel.driver();
  driver.reserve(1);
  const auto x = kernel.token();
  driver.upload_token(0, driver.make_token(x, false, true));
  CommandList layer, hint;
  layer.layer({.lookup = true, .compute = true}, 0, 2, 0, driver.token_address(0), driver.result_address(0));
  hint.prefetch(0, 2);
  const auto expect_error = [&](const CommandList& commands) {
    try {
      driver.run(commands);
      FAIL() << "no error";
    } catch (const DeviceError& error) {
      EXPECT_NE(std::string(error.what()).find("answered a read with an error"), std::string::npos) << error.what();
    }
  };
  const auto expect_miss = [&] {
    driver.run(layer);
    const LayerResult result = driver.download_result(0, true);
    EXPECT_EQ(result.lookup, LookupClass::kMiss);
    kernel.expect_result(0, x, result);
  };
  // In the run that uses it.
  kernel.card().port(0).inject_read_error(0, 1U << 30);
  expect_error(layer);
  kernel.card().port(0).inject_read_error(0, 0);
  expect_miss();
  // While the kernel is idle: the next run says so.
  driver.set_slots(3);
  kernel.card().port(0).inject_read_error(0, 1U << 30);
  driver.run(hint);
  kernel.card().let_pass(5000);
  kernel.card().port(0).inject_read_error(0, 0);
  expect_error(layer);
  expect_miss();
}

TEST(Kernel, BadArgumentsAndMemoryErrorsEndWithACodeNotWithAHang) {
  Kernel kernel({}, 64, 64, DevicePattern::from(1, 1), 2, 4, 2, 26);
  Driver& driver = kernel.driver();
  driver.reserve(1);
  const auto x = kernel.token();
  driver.upload_token(0, driver.make_token(x, false, true));
  const auto failure = [&](const CommandList& commands) -> std::string {
    try {
      driver.run(commands);
    } catch (const DeviceError& error) {
      return error.what();
    }
    return "none";
  };
  const auto layer = [&](std::size_t number, std::size_t expert, std::size_t sequence) {
    CommandList commands;
    commands.clear_sequence(0);
    commands.layer({.forced = true, .lookup = true, .compute = true}, number, expert, sequence, driver.token_address(0),
                   driver.result_address(0));
    return commands;
  };
  EXPECT_NE(failure(layer(2, 0, 0)).find("command 1 of 2: layer out of range"), std::string::npos);
  EXPECT_NE(failure(layer(0, 4, 0)).find("expert out of range"), std::string::npos);
  EXPECT_NE(failure(layer(0, 0, 64)).find("sequence out of range"), std::string::npos);
  EXPECT_THROW(driver.set_slots(10000), UsageError);

  // Registers that the driver would not write so: what they say is not what the kernel can run.
  const auto failure_with = [&](std::uint32_t offset, std::uint32_t change) {
    const std::uint32_t before = driver.backend().read_register(offset);
    driver.backend().write_register(offset, before ^ change);
    const std::string what = failure(layer(0, 0, 0));
    driver.backend().write_register(offset, before);
    return what;
  };
  for (const auto& [offset, change] : {std::pair{registers::kShape, 1U << 17},  // N of the pattern beyond M
                                       {registers::kShape, 0x60U},
                                       {registers::kSteps, 1U},
                                       {registers::kSteps, 1U << 16},
                                       {registers::kHeaderWords, 1U},
                                       {registers::kBankWords, 1U},
                                       {registers::kStride, 64U}}) {
    EXPECT_NE(failure_with(offset, change).find("shape"), std::string::npos) << offset << " ^ " << change;
  }
  for (const std::uint32_t change : {7U, 0x70U, 0xF000U}) {
    EXPECT_NE(failure_with(registers::kPredictor, change).find("predictor"), std::string::npos) << change;
  }
  EXPECT_NE(failure_with(registers::kSlots, 0x8000U).find("slots"), std::string::npos);

  // The kernel goes on after an error.
  EXPECT_EQ(failure(layer(0, 0, 0)), "none");
  kernel.expect_result(0, x, driver.download_result(0, true));

  kernel.card().port(0).inject_read_error(0, 1U << 30);
  EXPECT_NE(failure(layer(1, 1, 0)).find("answered a read with an error"), std::string::npos);
}

TEST(Kernel, TenThousandRandomExpertRunsAreBitExact) {
  // Small experts, so that many runs fit; every shape of the list, each array, misses and hits mixed.
  std::size_t runs = 0;
  for (const RtlConfiguration configuration :
       {RtlConfiguration::kLanes64, RtlConfiguration::kLanes256, RtlConfiguration::kLanes16}) {
    for (const auto& [n, m] : {std::pair{1U, 1U}, {1U, 4U}, {2U, 4U}, {4U, 8U}}) {
      SimulatedCardOptions options;
      options.configuration = configuration;
      Kernel kernel(options, 64, 64, DevicePattern::from(n, m), 2, 8, 7, 27 + n * m);
      Driver& driver = kernel.driver();
      constexpr std::size_t kTokens = 630;
      driver.reserve(kTokens);
      for (int round = 0; round < 2; ++round) {
        std::vector<std::vector<float>> tokens;
        CommandList commands;
        for (std::size_t t = 0; t < kTokens; ++t) {
          tokens.push_back(kernel.token());
          driver.upload_token(t, driver.make_token(tokens[t], true, true));
          commands.layer({.route = true, .lookup = true, .compute = true}, t % 2, 0, 0, driver.token_address(t),
                         driver.result_address(t));
        }
        driver.run(commands);
        for (std::size_t t = 0; t < kTokens; ++t) {
          const LayerResult result = driver.download_result(t, true);
          kernel.expect_result(t % 2, tokens[t], result);
          if (::testing::Test::HasFatalFailure()) return;
          ++runs;
        }
      }
    }
  }
  EXPECT_GE(runs, 15'000U);
}

}  // namespace
}  // namespace flame::accel

#else

namespace flame::accel {
TEST(Kernel, WithoutVerilatorTheSimulationSaysWhatIsMissing) {
  EXPECT_THROW(make_rtl_kernel(RtlConfiguration::kLanes64), DeviceError);
}
}  // namespace flame::accel

#endif  // FLAME_TEST_RTL
