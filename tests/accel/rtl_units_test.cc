// The RTL's modules under Verilator against plain C++, with random and directed stimulus.
#ifdef FLAME_TEST_RTL

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>

#include "Vbuffer_bench.h"
#include "Vcepr.h"
#include "Vengine_bench1.h"
#include "Vengine_bench2.h"
#include "Vengine_bench4.h"
#include "Vengine_bench_half.h"
#include "Vengine_bench_narrow.h"
#include "Vfifo.h"
#include "Vrequantise_bench.h"
#include "Vrouter.h"
#include "accel/random_expert.h"
#include "accel/rtl_bench.h"
#include "flame/accel/axi_memory.h"

namespace flame::accel {
namespace {

using test::RandomExpert;

using test::Bench;

TEST(RtlFifo, KeepsOrderUnderRandomStalls) {
  Bench<Vfifo> fifo;
  std::mt19937 random(1);
  std::deque<std::uint8_t> model;
  std::uint8_t next = 0;
  for (int i = 0; i < 20000; ++i) {
    fifo->clear_i = random() % 500 == 0;
    fifo->valid_i = random() % 3 != 0;
    fifo->data_i = next;
    fifo->ready_i = random() % 3 != 0;
    fifo.settle();
    ASSERT_EQ(fifo->count_o, model.size());
    ASSERT_EQ(fifo->valid_o != 0, !model.empty());
    if (fifo->valid_o) {
      ASSERT_EQ(fifo->data_o, model.front());
    }
    const bool push = fifo->valid_i && fifo->ready_o;
    const bool pop = fifo->valid_o && fifo->ready_i;
    if (fifo->clear_i) {
      model.clear();
    } else {
      if (push) model.push_back(next);
      if (pop) model.pop_front();
    }
    if (push) ++next;
    fifo.tick();
  }
}

TEST(RtlRequantise, EqualsTheReferenceForEveryMagnitude) {
  Bench<Vrequantise_bench> unit;
  std::mt19937 random(2);
  for (int round = 0; round < 3000; ++round) {
    const int bits = round % 33;
    std::uint32_t maximum = bits == 0 ? 0 : static_cast<std::uint32_t>(random()) >> (32 - bits);
    if (bits == 32) maximum = 0x80000000U;  // 2^31, the largest hidden value
    unit->maximum_i = maximum;
    unit->start_i = 1;
    unit.tick();
    unit->start_i = 0;
    for (int wait = 0; !unit->done_o; ++wait) {
      ASSERT_LT(wait, 20);
      unit.tick();
    }
    const kernels::HiddenScale scale = kernels::hidden_scale(maximum);
    ASSERT_EQ(unit->reciprocal_o, scale.reciprocal) << maximum;
    for (int i = 0; i < 4; ++i) {
      const std::uint32_t value = i == 0         ? maximum
                                  : maximum == 0 ? 0
                                                 : static_cast<std::uint32_t>(random()) % (maximum + 1U);
      unit->value_i = value;
      for (int cycle = 0; cycle < 3; ++cycle) unit.tick();
      ASSERT_EQ(unit->code_o, static_cast<std::uint8_t>(kernels::requantise(value, scale)))
          << value << " of " << maximum;
    }
  }
}

TEST(RtlRouter, SumsExactlyAndPrefersTheLowestOfEqualExperts) {
  constexpr std::size_t kExperts = 8;
  Bench<Vrouter> router;
  std::mt19937 random(3);
  for (const std::size_t blocks : {1U, 3U, 16U}) {
    const std::size_t beats = 4 * blocks;
    router->experts_i = kExperts;
    router->beats_i = static_cast<std::uint8_t>(beats);
    std::vector<std::int32_t> weights(kExperts * beats * 16);
    for (std::size_t layer : {0U, 11U}) {
      for (auto& weight : weights) weight = static_cast<std::int32_t>(random() % (1U << 18)) - (1 << 17);
      // Experts 2 and 5 are equal: they tie whenever they win.
      std::copy_n(weights.begin() + 2 * static_cast<long>(beats) * 16, beats * 16,
                  weights.begin() + 5 * static_cast<long>(beats) * 16);
      for (std::size_t e = 0; e < kExperts; ++e) {
        for (std::size_t b = 0; b < beats; ++b) {
          router->write_i = 1;
          router->write_layer_i = static_cast<std::uint8_t>(layer);
          router->write_expert_i = static_cast<std::uint8_t>(e);
          router->write_beat_i = static_cast<std::uint8_t>(b);
          std::memcpy(&router->write_data_i, &weights[(e * beats + b) * 16], 64);
          router.tick();
        }
      }
      router->write_i = 0;
      for (int token = 0; token < 60; ++token) {
        std::vector<std::int32_t> x(beats * 16);
        for (auto& value : x) value = static_cast<std::int32_t>(random() % (1U << 27)) - (1 << 26);
        std::vector<std::int64_t> sums(kExperts);
        for (std::size_t e = 0; e < kExperts; ++e) {
          for (std::size_t k = 0; k < x.size(); ++k) sums[e] += std::int64_t{weights[e * x.size() + k]} * x[k];
        }
        router->layer_i = static_cast<std::uint8_t>(layer);
        router->start_i = 1;
        router.tick();
        router->start_i = 0;
        for (std::size_t b = 0; b < beats; ++b) {
          while (random() % 4 == 0) router.tick();
          router->beat_valid_i = 1;
          std::memcpy(&router->beat_data_i, &x[b * 16], 64);
          router.tick();
          router->beat_valid_i = 0;
        }
        for (int wait = 0; !router->done_o; ++wait) {
          ASSERT_LT(wait, 20);
          router.tick();
        }
        const auto best = static_cast<std::size_t>(std::max_element(sums.begin(), sums.end()) - sums.begin());
        ASSERT_EQ(router->expert_o, best);
        for (std::size_t e = 0; e < kExperts; ++e) {
          ASSERT_EQ(static_cast<std::int32_t>(router->logits_o[e]), static_cast<std::int32_t>(sums[e] >> 19));
        }
      }
    }
  }
}

/// CEPR by its definition: histories, and a map from (layer, context) to a ranked list.
struct CeprModel {
  std::size_t order, layers;
  std::map<std::pair<std::size_t, std::vector<unsigned>>, unsigned> table;  // ranked list, four bits each
  std::vector<std::vector<unsigned>> history = std::vector<std::vector<unsigned>>(64);

  std::optional<std::pair<std::size_t, unsigned>> observe(std::size_t sequence, std::size_t layer, unsigned expert) {
    auto& h = history[sequence];
    h.push_back(expert);
    const std::size_t next = (layer + 1) % layers;
    for (std::size_t o = std::min(order, h.size()) + 1; o-- > 0;) {
      const auto found = table.find({next, std::vector<unsigned>(h.end() - static_cast<long>(o), h.end())});
      if (found != table.end()) return std::pair{next, found->second};
    }
    return std::nullopt;
  }
};

TEST(RtlCepr, BacksOffKeepsHistoriesApartAndRunsOnAcrossTokens) {
  std::mt19937 random(4);
  for (const auto& [order, bits] : {std::pair{0U, 3U}, {1U, 3U}, {2U, 3U}, {3U, 3U}, {2U, 4U}, {4U, 2U}}) {
    Bench<Vcepr> cepr;
    CeprModel model{order, 6, {}};
    const unsigned experts = 1U << bits;
    cepr->order_i = static_cast<std::uint8_t>(order);
    cepr->expert_bits_i = static_cast<std::uint8_t>(bits);
    cepr->layers_i = 6;
    std::map<std::size_t, std::uint32_t> words;
    for (std::size_t layer = 0; layer < 6; ++layer) {
      for (std::size_t o = 0; o <= order; ++o) {
        for (unsigned context = 0; context < 1U << (o * bits); ++context) {
          if (random() % 3 != 0) continue;  // seen
          std::vector<unsigned> list;
          for (std::size_t i = o; i-- > 0;) list.push_back(context >> (i * bits) & (experts - 1));
          const auto ranked = static_cast<unsigned>(random() & 0xFFFF);
          model.table[{layer, list}] = ranked;
          words[(layer << (order * bits + 1)) + (1U << (o * bits) | context)] = 0x10000U | ranked;
        }
      }
    }
    const std::size_t beats = (std::size_t{6} << (order * bits + 1)) / 16 + 1;
    for (std::size_t beat = 0; beat < beats; ++beat) {
      std::uint32_t data[16] = {};
      for (std::size_t i = 0; i < 16; ++i) {
        if (const auto found = words.find(beat * 16 + i); found != words.end()) data[i] = found->second;
      }
      cepr->write_i = 1;
      cepr->write_beat_i = static_cast<std::uint16_t>(beat);
      std::memcpy(&cepr->write_data_i, data, 64);
      cepr.tick();
    }
    cepr->write_i = 0;
    std::vector<std::size_t> layer_of(64, 0);
    for (int i = 0; i < 3000; ++i) {
      const std::size_t sequence = random() % 64;
      cepr->sequence_i = static_cast<std::uint8_t>(sequence);
      if (random() % 50 == 0) {
        cepr->clear_i = 1;
        cepr.tick();
        cepr->clear_i = 0;
        model.history[sequence].clear();
        layer_of[sequence] = 0;
        continue;
      }
      if (random() % 50 == 0) {
        const std::size_t source = random() % 64;
        cepr->copy_i = 1;
        cepr->copy_source_i = static_cast<std::uint8_t>(source);
        cepr.tick();
        cepr->copy_i = 0;
        model.history[sequence] = model.history[source];
        layer_of[sequence] = layer_of[source];
        continue;
      }
      const unsigned expert = static_cast<unsigned>(random()) % experts;
      cepr->observe_i = 1;
      cepr->layer_i = static_cast<std::uint8_t>(layer_of[sequence]);
      cepr->expert_i = static_cast<std::uint8_t>(expert);
      ASSERT_TRUE(cepr->ready_o);
      cepr.tick();
      cepr->observe_i = 0;
      for (int wait = 0; !cepr->predict_o && !cepr->none_o; ++wait) {
        ASSERT_LT(wait, 20);
        cepr.tick();
      }
      const auto expected = model.observe(sequence, layer_of[sequence], expert);
      ASSERT_EQ(cepr->predict_o != 0, expected.has_value());
      if (expected) {
        ASSERT_EQ(cepr->predict_layer_o, expected->first);
        ASSERT_EQ(cepr->ranked_o, expected->second);
      }
      layer_of[sequence] = (layer_of[sequence] + 1) % 6;
      cepr.tick();
    }
  }
}

template <class Top>
class EngineBench {
 public:
  EngineBench(std::size_t positions, int seed) : positions_(positions), top_(seed) {}

  /// Runs an expert whose words arrive with probability `arrival` / 256 a cycle (256: all there). Returns the cycles.
  std::uint64_t run(const ExpertLayout& layout, const RandomExpert& expert, std::size_t base, unsigned arrival,
                    std::mt19937& random) {
    for (std::size_t p = 0; p < positions_; ++p) {
      const auto image = pack_expert_channel(layout, expert.view(), p);
      for (std::size_t word = 0; word < layout.bank_words(); ++word) {
        top_->write_i = static_cast<std::uint8_t>(1U << p);
        top_->write_address_i = static_cast<std::uint32_t>(base + word);
        std::memcpy(&top_->write_data_i, image.data() + word * layout.axi_bytes, layout.axi_bytes);
        top_.tick();
      }
    }
    top_->write_i = 0;
    std::vector<std::int8_t> codes(layout.padded_d_model());
    std::copy(expert.token.begin(), expert.token.end(), codes.begin());
    for (std::size_t beat = 0; beat < codes.size() / layout.axi_bytes; ++beat) {
      top_->token_write_i = 1;
      top_->token_beat_i = static_cast<std::uint8_t>(beat);
      std::memcpy(&top_->token_data_i, codes.data() + layout.axi_bytes * beat, layout.axi_bytes);
      top_.tick();
    }
    top_->token_write_i = 0;
    top_->log2_n_i = static_cast<std::uint8_t>(layout.pattern.log2_n);
    top_->log2_m_i = static_cast<std::uint8_t>(layout.pattern.log2_m);
    top_->input_blocks_i = static_cast<std::uint8_t>(layout.padded_d_ff() / kShapeUnit);
    top_->input_steps_i = static_cast<std::uint16_t>(layout.input_steps());
    top_->output_blocks_i = static_cast<std::uint8_t>(layout.padded_d_model() / kShapeUnit);
    top_->output_steps_i = static_cast<std::uint16_t>(layout.output_steps());
    top_->header_words_i = static_cast<std::uint16_t>(layout.header_words());
    top_->base_i = static_cast<std::uint32_t>(base);
    std::size_t available = arrival >= 256 ? layout.bank_words() : 0;
    top_->available_i = static_cast<std::uint32_t>(available);
    top_->start_i = 1;
    top_.tick();
    top_->start_i = 0;
    std::uint64_t cycles = 0;
    busy = 0;
    for (bool done = false; !done && cycles < 1'000'000; ++cycles) {
      if (available < layout.bank_words() && (random() & 0xFF) < arrival) ++available;
      top_->available_i = static_cast<std::uint32_t>(available);
      top_.settle();
      done = top_->done_o != 0;
      busy += top_->issue_o;
      top_.tick();
    }
    return cycles;
  }

  [[nodiscard]] kernels::Int8ExpertResult result(const ExpertLayout& layout) {
    kernels::Int8ExpertResult result;
    result.hidden_maximum = top_->hidden_maximum_o;
    for (std::size_t beat = 0; beat < layout.padded_d_model() * 4 / layout.axi_bytes; ++beat) {
      top_->result_read_i = 1;
      top_->result_beat_i = static_cast<std::uint8_t>(beat);
      top_.tick();
      std::int32_t words[16];
      std::memcpy(words, &top_->result_data_o, layout.axi_bytes);
      result.accumulators.insert(result.accumulators.end(), words, words + layout.axi_bytes / 4);
    }
    top_->result_read_i = 0;
    result.accumulators.resize(layout.d_model);
    return result;
  }

  std::uint64_t busy = 0;

 private:
  std::size_t positions_;
  Bench<Top> top_;
};

template <class Top>
void engine_equals_reference(std::size_t positions, std::size_t axi_bytes = 64) {
  EngineBench<Top> bench(positions, 5);
  std::mt19937 random(6);
  constexpr std::size_t kBankWords = 16384;
  for (const auto& [n, m] : {std::pair{1U, 1U}, {1U, 2U}, {1U, 4U}, {2U, 4U}, {2U, 8U}, {4U, 8U}}) {
    const DevicePattern pattern = DevicePattern::from(n, m);
    for (const auto& [d_model, d_ff] : {std::pair{64U, 64U}, {128U, 512U}, {72U, 200U}, {192U, 320U}}) {
      const ExpertLayout layout = ExpertLayout::make(d_model, d_ff, pattern, positions, positions, axi_bytes);
      for (const unsigned arrival : {256U, 200U, 60U}) {
        RandomExpert expert(d_model, d_ff, pattern, random);
        const std::size_t base = random() % (kBankWords - layout.bank_words()) & ~std::size_t{1};
        bench.run(layout, expert, base, arrival, random);
        const auto expected = expert.reference();
        const auto got = bench.result(layout);
        SCOPED_TRACE(pattern.name() + " " + std::to_string(d_model) + "x" + std::to_string(d_ff));
        ASSERT_EQ(got.hidden_maximum, expected.hidden_maximum);
        ASSERT_EQ(got.accumulators, expected.accumulators);
        ASSERT_EQ(bench.busy, layout.steps());
      }
    }
  }
}

TEST(RtlEngine, EqualsTheReferenceWith64Lanes) { engine_equals_reference<Vengine_bench1>(1); }
TEST(RtlEngine, EqualsTheReferenceWith128Lanes) { engine_equals_reference<Vengine_bench2>(2); }
TEST(RtlEngine, EqualsTheReferenceWith256Lanes) { engine_equals_reference<Vengine_bench4>(4); }
TEST(RtlEngine, EqualsTheReferenceWithWordsOf128Bits) { engine_equals_reference<Vengine_bench_narrow>(1, 16); }
TEST(RtlEngine, EqualsTheReferenceWithWordsOf256Bits) { engine_equals_reference<Vengine_bench_half>(2, 32); }

TEST(RtlEngine, ExtremeValuesNeitherOverflowNorDivideByZero) {
  EngineBench<Vengine_bench1> bench(1, 7);
  std::mt19937 random(8);
  const DevicePattern dense = DevicePattern::from(1, 1);
  const ExpertLayout layout = ExpertLayout::make(64, 128, dense, 1, 1);
  RandomExpert expert(64, 128, dense, random);
  for (const auto& [weight, code, scale] : {std::tuple{127, 127, 1 << 15},
                                            {-127, 127, 1 << 15},
                                            {127, 127, 0},
                                            {0, 127, 1 << 15},
                                            {127, 0, 1 << 15},
                                            {1, 1, 1}}) {
    std::fill(expert.wi.begin(), expert.wi.end(), static_cast<std::int8_t>(weight));
    std::fill(expert.token.begin(), expert.token.end(), static_cast<std::int8_t>(code));
    std::fill(expert.multiplier.begin(), expert.multiplier.end(), static_cast<std::uint16_t>(scale));
    bench.run(layout, expert, 0, 256, random);
    const auto expected = expert.reference();
    EXPECT_EQ(bench.result(layout).accumulators, expected.accumulators);
    EXPECT_EQ(bench.result(layout).hidden_maximum, expected.hidden_maximum);
  }
}

TEST(RtlEngine, KeepsTheArrayBusyInsideAResidentExpert) {
  EngineBench<Vengine_bench1> bench(1, 9);
  std::mt19937 random(10);
  const DevicePattern half = DevicePattern::from(2, 4);
  const ExpertLayout layout = ExpertLayout::make(192, 768, half, 1, 1);
  RandomExpert expert(192, 768, half, random);
  const std::uint64_t cycles = bench.run(layout, expert, 0, 256, random);
  EXPECT_GE(static_cast<double>(layout.steps()) / static_cast<double>(cycles), 0.95);
}

/// Expert buffer and loader in front of a stalling memory, against what they promise.
class RtlBuffer : public ::testing::Test {
 protected:
  static constexpr std::size_t kWords = 150;  // three bursts, the last one short

  RtlBuffer() {
    bank_.allocate(256 << 14);
    for (std::size_t key = 0; key < 256; ++key) {
      for (std::size_t beat = 0; beat < kWords; ++beat) {
        bank_.bytes()[(key << 14) + beat * 64] = static_cast<std::uint8_t>(key);
        bank_.bytes()[(key << 14) + beat * 64 + 1] = static_cast<std::uint8_t>(beat);
      }
    }
    port_.set_stalls({.ar = 40, .r = 40}, 11);
    top_->bank_words_i = kWords;
    top_->rresp_i = 0;
    for (int i = 0; i < 300; ++i) cycle();
  }

  void cycle() {
    AxiMasterSignals kernel;
    top_.settle();
    kernel.ar_valid = top_->arvalid_o;
    kernel.ar_address = top_->araddr_o;
    kernel.ar_length = top_->arlen_o;
    kernel.r_ready = top_->rready_o;
    port_.respond(kernel, now_++, memory_);
    top_->arready_i = memory_.ar_ready;
    top_->rvalid_i = memory_.r_valid;
    top_->rlast_i = memory_.r_last;
    std::memcpy(&top_->rdata_i, memory_.r_data.data(), 64);
    if (top_->write_o) {
      std::uint32_t word = 0;
      std::memcpy(&word, &top_->write_data_o, 4);
      slots_[top_->write_address_o] = static_cast<std::uint16_t>(word & 0xFFFF);
    }
    top_.tick();
  }

  struct Answer {
    std::size_t slot;
    int lookup;
  };
  Answer decide(unsigned key) {
    top_->decide_i = 1;
    top_->decide_key_i = static_cast<std::uint8_t>(key);
    for (int wait = 0; wait < 100000; ++wait) {
      top_.settle();
      if (top_->answer_o) {
        const Answer answer{top_->answer_slot_o, top_->answer_class_o};
        cycle();
        top_->decide_i = 0;
        return answer;
      }
      cycle();
    }
    ADD_FAILURE() << "no answer";
    return {};
  }
  void predict(unsigned key) {
    top_->predict_i = 1;
    top_->predict_key_i = static_cast<std::uint8_t>(key);
    cycle();
    top_->predict_i = 0;
  }
  void wait_whole(std::size_t slot) {
    top_->watch_slot_i = static_cast<std::uint32_t>(slot);
    for (int i = 0; i < 4; ++i) cycle();
    for (int wait = 0; top_->watch_active_o; ++wait) {
      ASSERT_LT(wait, 100000);
      cycle();
    }
    cycle();
  }
  void drain() {
    for (int quiet = 0; quiet < 50; quiet = top_->load_active_o ? 0 : quiet + 1) cycle();
  }
  /// Every word of the slot is the expert's, in its place.
  void expect_holds(std::size_t slot, unsigned key) {
    for (std::size_t beat = 0; beat < kWords; ++beat) {
      ASSERT_EQ(slots_[static_cast<std::uint32_t>(slot * kWords + beat)], (beat & 0xFF) << 8 | key)
          << "slot " << slot << " word " << beat;
    }
  }

  Bench<Vbuffer_bench> top_;
  MemoryBank bank_{std::make_unique<Ddr4Timing>(Ddr4Parameters{})};
  AxiPort port_{0, bank_, 0};
  AxiSlaveSignals memory_;
  std::map<std::uint32_t, std::uint16_t> slots_;
  std::uint64_t now_ = 0;
};

TEST_F(RtlBuffer, WithoutPredictionIsLeastRecentlyUsed) {
  std::mt19937 random(12);
  for (const unsigned slots : {1U, 3U, 7U, 16U}) {
    top_->slots_i = slots;
    top_->flush_i = 1;
    while (!top_->flushed_o) cycle();
    top_->flush_i = 0;
    std::deque<unsigned> lru;  // most recent first
    for (int i = 0; i < 150; ++i) {
      const auto key = static_cast<unsigned>((random() % 6) << 4 | random() % 4);
      const Answer answer = decide(key);
      const auto found = std::find(lru.begin(), lru.end(), key);
      ASSERT_EQ(answer.lookup, found != lru.end() ? 1 : 3) << "slots " << slots << " lookup " << i;
      if (found != lru.end()) lru.erase(found);
      lru.push_front(key);
      if (lru.size() > slots) lru.pop_back();
      wait_whole(answer.slot);
      expect_holds(answer.slot, key);
    }
  }
}

TEST_F(RtlBuffer, APredictedExpertIsAHitOrLateAndItsLoadIsPromoted) {
  top_->slots_i = 4;
  decide(0x00);
  drain();
  predict(0x13);
  drain();
  EXPECT_EQ(decide(0x13).lookup, 1);
  predict(0x25);
  for (int i = 0; i < 60; ++i) cycle();
  const Answer late = decide(0x25);
  EXPECT_EQ(late.lookup, 2);
  wait_whole(late.slot);
  expect_holds(late.slot, 0x25);
  EXPECT_EQ(top_->prefetch_used_o, 2U);
}

TEST_F(RtlBuffer, AContradictedPrefetchIsDroppedAndItsSlotIsFreeAgain) {
  top_->slots_i = 2;
  top_->drop_contradicted_i = 1;
  decide(0x00);
  drain();
  predict(0x11);
  for (int i = 0; i < 60; ++i) cycle();
  const Answer miss = decide(0x12);
  EXPECT_EQ(miss.lookup, 3);
  EXPECT_EQ(top_->prefetch_dropped_o, 1U);
  wait_whole(miss.slot);
  expect_holds(miss.slot, 0x12);
  drain();
  EXPECT_EQ(decide(0x11).lookup, 3);
}

TEST_F(RtlBuffer, AMissFindsASlotEvenWhenGuessesHoldAllOfThem) {
  top_->slots_i = 1;
  predict(0x11);
  for (int i = 0; i < 60; ++i) cycle();
  const Answer miss = decide(0x12);
  EXPECT_EQ(miss.lookup, 3);
  wait_whole(miss.slot);
  expect_holds(miss.slot, 0x12);
}

TEST_F(RtlBuffer, UnderRandomLoadTheComputedSlotAlwaysHoldsItsExpert) {
  std::mt19937 random(13);
  for (const unsigned slots : {1U, 2U, 5U, 16U}) {
    for (const bool drop : {false, true}) {
      top_->slots_i = slots;
      top_->drop_contradicted_i = drop;
      top_->flush_i = 1;
      while (!top_->flushed_o) cycle();
      top_->flush_i = 0;
      for (int i = 0; i < 120; ++i) {
        const unsigned layer = static_cast<unsigned>(i) % 6;
        const unsigned key = layer << 4 | static_cast<unsigned>(random() % 8);
        const Answer answer = decide(key);
        top_->pin_i = 1;
        top_->pin_slot_i = static_cast<std::uint32_t>(answer.slot);
        const unsigned next = (layer + 1) % 6;
        for (unsigned guess = 0; guess < random() % 4; ++guess)
          predict(next << 4 | static_cast<unsigned>(random() % 8));
        wait_whole(answer.slot);
        const auto compute = random() % 600;
        for (unsigned c = 0; c < compute; ++c) cycle();
        expect_holds(answer.slot, key);
        top_->pin_i = 0;
      }
      drain();
    }
  }
  EXPECT_GT(top_->prefetch_used_o, 50U);
  EXPECT_GT(top_->prefetch_dropped_o, 20U);
}

}  // namespace
}  // namespace flame::accel

#endif  // FLAME_TEST_RTL
