#include "flame/experts/stored_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "experts/tiny_bundle.h"
#include "flame/base/error.h"
#include "flame/io/file.h"
#include "support/faulty_reader.h"

namespace flame::experts {
namespace {

using test::FaultPlan;
using test::FaultyReader;

/// A loader of two slots over a storage that fails every read until it is told otherwise.
class StoredLoaderTest : public testing::Test {
 protected:
  StoredLoaderTest() {
    const std::string text = io::read_file(bundle_->experts_file());
    const auto bytes = std::as_bytes(std::span(text));
    FaultPlan broken;
    broken.error = 1.0;
    auto reader =
        std::make_unique<FaultyReader>(std::vector<std::byte>(bytes.begin(), bytes.end()), broken, std::uint64_t{1});
    reader_ = reader.get();
    loader_ = std::make_unique<StoredLoader>(bundle_, memory_, std::move(reader), BufferOptions{}, timeline_);
  }

  void mend() { reader_->set_plan(FaultPlan{}); }
  /// The first bytes of what is in the slot, against the file's.
  void expect_there(SlotIndex slot, ExpertIndex expert) {
    const StoredExpert& stored = bundle_->expert(expert);
    const std::string text = io::read_file(bundle_->experts_file());
    const auto wanted = std::as_bytes(std::span(text)).subspan(stored.offset, stored.stored_bytes);
    EXPECT_TRUE(std::ranges::equal(memory_->slot(slot).first(stored.stored_bytes), wanted));
  }

  test::TinyModel model_;
  std::shared_ptr<const Bundle> bundle_ = model_.pack("bundle", "2:4", kernels::PackedType::kInt8);
  std::shared_ptr<SlotMemory> memory_ = std::make_shared<SlotMemory>(2, bundle_->slot_bytes());
  Timeline timeline_;
  FaultyReader* reader_ = nullptr;
  std::unique_ptr<StoredLoader> loader_;
};

TEST_F(StoredLoaderTest, APrefetchThatFailedBeforeItWasWantedIsReadAgainOnDemand) {
  for (const bool waited_for : {false, true}) {  // by the one that computes, or told by poll()
    loader_->start(0, 3, io::ReadPriority::kPrefetch, 0);
    loader_->wait();  // all its attempts are over, and nobody has been told
    mend();
    loader_->promote(0);
    if (waited_for) {
      const std::uint64_t bytes = bundle_->expert(3).stored_bytes;
      EXPECT_EQ(loader_->wait_for_bytes(0, 3, bytes), bytes);
    } else {
      EXPECT_FALSE(loader_->poll().has_value()) << "it is under way again";
      loader_->wait();
    }
    const std::optional<LoadEnd> end = loader_->poll();
    ASSERT_TRUE(end.has_value());
    EXPECT_EQ(end->outcome, LoadEnd::Outcome::kWhole);
    EXPECT_FALSE(loader_->poll().has_value()) << "one start, one end";
    expect_there(0, 3);
    reader_->set_plan({.error = 1.0});
  }
}

TEST_F(StoredLoaderTest, WhatFailsOnDemandIsAnError) {
  loader_->start(0, 3, io::ReadPriority::kPrefetch, 0);
  loader_->wait();
  const std::optional<LoadEnd> unwanted = loader_->poll();
  ASSERT_TRUE(unwanted.has_value());
  EXPECT_EQ(unwanted->outcome, LoadEnd::Outcome::kFailed) << "nobody wanted it, nobody reads it again";
  loader_->start(1, 3, io::ReadPriority::kPrefetch, 0);
  loader_->promote(1);
  EXPECT_THROW((void)loader_->wait_for_bytes(1, 3, 1), DeviceError) << "read again once, not for ever";
}

}  // namespace
}  // namespace flame::experts
