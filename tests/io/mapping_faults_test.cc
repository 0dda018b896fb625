#include "flame/io/mapping_faults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <span>
#include <string>

#include "flame/io/file.h"
#include "support/test_data.h"

namespace flame::io {
namespace {

unsigned sum_of(std::span<const std::byte> bytes) {
  unsigned sum = 0;
  for (const std::byte byte : bytes) sum += static_cast<unsigned>(byte);
  return sum;
}

class MappingFaultsDeathTest : public ::testing::Test {
 protected:
  MappingFaultsDeathTest() {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    std::ofstream(path_) << std::string(1 << 20, 'x');
  }

  const test::TemporaryDirectory directory_;
  const test::TemporariesIn childrens_{directory_.path()};  // of the processes that the tests start
  const std::filesystem::path path_ = directory_ / "weights";
};

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they take the signal themselves
TEST_F(MappingFaultsDeathTest, AFileThatIsCutWhileItIsMappedIsNamed) {
  EXPECT_EXIT(
      {
        install_mapping_fault_handler();
        const MemoryMap map = FileSystem::real().map(path_);
        if (::truncate(path_.c_str(), 4096) != 0) std::_Exit(3);
        std::_Exit(sum_of(map.bytes()) > 0 ? 4 : 5);
      },
      ::testing::ExitedWithCode(1), "weights: cannot be read any more: it was cut short while in use");
}

TEST_F(MappingFaultsDeathTest, AFaultElsewhereEndsTheProcessAsEver) {
  EXPECT_EXIT(
      {
        install_mapping_fault_handler();
        const MemoryMap map = FileSystem::real().map(path_);
        forget_mapping(map.bytes().data());
        if (::truncate(path_.c_str(), 4096) != 0) std::_Exit(3);
        std::_Exit(sum_of(map.bytes()) > 0 ? 4 : 5);
      },
      ::testing::KilledBySignal(SIGBUS), "");
}
#endif

TEST_F(MappingFaultsDeathTest, WhatIsWholeIsReadAsBefore) {
  install_mapping_fault_handler();
  const MemoryMap map = FileSystem::real().map(path_);
  EXPECT_EQ(sum_of(map.bytes()), (1U << 20) * static_cast<unsigned>('x'));
}

}  // namespace
}  // namespace flame::io
