// Control registers, host port and sequencer under Verilator: random stimulus, random stalls on every handshake.
#ifdef FLAME_TEST_RTL

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include "Vcontrol_registers.h"
#include "Vhost_port.h"
#include "Vsequencer.h"
#include "accel/rtl_bench.h"
#include "flame/accel/axi_memory.h"
#include "flame/accel/commands.h"

namespace flame::accel {
namespace {

using test::Bench;

/// AXI4-Lite transfers with random pauses on every channel.
class Registers {
 public:
  explicit Registers(unsigned seed) : random_(seed) {
    top_->idle_i = 1;
    top_->status_data_i = 0;
  }

  void write(unsigned address, std::uint32_t value, unsigned strobes = 0xF) {
    bool address_sent = false;
    bool data_sent = false;
    bool address_offered = false;
    bool data_offered = false;
    for (int wait = 0; wait < 1000; ++wait) {
      address_offered = !address_sent && (address_offered || pause());
      data_offered = !data_sent && (data_offered || pause());
      top_->awvalid_i = address_offered;
      top_->awaddr_i = address_offered ? static_cast<std::uint16_t>(address) : noise() & 0xFFF;
      top_->wvalid_i = data_offered;
      top_->wdata_i = data_offered ? value : noise();
      top_->wstrb_i = static_cast<std::uint8_t>(strobes);
      top_->bready_i = pause();
      top_.settle();
      const bool address_taken = address_offered && top_->awready_o;
      const bool data_taken = data_offered && top_->wready_o;
      const bool answered = top_->bready_i && top_->bvalid_o;
      if (answered) {
        EXPECT_EQ(top_->bresp_o, 0);
      }
      tick();
      address_sent = address_sent || address_taken;
      data_sent = data_sent || data_taken;
      if (answered) {
        top_->awvalid_i = 0;
        top_->wvalid_i = 0;
        EXPECT_TRUE(address_sent && data_sent);
        return;
      }
    }
    ADD_FAILURE() << "a write was not answered";
  }

  std::uint32_t read(unsigned address) {
    bool sent = false;
    bool offered = false;
    std::optional<std::uint32_t> before;
    for (int wait = 0; wait < 1000; ++wait) {
      offered = !sent && (offered || pause());
      top_->arvalid_i = offered;
      top_->araddr_i = offered ? static_cast<std::uint16_t>(address) : noise() & 0xFFF;
      top_->rready_i = pause();
      top_.settle();
      const bool taken = offered && top_->arready_o;
      if (top_->rvalid_o) {
        // Once valid, the data stay until they are taken.
        EXPECT_TRUE(!before || *before == top_->rdata_o);
        before = top_->rdata_o;
        EXPECT_EQ(top_->rresp_o, 0);
      } else {
        EXPECT_FALSE(before.has_value());
      }
      const bool answered = top_->rready_i && top_->rvalid_o;
      tick();
      sent = sent || taken;
      if (answered) {
        top_->arvalid_i = 0;
        return *before;
      }
    }
    ADD_FAILURE() << "a read was not answered";
    return 0;
  }

  /// The kernel ends.
  void done() {
    top_->idle_i = 1;
    top_->done_i = 1;
    tick();
    top_->done_i = 0;
  }

  void tick() {
    top_.settle();
    if (top_->start_o) {
      ++starts;
      top_.tick();
      top_->idle_i = 0;
      return;
    }
    top_.tick();
  }

  Vcontrol_registers* operator->() { return top_.operator->(); }
  std::mt19937& random() { return random_; }
  std::size_t starts = 0;  ///< pulses of start_o

 private:
  bool pause() { return random_() % 3 != 0; }
  std::uint32_t noise() { return static_cast<std::uint32_t>(random_()); }

  Bench<Vcontrol_registers> top_{3};
  std::mt19937 random_;
};

TEST(RtlControlRegisters, ArgumentsKeepWhatWasWrittenByteByByte) {
  Registers registers(1);
  std::array<std::uint32_t, 32> model{};
  for (int i = 0; i < 4000; ++i) {
    const std::size_t index = registers.random()() % model.size();
    const auto address = static_cast<unsigned>(0x10 + 4 * index);
    if (registers.random()() % 2 == 0) {
      const auto value = static_cast<std::uint32_t>(registers.random()());
      const auto strobes = static_cast<unsigned>(registers.random()() % 16);
      registers.write(address, value, strobes);
      for (unsigned byte = 0; byte < 4; ++byte) {
        const std::uint32_t mask = 0xFFU << (8 * byte);
        if ((strobes >> byte & 1U) != 0) model[index] = (model[index] & ~mask) | (value & mask);
      }
    } else {
      ASSERT_EQ(registers.read(address), model[index]);
    }
    ASSERT_EQ(registers->arguments_o[index], model[index]);
  }
  EXPECT_EQ(registers.starts, 0U);
}

TEST(RtlControlRegisters, StartDoneIdleAndReadyFollowTheHandshakeOfVitis) {
  Registers registers(2);
  EXPECT_EQ(registers.read(0x00), 0x4U);  // idle
  for (int run = 1; run <= 50; ++run) {
    registers.write(0x00, 1);
    for (int i = 0; i < 3; ++i) registers.tick();
    ASSERT_EQ(registers.starts, static_cast<std::size_t>(run));
    ASSERT_EQ(registers.read(0x00), 0x0U);  // running: start was cleared by the handshake
    registers.done();
    ASSERT_EQ(registers.read(0x00), 0xEU);  // done, idle, ready
    ASSERT_EQ(registers.read(0x00), 0x4U);  // done and ready were cleared by the read
  }
}

TEST(RtlControlRegisters, AutoRestartStartsAgainUntilItIsTakenBack) {
  Registers registers(3);
  registers.write(0x00, 0x81);
  for (int run = 1; run <= 5; ++run) {
    for (int i = 0; i < 4; ++i) registers.tick();
    ASSERT_EQ(registers.starts, static_cast<std::size_t>(run));
    if (run == 5) registers.write(0x00, 0x00);
    registers.done();
  }
  for (int i = 0; i < 10; ++i) registers.tick();
  // The start that auto-restart had set already is still served.
  EXPECT_EQ(registers.starts, 6U);
  registers.done();
  for (int i = 0; i < 10; ++i) registers.tick();
  EXPECT_EQ(registers.starts, 6U);
}

TEST(RtlControlRegisters, TheInterruptTellsOfDoneWhenEnabledAndTogglesAway) {
  Registers registers(4);
  registers.write(0x00, 1);
  registers.done();
  EXPECT_EQ(registers->interrupt_o, 0);
  EXPECT_EQ(registers.read(0x0C), 0U);  // not enabled, so not pending
  registers.write(0x04, 1);
  registers.write(0x08, 1);
  EXPECT_EQ(registers.read(0x04), 1U);
  EXPECT_EQ(registers.read(0x08), 1U);
  registers.write(0x00, 1);
  registers.done();
  registers.tick();
  EXPECT_EQ(registers->interrupt_o, 1);
  EXPECT_EQ(registers.read(0x0C), 1U);
  registers.write(0x0C, 1);
  EXPECT_EQ(registers->interrupt_o, 0);
  EXPECT_EQ(registers.read(0x0C), 0U);
}

TEST(RtlControlRegisters, WhatLiesBeyondTheArgumentsIsReadFromTheKernel) {
  Registers registers(5);
  for (const unsigned address : {0x90U, 0x104U, 0x2FCU, 0xFFCU}) {
    registers->status_data_i = address * 3;
    EXPECT_EQ(registers.read(address), address * 3);
    EXPECT_EQ(registers->status_address_o, address);
    registers.write(address, 0xFFFFFFFFU);  // read-only: answered, and nothing happens
  }
  for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(registers->arguments_o[i], 0U);
}

/// The host port in front of a memory that stalls on all five channels.
class HostPort {
 public:
  explicit HostPort(unsigned stalls) : random_(stalls + 1) {
    bank_.allocate(1 << 20);
    for (std::size_t i = 0; i < bank_.size(); ++i) bank_.bytes()[i] = static_cast<std::uint8_t>(i * 7 + i / 251);
    port_.set_stalls({stalls, stalls, stalls, stalls, stalls}, stalls + 5);
    top_->write_i = 0;
    top_->write_data_valid_i = 0;
    top_->awready_i = 0;
    top_->wready_i = 0;
    top_->rresp_i = 0;
    top_->bresp_i = 0;
  }

  void cycle() {
    AxiMasterSignals kernel;
    top_.settle();
    kernel.ar_valid = top_->arvalid_o;
    kernel.ar_address = top_->araddr_o;
    kernel.ar_length = top_->arlen_o;
    kernel.r_ready = top_->rready_o;
    kernel.aw_valid = top_->awvalid_o;
    kernel.aw_address = top_->awaddr_o;
    kernel.aw_length = top_->awlen_o;
    kernel.w_valid = top_->wvalid_o;
    kernel.w_last = top_->wlast_o;
    kernel.b_ready = top_->bready_o;
    Beat data;
    std::memcpy(data.data(), &top_->wdata_o, sizeof data);
    kernel.w_data = &data;
    port_.respond(kernel, now_++, memory_);
    top_->arready_i = memory_.ar_ready;
    top_->rvalid_i = memory_.r_valid;
    top_->rlast_i = memory_.r_last;
    top_->rresp_i = memory_.r_response;
    std::memcpy(&top_->rdata_i, memory_.r_data.data(), 64);
    top_->awready_i = memory_.aw_ready;
    top_->wready_i = memory_.w_ready;
    top_->bvalid_i = memory_.b_valid;
    top_->bresp_i = bad_response ? 2 : 0;
    top_.settle();
    if (top_->data_valid_o) {
      Beat beat;
      std::memcpy(beat.data(), &top_->data_o, sizeof beat);
      read_.push_back(beat);
    }
    read_errors += top_->read_error_o;
    write_errors += top_->write_error_o;
    taken_ = top_->write_data_valid_i && top_->write_data_ready_o;
    top_.tick();
  }

  std::vector<Beat> read(std::uint64_t address, std::size_t beats) {
    read_.clear();
    top_->read_address_i = address;
    top_->read_beats_i = static_cast<std::uint16_t>(beats);
    top_->read_i = 1;
    EXPECT_TRUE(top_->read_ready_o);
    cycle();
    top_->read_i = 0;
    for (int wait = 0; !top_->read_ready_o; ++wait) {
      if (wait == 100000) {
        ADD_FAILURE() << "a read hangs";
        break;
      }
      cycle();
    }
    return read_;
  }

  /// Returns once every beat is taken and, with `answered`, every response has come.
  void write(std::uint64_t address, const std::vector<Beat>& beats, bool answered = true) {
    top_->write_address_i = address;
    top_->write_beats_i = static_cast<std::uint16_t>(beats.size());
    top_->write_i = 1;
    EXPECT_TRUE(top_->write_ready_o);
    cycle();
    top_->write_i = 0;
    std::size_t next = 0;
    bool offered = false;
    for (int wait = 0; next < beats.size() || !(answered ? top_->write_idle_o : top_->write_ready_o); ++wait) {
      if (wait == 100000) {
        ADD_FAILURE() << "a write hangs";
        return;
      }
      offered = next < beats.size() && (offered || random_() % 3 != 0);
      top_->write_data_valid_i = offered;
      if (offered) std::memcpy(&top_->write_data_i, beats[next].data(), 64);
      cycle();
      if (taken_) {
        ++next;
        offered = false;
      }
    }
    top_->write_data_valid_i = 0;
  }

  std::span<std::uint8_t> bytes() { return bank_.bytes(); }
  AxiPort& port() { return port_; }
  [[nodiscard]] std::uint64_t now() const { return now_; }
  std::mt19937& random() { return random_; }
  bool bad_response = false;
  std::size_t read_errors = 0, write_errors = 0;

 private:
  std::mt19937 random_;
  Bench<Vhost_port> top_;
  MemoryBank bank_{make_fixed_bandwidth_timing({})};
  AxiPort port_{kHostPort, bank_, 0};
  AxiSlaveSignals memory_;
  std::vector<Beat> read_;
  bool taken_ = false;
  std::uint64_t now_ = 0;
};

// The port's monitor throws where a burst crosses 4 KiB or breaks another rule.
TEST(RtlHostPort, MovesEveryBeatInOrderInLegalBurstsUnderStallsOnEveryChannel) {
  for (const unsigned stalls : {0U, 60U, 180U}) {
    HostPort host(stalls);
    for (int i = 0; i < 150; ++i) {
      const std::size_t beats = 1 + host.random()() % (i % 10 == 0 ? 300 : 40);
      const std::uint64_t address = 64 * (host.random()() % (host.bytes().size() / 64 - beats));
      if (i % 2 == 0) {
        const std::vector<Beat> got = host.read(address, beats);
        ASSERT_EQ(got.size(), beats);
        ASSERT_EQ(std::memcmp(got.data(), host.bytes().data() + address, 64 * beats), 0);
      } else {
        std::vector<Beat> data(beats);
        for (Beat& beat : data) {
          for (std::uint32_t& word : beat) word = static_cast<std::uint32_t>(host.random()());
        }
        host.write(address, data, host.random()() % 2 == 0);
        ASSERT_EQ(std::memcmp(data.data(), host.bytes().data() + address, 64 * beats), 0);
      }
    }
    EXPECT_EQ(host.read_errors + host.write_errors, 0U);
  }
}

TEST(RtlHostPort, WritesDoNotWaitForTheResponsesOfThoseBefore) {
  HostPort host(0);
  constexpr std::uint64_t kLatency = 30;               // of the memory
  host.write(4096 - 64, std::vector<Beat>(2), false);  // two bursts
  host.write(128, std::vector<Beat>(4), false);
  EXPECT_LT(host.now(), kLatency);
  host.write(0, std::vector<Beat>(2));
  EXPECT_LT(host.now(), 2 * kLatency);
  // No more bursts than the port counts, however slow the memory.
  for (int i = 0; i < 20; ++i) host.write(64 * static_cast<std::uint64_t>(i), std::vector<Beat>(1), i == 19);
  EXPECT_EQ(host.write_errors, 0U);
}

TEST(RtlHostPort, TellsOfErrorResponses) {
  HostPort host(60);
  host.port().inject_read_error(8192, 8192 + 128);
  host.read(8192 - 640, 30);
  EXPECT_EQ(host.read_errors, 2U);
  host.bad_response = true;
  host.write(4096 - 64, std::vector<Beat>(2));  // two bursts
  EXPECT_EQ(host.write_errors, 2U);
}

/// Everything around the sequencer, each neighbour as slow as chance has it. Data beats carry their address, so that
/// what arrives where can be checked.
class Sequencer {
 public:
  static constexpr std::uint64_t kCommands = 0x100000;
  static constexpr std::size_t kModelBlocks = 2, kExperts = 5, kLayers = 3;
  static constexpr std::size_t kRouterBeats = 4 * kModelBlocks, kTokenBeats = kModelBlocks;

  struct Event {
    std::string what;
    std::vector<std::uint64_t> numbers;
    bool operator==(const Event&) const = default;
    friend std::ostream& operator<<(std::ostream& out, const Event& event) {
      out << event.what;
      for (const std::uint64_t number : event.numbers) out << " " << number;
      return out;
    }
  };

  explicit Sequencer(unsigned seed) : random_(seed), top_(static_cast<int>(seed)) {
    top_->model_blocks_i = kModelBlocks;
    top_->ff_blocks_i = 4;
    top_->experts_i = kExperts;
    top_->layers_i = kLayers;
    top_->slots_i = 6;
    top_->slots_fit_i = 1;
    top_->shape_fits_i = 1;
    top_->predictor_fits_i = 1;
    top_->commands_i = kCommands;
    top_->read_error_i = 0;
    top_->write_error_i = 0;
  }

  /// Runs the list; what the neighbours were told, in order.
  std::vector<Event> run(const CommandList& list) {
    bytes_ = list.bytes();
    if (second_opcode) bytes_.at(64) = *second_opcode;
    top_->command_count_i = static_cast<std::uint32_t>(list.size());
    events_.clear();
    top_->start_i = 1;
    cycle();
    top_->start_i = 0;
    for (int wait = 0; !done_; ++wait) {
      if (wait == 200000) {
        ADD_FAILURE() << "the sequencer hangs";
        break;
      }
      cycle();
    }
    done_ = false;
    cycle();
    EXPECT_TRUE(top_->idle_o);
    return events_;
  }

  /// So many cycles without a list.
  void pass(std::size_t cycles) {
    for (std::size_t i = 0; i < cycles; ++i) cycle();
  }

  Vsequencer* operator->() { return top_.operator->(); }
  std::mt19937& random() { return random_; }
  /// What the router and the expert buffer will answer.
  std::size_t choice = 0, slot = 0, lookup = 1;
  std::optional<std::size_t> load_error_in;   ///< cycles until a load has an error
  std::optional<std::uint8_t> second_opcode;  ///< in place of the second command's
  std::array<std::uint64_t, 10> kinds{};

 private:
  struct Reading {
    std::uint64_t address = 0;
    std::size_t beats = 0, done = 0;
  };
  bool chance() { return random_() % 3 != 0; }
  void event(std::string what, std::vector<std::uint64_t> numbers = {}) {
    events_.push_back({std::move(what), std::move(numbers)});
  }

  void cycle() {
    // Inputs of this cycle.
    top_->read_ready_i = !reading_ && chance();
    top_->data_valid_i = reading_ && chance();
    std::array<std::uint32_t, 16> beat{};
    if (top_->data_valid_i) {
      const std::uint64_t address = reading_->address + 64 * reading_->done;
      if (address >= kCommands && address + 64 <= kCommands + bytes_.size()) {
        std::memcpy(beat.data(), bytes_.data() + (address - kCommands), 64);
      } else {
        beat.fill(static_cast<std::uint32_t>(address));
      }
    }
    std::memcpy(&top_->data_i, beat.data(), 64);
    top_->write_ready_i = !writing_;
    top_->write_idle_i = !writing_ && chance();
    top_->write_data_ready_i = writing_ && chance();
    top_->router_done_i = router_delay_ && *router_delay_ == 0;
    top_->router_choice_i = static_cast<std::uint8_t>(choice);
    for (std::size_t e = 0; e < 8; ++e) top_->router_logits_i[e] = static_cast<std::uint32_t>(1000 + e);
    top_->observe_ready_i = chance();
    top_->answer_i = decide_delay_ && *decide_delay_ == 0;
    top_->answer_slot_i = static_cast<std::uint8_t>(slot);
    top_->answer_class_i = static_cast<std::uint8_t>(lookup);
    top_->prefetch_ready_i = chance();
    top_->flushed_i = flushing_ && chance();
    top_->load_error_i = load_error_in && *load_error_in == 0;
    if (load_error_in && (*load_error_in)-- == 0) load_error_in.reset();
    top_->engine_done_i = engine_delay_ && *engine_delay_ == 0;
    top_->engine_issue_i = engine_delay_ && *engine_delay_ % 2 == 1;
    top_->engine_starved_i = engine_delay_ && *engine_delay_ % 4 == 2;
    top_->hidden_maximum_i = 777;
    // Sums are finished one after the other, all of them when the engine is done.
    if (engine_delay_) {
      finished_ = *engine_delay_ <= 1 ? kRouterBeats : std::max<std::size_t>(finished_, random_() % kRouterBeats);
    }
    top_->result_beats_i = static_cast<std::uint8_t>(engine_delay_ ? finished_ : 0);
    std::array<std::uint32_t, 16> result{};
    result.fill(result_beat_);
    std::memcpy(&top_->result_data_i, result.data(), 64);
    top_.settle();
    ++kinds.at(top_->cycle_kind_o);

    // What the sequencer does in it.
    const bool data = top_->data_valid_i;
    const std::uint32_t word = beat[0];
    if (top_->read_o && top_->read_ready_i) {
      reading_ = Reading{top_->read_address_o, top_->read_beats_o, 0};
      if (reading_->address < kCommands) event("read", {reading_->address, reading_->beats});
    }
    if (data && ++reading_->done == reading_->beats) reading_.reset();
    if (top_->router_start_o) {
      router_beats_ = 0;
      router_delay_.reset();
    } else if (router_delay_ && *router_delay_ != 0) {
      --*router_delay_;
    } else if (top_->router_done_i) {
      router_delay_.reset();
    }
    if (top_->router_beat_valid_o && ++router_beats_ == kRouterBeats) router_delay_ = 1 + random_() % 9;
    if (top_->router_write_o)
      event("router weights", {top_->router_layer_o, top_->router_expert_o, top_->router_beat_o, word});
    if (top_->table_write_o) event("table", {top_->table_beat_o, word});
    if (top_->keep_write_o) event("keep", {top_->keep_layer_o, word});
    if (top_->sequence_clear_o) event("clear", {top_->sequence_o});
    if (top_->sequence_copy_o) event("copy", {top_->sequence_o, top_->sequence_source_o});
    if (top_->observe_o) event("observe", {top_->router_layer_o, top_->decide_key_o & 0xFU, top_->sequence_o});
    if (top_->answer_i) {
      decide_delay_.reset();
    } else if (top_->decide_o && !decide_delay_) {
      event("decide", {top_->decide_key_o, top_->decide_count_o, top_->decide_hold_o});
      decide_delay_ = 1 + random_() % 9;
    } else if (decide_delay_) {
      --*decide_delay_;
    }
    if (top_->token_write_o) ++token_beats_;
    if (top_->engine_done_i) {
      engine_delay_.reset();
    } else if (top_->engine_start_o) {
      event("engine", {top_->slot_o, token_beats_});
      EXPECT_TRUE(top_->pin_o);
      token_beats_ = 0;
      engine_delay_ = 2 + random_() % 30;
      finished_ = 0;
    } else if (engine_delay_) {
      EXPECT_TRUE(top_->pin_o);  // what computes is never given away
      --*engine_delay_;
    }
    if (top_->prefetch_o && top_->prefetch_ready_i) event("prefetch", {top_->prefetch_key_o});
    flushing_ = top_->flush_o && !top_->flushed_i;
    if (top_->flush_o && top_->flushed_i) event("flush");
    if (top_->result_read_o) {
      result_beat_ = top_->result_beat_o;
      EXPECT_LT(result_beat_, finished_);
    }
    if (top_->write_o && top_->write_ready_i) {
      writing_ = top_->write_beats_o;
      event("write", {top_->write_address_o, top_->write_beats_o});
    } else if (top_->write_data_valid_o && top_->write_data_ready_i) {
      std::array<std::uint32_t, 16> out;
      std::memcpy(out.data(), &top_->write_data_o, 64);
      event("beat", {out[0], out[1], out[2]});
      if (--*writing_ == 0) writing_.reset();
    }
    done_ = done_ || top_->done_o;
    top_.tick();
  }

  std::mt19937 random_;
  Bench<Vsequencer> top_;
  std::vector<std::uint8_t> bytes_;
  std::vector<Event> events_;
  std::optional<Reading> reading_;
  std::optional<std::size_t> writing_, router_delay_, decide_delay_, engine_delay_;
  std::size_t router_beats_ = 0, token_beats_ = 0, finished_ = 0;
  std::uint32_t result_beat_ = 0;
  bool flushing_ = false, done_ = false;
};

using Events = std::vector<Sequencer::Event>;

/// Names the first difference; the lists are long.
void expect_same(const Events& got, const Events& expected) {
  const auto [at, wanted] = std::mismatch(got.begin(), got.end(), expected.begin(), expected.end());
  if (at == got.end() && wanted == expected.end()) return;
  ADD_FAILURE() << "event " << at - got.begin() << ": got " << (at == got.end() ? Sequencer::Event{"nothing", {}} : *at)
                << ", expected " << (wanted == expected.end() ? Sequencer::Event{"nothing", {}} : *wanted);
}

/// What the neighbours must hear of one layer command.
void expect_layer(Events& events, const LayerFlags& flags, std::size_t layer, std::size_t forced, std::size_t sequence,
                  std::uint64_t token, std::uint64_t result, const Sequencer& neighbours) {
  constexpr std::size_t kRouter = Sequencer::kRouterBeats, kToken = Sequencer::kTokenBeats;
  const std::size_t expert = flags.route && !flags.forced ? neighbours.choice : forced;
  const std::uint64_t key = layer << 4 | expert;
  const std::size_t beats = (flags.route ? kRouter : 0) + (flags.compute ? kToken : 0);
  if (beats != 0) events.push_back({"read", {token, beats}});
  if (flags.lookup || flags.compute) events.push_back({"decide", {key, flags.lookup, !flags.compute}});
  if (flags.observe) events.push_back({"observe", {layer, expert, sequence}});
  if (flags.compute) {
    events.push_back({"engine", {neighbours.slot, kToken}});
    events.push_back({"write", {result + 128, kRouter}});
    for (std::uint64_t i = 0; i < kRouter; ++i) events.push_back({"beat", {i, i, i}});
  }
  events.push_back({"write", {result, 2}});
  const std::size_t lookup = flags.lookup ? neighbours.lookup : 0;
  events.push_back({"beat", {0xF1A30001U, expert | lookup << 8, 777}});
  events.push_back({"beat", {1000, 1001, 1002}});
}

TEST(RtlSequencer, RunsLayerCommandsOfEveryKindWhateverTheNeighboursPauses) {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    Sequencer sequencer(seed);
    std::mt19937& random = sequencer.random();
    sequencer.choice = random() % Sequencer::kExperts;
    sequencer.slot = random() % 6;
    sequencer.lookup = 1 + random() % 3;
    CommandList commands;
    Events expected;
    const std::size_t count = 1 + random() % 20;  // more than one fetch of eight
    for (std::size_t i = 0; i < count; ++i) {
      LayerFlags flags;
      flags.route = random() % 2 == 0;
      flags.forced = random() % 2 == 0;
      flags.lookup = random() % 2 == 0;
      flags.observe = random() % 2 == 0;
      flags.compute = random() % 2 == 0;
      const std::size_t layer = random() % Sequencer::kLayers, expert = random() % Sequencer::kExperts;
      const std::size_t sequence = random() % 64;
      const std::uint64_t token = 0x4000 + 0x400 * i, result = 0x40000 + 0x1000 * i;
      commands.layer(flags, layer, expert, sequence, token, result);
      expect_layer(expected, flags, layer, expert, sequence, token, result, sequencer);
    }
    SCOPED_TRACE(seed);
    expect_same(sequencer.run(commands), expected);
    ASSERT_EQ(sequencer->error_o, 0);
    ASSERT_EQ(sequencer->command_index_o, count);
  }
}

TEST(RtlSequencer, LoadsTablesClearsCopiesFlushesAndHints) {
  for (unsigned seed = 1; seed <= 10; ++seed) {
    Sequencer sequencer(seed);
    CommandList commands;
    commands.load_router(2, 0x8000);
    commands.load_table(0x9000, 3, 5);
    commands.load_keep(0xA000, 3);
    commands.clear_sequence(7);
    commands.copy_sequence(9, 7);
    commands.flush();
    commands.prefetch(1, 4);
    commands.delay(100);
    Events expected;
    expected.push_back({"read", {0x8000, Sequencer::kExperts * Sequencer::kRouterBeats}});
    for (std::uint64_t e = 0; e < Sequencer::kExperts; ++e) {
      for (std::uint64_t beat = 0; beat < Sequencer::kRouterBeats; ++beat) {
        expected.push_back({"router weights", {2, e, beat, 0x8000 + 64 * (e * Sequencer::kRouterBeats + beat)}});
      }
    }
    expected.push_back({"read", {0x9000, 5}});
    for (std::uint64_t beat = 0; beat < 5; ++beat) expected.push_back({"table", {3 + beat, 0x9000 + 64 * beat}});
    expected.push_back({"read", {0xA000, 3}});
    for (std::uint64_t beat = 0; beat < 3; ++beat) expected.push_back({"keep", {beat, 0xA000 + 64 * beat}});
    expected.push_back({"clear", {7}});
    expected.push_back({"copy", {9, 7}});
    expected.push_back({"flush", {}});
    expected.push_back({"prefetch", {1 << 4 | 4}});
    expect_same(sequencer.run(commands), expected);
    ASSERT_EQ(sequencer->error_o, 0);
    ASSERT_EQ(sequencer.kinds[7], 100U);  // the delay
  }
}

TEST(RtlSequencer, StopsAtTheFirstBadCommandAndSaysWhichAndWhy) {
  struct Bad {
    std::uint32_t error;
    std::function<void(CommandList&)> add;
  };
  const LayerFlags run{.route = false, .forced = false, .lookup = true, .observe = false, .compute = true};
  const std::vector<Bad> cases = {
      {2, [&](CommandList& list) { list.layer(run, 3, 0, 0, 0x4000, 0x40000); }},
      {3, [&](CommandList& list) { list.layer(run, 0, 5, 0, 0x4000, 0x40000); }},
      {8, [&](CommandList& list) { list.layer(run, 0, 0, 64, 0x4000, 0x40000); }},
      {8, [&](CommandList& list) { list.clear_sequence(64); }},
      {8, [&](CommandList& list) { list.copy_sequence(1, 64); }},
      {2, [&](CommandList& list) { list.load_router(3, 0x8000); }},
      {3, [&](CommandList& list) { list.prefetch(0, 5); }},
      {10, [&](CommandList& list) { list.layer(run, 0, 0, 0, 0x4020, 0x40000); }},
      {10, [&](CommandList& list) { list.layer(run, 0, 0, 0, 0x4000, 0x40008); }},
      {10, [&](CommandList& list) { list.load_router(0, 0x8001); }},
      {11, [&](CommandList& list) { list.load_table(0x9000, 4090, 7); }},
      {11, [&](CommandList& list) { list.load_table(0x9000, 0, 65536); }},
      {11, [&](CommandList& list) { list.load_keep(0xA000, 17); }},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    Sequencer sequencer(static_cast<unsigned>(i) + 1);
    CommandList commands;
    commands.clear_sequence(1);
    cases[i].add(commands);
    commands.clear_sequence(2);
    SCOPED_TRACE(i);
    expect_same(sequencer.run(commands), {{"clear", {1}}});
    EXPECT_EQ(sequencer->error_o, cases[i].error) << "case " << i;
    EXPECT_EQ(sequencer->command_index_o, 1U);
  }
}

TEST(RtlSequencer, StopsAtAnOpcodeItDoesNotKnow) {
  for (const unsigned opcode : {10U, 11U, 128U, 255U}) {
    Sequencer sequencer(opcode);
    sequencer.second_opcode = static_cast<std::uint8_t>(opcode);
    CommandList commands;
    for (std::size_t i = 0; i < 3; ++i) commands.clear_sequence(i);
    expect_same(sequencer.run(commands), {{"clear", {0}}});
    EXPECT_EQ(sequencer->error_o, 1U);
    EXPECT_EQ(sequencer->command_index_o, 1U);
  }
}

TEST(RtlSequencer, EndsAListAtItsEndCommandWithoutAnError) {
  Sequencer sequencer(4);
  sequencer.second_opcode = 0;
  CommandList commands;
  for (std::size_t i = 0; i < 3; ++i) commands.clear_sequence(i);
  expect_same(sequencer.run(commands), {{"clear", {0}}});
  EXPECT_EQ(sequencer->error_o, 0U);
  EXPECT_EQ(sequencer->command_index_o, 1U);
}

TEST(RtlSequencer, AnErrorOfTheMemoryEndsTheListAndIsKept) {
  for (const auto& [error, read] : {std::pair{6U, true}, {7U, false}}) {
    Sequencer sequencer(error);
    (read ? sequencer->read_error_i : sequencer->write_error_i) = 1;
    CommandList commands;
    for (std::size_t i = 0; i < 4; ++i) commands.clear_sequence(i);
    EXPECT_LE(sequencer.run(commands).size(), 1U);  // the command at hand ends in its own time
    EXPECT_EQ(sequencer->error_o, error);
    EXPECT_LE(sequencer->command_index_o, 1U);
  }
}

TEST(RtlSequencer, AnErrorOfALoadIsReportedOnceAndEndsWithAFlush) {
  for (const bool idle : {false, true}) {
    Sequencer sequencer(9);
    CommandList commands;
    commands.clear_sequence(0);
    if (idle) {
      sequencer.load_error_in = 2;
      sequencer.pass(20);
      expect_same(sequencer.run(commands), {{"flush", {}}});
    } else {
      CommandList several;
      several.delay(100);
      several.clear_sequence(1);
      sequencer.load_error_in = 80;
      expect_same(sequencer.run(several), {{"flush", {}}});
    }
    EXPECT_EQ(sequencer->error_o, 6U);
    expect_same(sequencer.run(commands), {{"clear", {0}}});
    EXPECT_EQ(sequencer->error_o, 0U);
  }
}

TEST(RtlSequencer, RefusesShapesAndSlotsThatTheKernelDoesNotHold) {
  struct Bad {
    std::uint32_t error;
    std::function<void(Sequencer&)> set;
  };
  const std::vector<Bad> cases = {
      {4, [](Sequencer& s) { s->model_blocks_i = 0; }}, {4, [](Sequencer& s) { s->model_blocks_i = 17; }},
      {4, [](Sequencer& s) { s->ff_blocks_i = 65; }},   {4, [](Sequencer& s) { s->experts_i = 9; }},
      {4, [](Sequencer& s) { s->layers_i = 13; }},      {5, [](Sequencer& s) { s->slots_i = 0; }},
      {5, [](Sequencer& s) { s->slots_i = 65; }},       {5, [](Sequencer& s) { s->slots_fit_i = 0; }},
      {4, [](Sequencer& s) { s->shape_fits_i = 0; }},   {9, [](Sequencer& s) { s->predictor_fits_i = 0; }},
      {10, [](Sequencer& s) { s->commands_i += 8; }},
  };
  for (const Bad& bad : cases) {
    Sequencer sequencer(1);
    bad.set(sequencer);
    CommandList commands;
    commands.clear_sequence(1);
    EXPECT_TRUE(sequencer.run(commands).empty());
    EXPECT_EQ(sequencer->error_o, bad.error);
  }
}

}  // namespace
}  // namespace flame::accel

#endif  // FLAME_TEST_RTL
