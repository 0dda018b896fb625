#include "flame/accel/axi_memory.h"

#include <gtest/gtest.h>

#include "flame/base/error.h"

namespace flame::accel {
namespace {

class AxiPortTest : public ::testing::Test {
 protected:
  AxiPortTest() { bank_.allocate(64 * 1024); }

  /// One cycle; returns what the memory drives.
  const AxiSlaveSignals& cycle() {
    kernel_.w_data = &data_;
    port_.respond(kernel_, now_++, memory_);
    return memory_;
  }
  void expect_broken(const std::string& rule) {
    try {
      for (int i = 0; i < 10; ++i) cycle();
      FAIL() << "the monitor let it pass: " << rule;
    } catch (const DeviceError& error) {
      EXPECT_NE(std::string(error.what()).find(rule), std::string::npos) << error.what();
    }
  }

  MemoryBank bank_{make_fixed_bandwidth_timing({}), 1 << 20};
  AxiPort port_{2, bank_, 0x1000000};
  AxiMasterSignals kernel_;
  AxiSlaveSignals memory_;
  Beat data_{};
  std::uint64_t now_ = 0;
};

TEST_F(AxiPortTest, ABurstBringsItsBytesInOrderWithTheLastBeatMarked) {
  for (std::size_t i = 0; i < 4; ++i) bank_.bytes()[128 + 64 * i] = static_cast<std::uint8_t>(10 + i);
  kernel_.ar_valid = true;
  kernel_.ar_address = 0x1000000 + 128;
  kernel_.ar_length = 3;
  kernel_.r_ready = true;
  EXPECT_TRUE(cycle().ar_ready);
  kernel_.ar_valid = false;
  std::vector<std::uint32_t> words;
  std::vector<bool> last;
  while (words.size() < 4 && now_ < 200) {
    if (!cycle().r_valid) continue;
    words.push_back(memory_.r_data[0]);
    last.push_back(memory_.r_last);
  }
  EXPECT_EQ(words, (std::vector<std::uint32_t>{10, 11, 12, 13}));
  EXPECT_EQ(last, (std::vector<bool>{false, false, false, true}));
}

TEST_F(AxiPortTest, WrittenBeatsAreInMemoryWhenTheResponseComes) {
  kernel_.aw_valid = true;
  kernel_.aw_address = 0x1000000 + 4096;
  kernel_.aw_length = 1;
  kernel_.b_ready = true;
  cycle();
  kernel_.aw_valid = false;
  kernel_.w_valid = true;
  data_[0] = 7;
  cycle();
  data_[0] = 8;
  kernel_.w_last = true;
  cycle();
  kernel_.w_valid = false;
  while (!cycle().b_valid) ASSERT_LT(now_, 200U);
  EXPECT_EQ(bank_.bytes()[4096], 7);
  EXPECT_EQ(bank_.bytes()[4096 + 64], 8);
}

TEST_F(AxiPortTest, AReadErrorIsAnsweredForItsBeatOnly) {
  port_.inject_read_error(64, 128);
  kernel_.ar_valid = true;
  kernel_.ar_address = 0x1000000;
  kernel_.ar_length = 2;
  kernel_.r_ready = true;
  cycle();
  kernel_.ar_valid = false;
  std::vector<int> responses;
  while (responses.size() < 3 && now_ < 200) {
    if (cycle().r_valid) responses.push_back(memory_.r_response);
  }
  EXPECT_EQ(responses, (std::vector<int>{0, 2, 0}));
}

TEST_F(AxiPortTest, ABurstAcrossFourKibibytesIsCaught) {
  kernel_.ar_valid = true;
  kernel_.ar_address = 0x1000000 + 4096 - 64;
  kernel_.ar_length = 1;
  expect_broken("4 KiB");
}

TEST_F(AxiPortTest, ABurstOutsideTheBankIsCaught) {
  kernel_.ar_valid = true;
  kernel_.ar_address = 0x1000000 + 64 * 1024;
  expect_broken("outside");
  kernel_.ar_address = 0x100;
  expect_broken("outside");
}

TEST_F(AxiPortTest, AnAddressThatChangesBeforeItIsTakenIsCaught) {
  port_.set_stalls({.ar = 256}, 1);
  kernel_.ar_valid = true;
  kernel_.ar_address = 0x1000000;
  cycle();
  kernel_.ar_address += 64;
  expect_broken("ARVALID or its payload");
}

TEST_F(AxiPortTest, WriteDataThatChangesBeforeItIsTakenIsCaught) {
  port_.set_stalls({.w = 256}, 1);
  kernel_.aw_valid = true;
  kernel_.aw_address = 0x1000000;
  cycle();
  kernel_.aw_valid = false;
  kernel_.w_valid = true;
  kernel_.w_last = true;
  cycle();
  data_[3] = 1;
  expect_broken("WVALID or its payload");
}

TEST_F(AxiPortTest, WriteDataWithoutAnAddressIsCaught) {
  kernel_.w_valid = true;
  kernel_.w_last = true;
  expect_broken("before its address");
}

TEST_F(AxiPortTest, AMisplacedLastBeatIsCaught) {
  kernel_.aw_valid = true;
  kernel_.aw_address = 0x1000000;
  kernel_.aw_length = 3;
  cycle();
  kernel_.aw_valid = false;
  kernel_.w_valid = true;
  kernel_.w_last = true;
  expect_broken("WLAST");
}

TEST_F(AxiPortTest, PortsOfABankTakeTurns) {
  AxiPort other(4, bank_, 0x1000000);
  int first = 0;
  int second = 0;
  AxiSlaveSignals answer;
  AxiMasterSignals wants;
  wants.ar_valid = true;
  wants.ar_address = 0x1000000;
  wants.ar_length = 63;
  wants.r_ready = true;
  for (std::uint64_t now = 0; now < 20000; ++now) {
    port_.respond(wants, now, memory_);
    other.respond(wants, now, answer);
    first += memory_.ar_ready ? 1 : 0;
    second += answer.ar_ready ? 1 : 0;
  }
  EXPECT_GT(first, 100);
  EXPECT_NEAR(first, second, 1);
}

TEST(MemoryBank, GivesOutNoMoreThanItHasAndAgainWhatItGotBack) {
  MemoryBank bank(make_fixed_bandwidth_timing({}), 4 * 4096);
  const std::uint64_t first = bank.allocate(1);
  const std::uint64_t second = bank.allocate(2 * 4096);
  EXPECT_THROW(bank.allocate(2 * 4096), DeviceError);
  bank.bytes()[second] = 7;
  bank.release(second);
  const std::uint64_t third = bank.allocate(3 * 4096);
  EXPECT_EQ(third, second);
  EXPECT_EQ(bank.bytes()[third], 0);
  EXPECT_THROW(bank.allocate(1), DeviceError);
  bank.release(first);
  EXPECT_EQ(bank.allocate(4096), first);
  EXPECT_THROW(bank.allocate(std::size_t{1} << 62), DeviceError);
}

}  // namespace
}  // namespace flame::accel
