#include "flame/experts/stored_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "experts/tiny_bundle.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
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
  enum class Noticed { kByTheOneThatComputes, kByPoll, kByWait };
  for (const Noticed noticed : {Noticed::kByTheOneThatComputes, Noticed::kByPoll, Noticed::kByWait}) {
    loader_->start(0, 3, io::ReadPriority::kPrefetch, 0);
    loader_->wait();  // all its attempts are over, and nobody has been told
    mend();
    loader_->promote(0);
    if (noticed == Noticed::kByTheOneThatComputes) {
      const std::uint64_t bytes = bundle_->expert(3).stored_bytes;
      EXPECT_EQ(loader_->wait_for_bytes(0, 3, bytes), bytes);
    } else {
      if (noticed == Noticed::kByPoll) {
        EXPECT_FALSE(loader_->poll().has_value()) << "it is under way again";
      }
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

TEST_F(StoredLoaderTest, AllThatTheStorageDeliversIsTheBytesOfSomeLoad) {
  std::uint64_t answered = 0;
  FaultPlan cut;
  cut.cut_at = bundle_->expert(3).offset + io::kReadAlignment;
  for (const FaultPlan& plan : {FaultPlan{.corrupt = 1.0}, cut}) {
    reader_->set_plan(plan);
    loader_->start(0, 3, io::ReadPriority::kPrefetch, 0);
    loader_->wait();
    const std::uint64_t in_vain = loader_->statistics().bytes - answered;
    EXPECT_GT(in_vain, 0U) << "delivered before the read failed";
    mend();
    loader_->promote(0);
    loader_->wait();
    const std::optional<LoadEnd> end = loader_->poll();
    ASSERT_TRUE(end.has_value());
    EXPECT_EQ(end->outcome, LoadEnd::Outcome::kWhole);
    EXPECT_EQ(end->bytes, in_vain + bundle_->expert(3).stored_bytes);
    EXPECT_EQ(end->seconds, 0.0) << "says nothing of how long a load takes";
    answered += end->bytes;
    EXPECT_EQ(loader_->statistics().bytes, answered);
  }
}

/// Of the events in a timeline: kind to milliseconds, one a load.
std::multimap<std::string, double> loads_in(const std::filesystem::path& path) {
  std::multimap<std::string, double> loads;
  for (const Json& event : parse_json(io::read_file(path), path)) {
    if (event["ph"] == "X") loads.emplace(event["cat"].get<std::string>(), 1e-3 * event["dur"].get<double>());
  }
  return loads;
}

TEST_F(StoredLoaderTest, TheRestIsDrawnAsWhatItIsAlsoWhenTheLoaderGoes) {
  const std::filesystem::path path = model_ / "rest.json";
  for (const bool asked_for : {true, false}) {
    mend();
    timeline_.open(path);
    loader_->start(0, 3, io::ReadPriority::kDemand, 0);
    loader_->wait();  // nobody polls
    FaultPlan silent;
    silent.stuck = true;
    reader_->set_plan(silent);
    loader_->start(1, 4, io::ReadPriority::kDemand, 0);
    if (asked_for) {
      loader_->draw_rest();
    } else {
      loader_.reset();
    }
    timeline_.close();
    const auto loads = loads_in(path);
    EXPECT_EQ(loads.size(), 2U);
    EXPECT_EQ(loads.count("load"), 1U) << "it had ended";
    EXPECT_EQ(loads.count("unfinished load"), 1U);
    if (!asked_for) return;
    mend();
    reader_->wake();
    for (int ends = 0; ends < 2;) {
      if (loader_->poll().has_value()) {
        ++ends;
      } else {
        loader_->wait();
      }
    }
  }
}

TEST_F(StoredLoaderTest, ALoadThatIsReadTwiceIsDrawnOnceFromItsFirstRead) {
  const std::filesystem::path path = model_ / "twice.json";
  timeline_.open(path);
  loader_->start(0, 3, io::ReadPriority::kPrefetch, 0);
  loader_->wait();
  mend();
  loader_->promote(0);
  loader_->wait();
  ASSERT_TRUE(loader_->poll().has_value());
  timeline_.close();
  const auto loads = loads_in(path);
  ASSERT_EQ(loads.size(), 1U);
  EXPECT_EQ(loads.begin()->first, "load");
  EXPECT_GE(loads.begin()->second, 21.0) << "ms: the first read's attempts are 1, 4 and 16 ms apart at least";
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
