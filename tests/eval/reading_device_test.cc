#include "flame/eval/reading_device.h"

#include <gtest/gtest.h>

#include "flame/base/error.h"
#include "flame/eval/packed_bundles.h"
#include "routing/fake_device.h"
#include "support/test_data.h"
#include "support/tiny_checkpoint.h"

namespace flame::eval {
namespace {

using model::Stack;

class ReadingDeviceTest : public ::testing::Test {
 protected:
  /// The decoder goes through its layers once.
  void step(ReadingDevice& device) const {
    for (std::uint32_t layer = 0; layer < bundle_->grid().decoder_layers; ++layer) {
      routing::test::route(device, {Stack::kDecoder, layer}, {0});
    }
  }
  [[nodiscard]] std::uint64_t expert_bytes() const { return bundle_->expert(0).stored_bytes; }
  /// `at_once`: a read that is begun has ended when the step goes on, so that what is counted is what was begun.
  [[nodiscard]] std::unique_ptr<ReadingDevice> open(bool at_once) const {
    experts::BufferOptions options;
    options.wait_for_loads = at_once;
    return std::make_unique<ReadingDevice>(std::make_unique<routing::test::FakeDevice>(), bundle_, options);
  }

  test::TemporaryDirectory directory_;
  std::shared_ptr<const experts::Bundle> bundle_ = std::make_shared<const experts::Bundle>(experts::Bundle::open(
      PackedBundles(test::tiny_checkpoint(), directory_ / "work", {}).get("2:4", kernels::PackedType::kInt8)));
};

TEST_F(ReadingDeviceTest, ReadsWhatAStepIsToldToAndNothingInTheEncoder) {
  const auto device = open(true);
  device->read_each_step(1.5 * static_cast<double>(expert_bytes()));
  device->begin_statistics();
  for (std::uint32_t layer = 0; layer < bundle_->grid().encoder_layers; ++layer) {
    routing::test::route(*device, {Stack::kEncoder, layer}, {0});
  }
  EXPECT_EQ(device->bytes_read(), 0U);
  for (int i = 0; i < 10; ++i) step(*device);
  EXPECT_EQ(device->bytes_read(), 15 * expert_bytes());
  EXPECT_NEAR(device->bytes_asked(), 15.0 * static_cast<double>(expert_bytes()), 1.0);
  device->read_each_step(0.0);
  for (int i = 0; i < 3; ++i) step(*device);
  EXPECT_EQ(device->bytes_read(), 15 * expert_bytes()) << "nothing is owed any more";
}

TEST_F(ReadingDeviceTest, WhatTheStorageDidNotComeToIsAskedForButNotRead) {
  const auto device = open(true);
  device->read_each_step(100.0 * static_cast<double>(expert_bytes()));
  device->begin_statistics();
  for (int i = 0; i < 3; ++i) step(*device);
  EXPECT_NEAR(device->bytes_asked(), 300.0 * static_cast<double>(expert_bytes()), 1.0);
  EXPECT_LT(static_cast<double>(device->bytes_read()), device->bytes_asked());
  device->wait_until_idle();
  device->begin_statistics();
  EXPECT_EQ(device->bytes_read(), 0U);
  device->read_each_step(0.0);
  for (int i = 0; i < 3; ++i) step(*device);
  EXPECT_EQ(device->bytes_read(), 0U) << "what the last run left undone is not made up for";
}

TEST_F(ReadingDeviceTest, SaysWhatCouldNotBeRead) {
  const auto device = open(false);
  std::filesystem::resize_file(bundle_->experts_file(), 4096);
  device->read_each_step(static_cast<double>(expert_bytes()));
  step(*device);
  EXPECT_THROW(device->wait_until_idle(), DeviceError);
}

}  // namespace
}  // namespace flame::eval
