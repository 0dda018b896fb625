#include "flame/io/read_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <future>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "flame/base/checksum.h"
#include "flame/base/error.h"
#include "flame/io/thread_reader.h"
#include "support/faulty_reader.h"
#include "support/test_data.h"

namespace flame::io {
namespace {

using test::FaultPlan;
using test::FaultyReader;
using testing::HasSubstr;

constexpr std::size_t kBlock = 4096;
constexpr auto kSoon = std::chrono::seconds(20);

std::vector<std::byte> random_bytes(std::size_t bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> content(bytes);
  for (std::byte& byte : content) byte = static_cast<std::byte>(random());
  return content;
}

std::vector<std::uint64_t> checksums_of(std::span<const std::byte> bytes, std::size_t block = kBlock) {
  std::vector<std::uint64_t> sums;
  for (std::size_t at = 0; at < bytes.size(); at += block) {
    sums.push_back(checksum_of(bytes.subspan(at, std::min(block, bytes.size() - at))));
  }
  return sums;
}

/// Memory as O_DIRECT wants it.
class AlignedBytes {
 public:
  explicit AlignedBytes(std::size_t bytes)
      : data_(static_cast<std::byte*>(std::aligned_alloc(kReadAlignment, bytes)), std::free), bytes_(bytes) {
    std::fill_n(data_.get(), bytes, std::byte{0xee});
  }
  [[nodiscard]] std::span<std::byte> span() const { return {data_.get(), bytes_}; }
  [[nodiscard]] std::shared_ptr<const void> owner() const { return data_; }

 private:
  std::shared_ptr<std::byte> data_;
  std::size_t bytes_;
};

ReadQueueOptions small_chunks() {
  ReadQueueOptions options;
  options.block_bytes = kBlock;
  options.demand_chunk_bytes = 2 * kBlock;
  options.prefetch_chunk_bytes = kBlock;
  options.fast_prefetch_chunk_bytes = 2 * kBlock;
  options.fast_bytes_per_second = 1e18;
  options.retry_delay = std::chrono::microseconds(1);
  return options;
}

Clock::time_point soon() { return Clock::now() + kSoon; }

class ReadQueueTest : public testing::Test {
 protected:
  void open(const FaultPlan& plan, std::uint64_t seed = 1) {
    auto reader = std::make_unique<FaultyReader>(content_, plan, seed);
    reader_ = reader.get();
    queue_ = std::make_unique<ReadQueue>(std::move(reader), 4, small_chunks(), memory_.owner());
  }
  ReadRequest request(std::uint64_t offset, std::uint64_t bytes, std::byte* destination) {
    return {offset, bytes, destination,
            std::span<const std::uint64_t>(sums_).subspan(offset / kBlock, (bytes + kBlock - 1) / kBlock)};
  }
  bool arrived(std::uint64_t offset, std::span<const std::byte> bytes) {
    return std::equal(bytes.begin(), bytes.end(), content_.begin() + static_cast<std::ptrdiff_t>(offset));
  }

  std::vector<std::byte> content_ = random_bytes(64 * kBlock, 7);
  std::vector<std::uint64_t> sums_ = checksums_of(content_);
  AlignedBytes memory_{64 * kBlock};
  FaultyReader* reader_ = nullptr;
  std::unique_ptr<ReadQueue> queue_;
};

TEST_F(ReadQueueTest, DeliversTheBytesOfTheFile) {
  open({});
  queue_->start(0, request(8 * kBlock, 9 * kBlock, memory_.span().data()), ReadPriority::kDemand);
  EXPECT_EQ(queue_->wait(0, 9 * kBlock, soon()), ReadState::kDone);
  EXPECT_EQ(queue_->ready_bytes(0), 9 * kBlock);
  EXPECT_TRUE(arrived(8 * kBlock, memory_.span().first(9 * kBlock)));
  EXPECT_EQ(queue_->delivery(0).bytes, 9 * kBlock);
  EXPECT_GT(queue_->delivery(0).seconds, 0.0);
  EXPECT_EQ(queue_->ended(), 1U);
}

TEST_F(ReadQueueTest, SurvivesErrorsShortReadsCorruptionAndDisorderWithTheRightBytes) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    FaultPlan plan;
    plan.error = 0.1;
    plan.short_read = 0.2;
    plan.corrupt = 0.1;
    plan.slow = 0.3;
    plan.reorder = true;
    open(plan, seed);
    int done = 0;
    for (std::size_t entry = 0; entry < 4; ++entry) {
      queue_->start(entry, request(entry * 16 * kBlock, 16 * kBlock, memory_.span().data() + entry * 16 * kBlock),
                    entry % 2 == 0 ? ReadPriority::kDemand : ReadPriority::kPrefetch);
    }
    for (std::size_t entry = 0; entry < 4; ++entry) {
      const ReadState state = queue_->wait(entry, 16 * kBlock, soon());
      ASSERT_THAT(state, testing::AnyOf(ReadState::kDone, ReadState::kFailed));
      if (state == ReadState::kDone) {
        ++done;
        ASSERT_TRUE(arrived(entry * 16 * kBlock, memory_.span().subspan(entry * 16 * kBlock, 16 * kBlock)));
      } else {
        ASSERT_NE(queue_->failure(entry).reason, ReadFailure::Reason::kNone);
      }
    }
    EXPECT_EQ(queue_->ended(), 4U);
    EXPECT_GT(done, 0);
    queue_.reset();
  }
}

TEST_F(ReadQueueTest, BytesBelowReadyBytesAreCheckedWhileTheRestIsOnItsWay) {
  FaultPlan plan;
  plan.reorder = true;
  plan.corrupt = 0.3;
  open(plan, 3);
  queue_->start(0, request(0, 32 * kBlock, memory_.span().data()), ReadPriority::kDemand);
  std::uint64_t ready = 0;
  while (queue_->state(0) == ReadState::kReading) {
    ready = queue_->ready_bytes(0);
    ASSERT_TRUE(arrived(0, memory_.span().first(ready)));
  }
}

TEST_F(ReadQueueTest, ReportsAPersistentErrorWithItsOffset) {
  FaultPlan plan;
  plan.error = 1.0;
  open(plan);
  queue_->start(1, request(4 * kBlock, 2 * kBlock, memory_.span().data()), ReadPriority::kDemand);
  EXPECT_EQ(queue_->wait(1, 1, soon()), ReadState::kFailed);
  EXPECT_EQ(queue_->failure(1).reason, ReadFailure::Reason::kSystem);
  EXPECT_EQ(queue_->failure(1).offset, 4 * kBlock);
  EXPECT_THAT(queue_->failure(1).message(), HasSubstr("16384"));
  EXPECT_EQ(queue_->statistics().retries, 3U);
}

TEST_F(ReadQueueTest, ReportsDamageThatStays) {
  content_[5 * kBlock + 17] ^= std::byte{1};
  open({});
  queue_->start(0, request(4 * kBlock, 4 * kBlock, memory_.span().data()), ReadPriority::kDemand);
  EXPECT_EQ(queue_->wait(0, 4 * kBlock, soon()), ReadState::kFailed);
  EXPECT_EQ(queue_->failure(0).reason, ReadFailure::Reason::kChecksum);
  EXPECT_EQ(queue_->failure(0).offset, 5 * kBlock);
  EXPECT_LE(queue_->ready_bytes(0), kBlock);
  EXPECT_THAT(queue_->failure(0).message(), HasSubstr("damaged"));
}

TEST_F(ReadQueueTest, ReportsAFileThatWasCut) {
  FaultPlan plan;
  plan.cut_at = 6 * kBlock + 100;
  open(plan);
  queue_->start(0, request(4 * kBlock, 4 * kBlock, memory_.span().data()), ReadPriority::kDemand);
  EXPECT_EQ(queue_->wait(0, 4 * kBlock, soon()), ReadState::kFailed);
  EXPECT_EQ(queue_->failure(0).reason, ReadFailure::Reason::kEndOfFile);
  EXPECT_THAT(queue_->failure(0).message(), HasSubstr("cut"));
}

TEST_F(ReadQueueTest, AWaitEndsAtItsDeadlineWhenTheStorageHangs) {
  FaultPlan plan;
  plan.stuck = true;
  open(plan);
  queue_->start(0, request(0, kBlock, memory_.span().data()), ReadPriority::kDemand);
  EXPECT_EQ(queue_->wait(0, 1, Clock::now() + std::chrono::milliseconds(5)), ReadState::kReading);
  EXPECT_EQ(queue_->wait_for_end(0, Clock::now() + std::chrono::milliseconds(5)), 0U);
  reader_->set_plan({});
  reader_->wake();
  EXPECT_EQ(queue_->wait(0, 1, soon()), ReadState::kDone);
}

TEST_F(ReadQueueTest, DemandOvertakesAPrefetchBetweenChunks) {
  FaultPlan plan;
  plan.stuck = true;
  open(plan);
  queue_->start(0, request(0, 16 * kBlock, memory_.span().data()), ReadPriority::kPrefetch);
  while (reader_->order().size() < 2) std::this_thread::yield();
  queue_->start(1, request(32 * kBlock, 4 * kBlock, memory_.span().data() + 32 * kBlock), ReadPriority::kDemand);
  while (reader_->order().size() < 4) std::this_thread::yield();
  reader_->set_plan({});
  reader_->wake();
  EXPECT_EQ(queue_->wait(0, 16 * kBlock, soon()), ReadState::kDone);
  EXPECT_EQ(queue_->wait(1, 4 * kBlock, soon()), ReadState::kDone);
  // Two chunks of the prefetch may be under way when demand comes; both of the demand's chunks follow at once.
  const std::vector<std::uint64_t> order = reader_->order();
  EXPECT_THAT(std::vector<std::uint64_t>(order.begin(), order.begin() + 4),
              testing::ElementsAre(0, kBlock, 32 * kBlock, 34 * kBlock));
  EXPECT_TRUE(arrived(0, memory_.span().first(16 * kBlock)));
}

TEST_F(ReadQueueTest, AStorageThatIsFastEnoughIsAskedForMoreAtOnceAhead) {
  for (const bool fast : {false, true}) {
    ReadQueueOptions options = small_chunks();
    if (fast) options.fast_bytes_per_second = 1e-9;
    ReadQueue queue(std::make_unique<FaultyReader>(content_, FaultPlan{}, 1), 1, options, memory_.owner());
    queue.start(0, request(0, 16 * kBlock, memory_.span().data()), ReadPriority::kPrefetch);
    ASSERT_EQ(queue.wait(0, 16 * kBlock, soon()), ReadState::kDone);
    // The first two chunks go out before anything is known.
    EXPECT_EQ(queue.statistics().chunks, fast ? 9U : 16U);
  }
}

TEST_F(ReadQueueTest, APromotedPrefetchGoesFirst) {
  FaultPlan plan;
  plan.stuck = true;
  open(plan);
  queue_->start(0, request(0, 8 * kBlock, memory_.span().data()), ReadPriority::kPrefetch);
  queue_->start(1, request(8 * kBlock, 8 * kBlock, memory_.span().data() + 8 * kBlock), ReadPriority::kPrefetch);
  while (reader_->order().size() < 2) std::this_thread::yield();
  queue_->promote(1);
  while (reader_->order().size() < 4) std::this_thread::yield();
  reader_->set_plan({});
  reader_->wake();
  EXPECT_EQ(queue_->wait(1, 8 * kBlock, soon()), ReadState::kDone);
  EXPECT_EQ(queue_->wait(0, 8 * kBlock, soon()), ReadState::kDone);
  EXPECT_EQ(reader_->order()[2], 8 * kBlock);
}

TEST_F(ReadQueueTest, CancellationAtEveryPointFreesTheMemoryOnce) {
  for (std::uint64_t point = 0; point < 40; ++point) {
    FaultPlan plan;
    plan.reorder = true;
    plan.error = 0.2;
    open(plan, point);
    queue_->start(0, request(0, 16 * kBlock, memory_.span().data()), ReadPriority::kPrefetch);
    queue_->wait(0, point * kBlock / 2, Clock::now() + std::chrono::microseconds(point * 3));
    queue_->cancel(0);
    std::uint64_t ended = queue_->ended();
    if (ended == 0) ended = queue_->wait_for_end(0, soon());
    ASSERT_EQ(ended, 1U);
    ASSERT_THAT(queue_->state(0), testing::AnyOf(ReadState::kDone, ReadState::kCancelled, ReadState::kFailed));
    // The memory is ours again: the entry may be used for another read at once.
    std::fill(memory_.span().begin(), memory_.span().end(), std::byte{0});
    reader_->set_plan({});
    queue_->start(0, request(16 * kBlock, 16 * kBlock, memory_.span().data()), ReadPriority::kDemand);
    ASSERT_EQ(queue_->wait(0, 16 * kBlock, soon()), ReadState::kDone);
    ASSERT_TRUE(arrived(16 * kBlock, memory_.span().first(16 * kBlock)));
    queue_.reset();
  }
}

TEST_F(ReadQueueTest, GoesAwayWhileReadsAreUnderWay) {
  open({});
  for (std::size_t entry = 0; entry < 4; ++entry) {
    queue_->start(entry, request(entry * 16 * kBlock, 16 * kBlock, memory_.span().data() + entry * 16 * kBlock),
                  ReadPriority::kPrefetch);
  }
  queue_.reset();
}

/// Memory that says when it goes; a sanitizer sees who writes to it afterwards.
std::shared_ptr<std::byte> watched_memory(std::size_t bytes, const std::shared_ptr<std::promise<void>>& gone) {
  return {static_cast<std::byte*>(std::aligned_alloc(kReadAlignment, bytes)), [gone](std::byte* memory) {
            std::free(memory);
            gone->set_value();
          }};
}

TEST_F(ReadQueueTest, AStorageThatNeverSpeaksAgainKeepsTheMemoryAndNotItsUser) {
  FaultPlan plan;
  plan.stuck = true;
  auto reader = std::make_unique<FaultyReader>(content_, plan, 1);
  FaultyReader* const storage = reader.get();
  const auto gone = std::make_shared<std::promise<void>>();
  std::future<void> memory_gone = gone->get_future();
  std::shared_ptr<std::byte> memory = watched_memory(8 * kBlock, gone);
  std::byte* const destination = memory.get();
  ReadQueueOptions options = small_chunks();
  options.farewell = std::chrono::milliseconds(5);
  auto queue = std::make_unique<ReadQueue>(std::move(reader), 1, options, std::move(memory));
  queue->start(0, request(0, 8 * kBlock, destination), ReadPriority::kDemand);
  while (storage->order().empty()) std::this_thread::yield();
  queue.reset();
  EXPECT_EQ(memory_gone.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  // When it speaks after all, it may still write, and then everything goes.
  storage->set_plan({});
  storage->wake();
  EXPECT_EQ(memory_gone.wait_for(kSoon), std::future_status::ready);
}

TEST_F(ReadQueueTest, WhatTheStorageCanCallBackIsNotWaitedFor) {
  const auto gone = std::make_shared<std::promise<void>>();
  std::future<void> memory_gone = gone->get_future();
  std::shared_ptr<std::byte> memory = watched_memory(8 * kBlock, gone);
  std::byte* const destination = memory.get();
  ReadQueueOptions options = small_chunks();
  options.farewell = std::chrono::hours(1);
  auto reader = throttle_reader(std::make_unique<FaultyReader>(content_, FaultPlan{}, 1), Throttle{1.0, 3600.0});
  auto queue = std::make_unique<ReadQueue>(std::move(reader), 1, options, std::move(memory));
  queue->start(0, request(0, 8 * kBlock, destination), ReadPriority::kDemand);
  EXPECT_EQ(queue->wait(0, 1, Clock::now() + std::chrono::milliseconds(5)), ReadState::kReading);
  queue.reset();
  EXPECT_EQ(memory_gone.wait_for(std::chrono::seconds(0)), std::future_status::ready);
}

TEST(ThreadReader, GivesBackWhatNoThreadHasBegun) {
  std::promise<void> begun;
  std::promise<void> go_on;
  const auto reader = make_thread_reader(
      [&, wait = go_on.get_future().share()](const ReadChunk& chunk) -> std::int64_t {
        if (chunk.tag == 1) begun.set_value();
        wait.wait();
        return chunk.bytes;
      },
      1, "one thread");
  std::vector<ReadCompletion> completions(4);
  reader->submit({1, 0, kBlock, nullptr});
  begun.get_future().wait();
  reader->submit({2, 0, kBlock, nullptr});
  reader->cancel(1);
  reader->cancel(2);
  ASSERT_EQ(reader->wait(soon(), completions), 1U);
  EXPECT_EQ(completions[0].tag, 2U);
  EXPECT_EQ(completions[0].result, -ECANCELED);
  go_on.set_value();
  ASSERT_EQ(reader->wait(soon(), completions), 1U);
  EXPECT_EQ(completions[0].tag, 1U);
  EXPECT_EQ(completions[0].result, static_cast<std::int64_t>(kBlock));
}

class BackendTest : public testing::TestWithParam<StorageBackend> {
 protected:
  BackendTest() {
    std::ofstream(directory_ / "file", std::ios::binary)
        .write(reinterpret_cast<const char*>(content_.data()), static_cast<std::streamsize>(content_.size()));
  }
  std::unique_ptr<AsyncReader> open(std::size_t depth = 4) {
    try {
      return open_reader(directory_ / "file", {GetParam(), depth, true});
    } catch (const DeviceError& error) {
      return nullptr;  // no io_uring here
    }
  }

  test::TemporaryDirectory directory_;
  std::vector<std::byte> content_ = random_bytes(100 * kBlock, 3);
  std::vector<std::uint64_t> sums_ = checksums_of(content_);
  AlignedBytes memory_{100 * kBlock};
};

TEST_P(BackendTest, ReadsAFile) {
  auto reader = open();
  if (reader == nullptr) GTEST_SKIP() << "io_uring is refused";
  reader->register_memory(memory_.span());
  ReadQueue queue(std::move(reader), 4, small_chunks(), memory_.owner());
  SCOPED_TRACE(queue.describe());
  for (std::size_t entry = 0; entry < 4; ++entry) {
    queue.start(entry,
                {entry * 25 * kBlock, 25 * kBlock, memory_.span().data() + entry * 25 * kBlock,
                 std::span<const std::uint64_t>(sums_).subspan(entry * 25, 25)},
                entry < 2 ? ReadPriority::kPrefetch : ReadPriority::kDemand);
  }
  for (std::size_t entry = 0; entry < 4; ++entry) {
    EXPECT_EQ(queue.wait(entry, 25 * kBlock, soon()), ReadState::kDone) << queue.failure(entry).message();
  }
  EXPECT_TRUE(std::equal(content_.begin(), content_.end(), memory_.span().begin()));
}

TEST_P(BackendTest, MeetsTheEndOfAFileThatWasCutWhileOpen) {
  auto reader = open();
  if (reader == nullptr) GTEST_SKIP() << "io_uring is refused";
  ASSERT_EQ(::truncate((directory_ / "file").c_str(), 10 * kBlock), 0);
  ReadQueue queue(std::move(reader), 1, small_chunks(), memory_.owner());
  queue.start(0, {8 * kBlock, 8 * kBlock, memory_.span().data(), {}}, ReadPriority::kDemand);
  EXPECT_EQ(queue.wait(0, 8 * kBlock, soon()), ReadState::kFailed);
  EXPECT_EQ(queue.failure(0).reason, ReadFailure::Reason::kEndOfFile);
}

TEST_P(BackendTest, WakesUp) {
  auto reader = open();
  if (reader == nullptr) GTEST_SKIP() << "io_uring is refused";
  std::vector<ReadCompletion> completions(4);
  for (int i = 0; i < 3; ++i) {
    reader->wake();
    EXPECT_EQ(reader->wait(soon(), completions), 0U);
  }
}

TEST_P(BackendTest, EveryReadThatWasCancelledComesBackOnce) {
  auto reader = open(8);
  if (reader == nullptr) GTEST_SKIP() << "io_uring is refused";
  std::vector<ReadCompletion> completions(8);
  for (int round = 0; round < 50; ++round) {
    std::set<std::uint64_t> left;
    for (std::uint64_t tag = 0; tag < reader->depth(); ++tag) {
      reader->submit({tag, tag * kBlock, kBlock, memory_.span().data() + tag * kBlock});
      left.insert(tag);
    }
    for (std::uint64_t tag = 0; tag < reader->depth(); ++tag) reader->cancel(tag);
    while (!left.empty()) {
      const std::size_t count = reader->wait(soon(), completions);
      for (std::size_t i = 0; i < count; ++i) {
        EXPECT_EQ(left.erase(completions[i].tag), 1U);
        EXPECT_THAT(completions[i].result, testing::AnyOf(-ECANCELED, -EINTR, std::int64_t{kBlock}));
      }
    }
  }
}

TEST_P(BackendTest, ThrottledItTakesTheTimeOfTheSlowerStorage) {
  auto reader = open();
  if (reader == nullptr) GTEST_SKIP() << "io_uring is refused";
  const Throttle throttle{20e6, 1e-3};  // 100 blocks: 20.5 ms at 20 MB/s
  ReadQueue queue(throttle_reader(std::move(reader), throttle), 1, small_chunks(), memory_.owner());
  EXPECT_THAT(queue.describe(), HasSubstr("20 MB/s"));
  const auto begin = Clock::now();
  queue.start(0, {0, 100 * kBlock, memory_.span().data(), sums_}, ReadPriority::kDemand);
  EXPECT_EQ(queue.wait(0, 100 * kBlock, soon()), ReadState::kDone);
  EXPECT_GE(std::chrono::duration<double>(Clock::now() - begin).count(), 100 * kBlock / 20e6);
}

INSTANTIATE_TEST_SUITE_P(Every, BackendTest,
                         testing::Values(StorageBackend::kAutomatic, StorageBackend::kUring, StorageBackend::kThreads,
                                         StorageBackend::kMemoryMap),
                         [](const auto& backend) { return std::string(name_of(backend.param)); });

TEST(StorageBackend, NamesReadBack) {
  EXPECT_EQ(parse_storage_backend("io_uring"), StorageBackend::kUring);
  EXPECT_THROW((void)parse_storage_backend("floppy"), UsageError);
}

TEST(StorageBackend, AMissingFileIsAnErrorThatNamesIt) {
  try {
    (void)open_reader("/nonexistent/experts.safetensors", {});
    FAIL();
  } catch (const FileError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/nonexistent/experts.safetensors"));
  }
}

/// While it lives this process can open only so many more files.
class FewDescriptors {
 public:
  explicit FewDescriptors(int more) {
    getrlimit(RLIMIT_NOFILE, &before_);
    const int next = dup(STDIN_FILENO);
    close(next);
    rlimit few = before_;
    few.rlim_cur = static_cast<rlim_t>(next + more);
    setrlimit(RLIMIT_NOFILE, &few);
  }
  ~FewDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;

 private:
  rlimit before_{};
};

TEST(StorageBackend, WhereTheKernelRefusesIoUringThreadsReadUnlessItWasAskedForByName) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer's check of object types opens a pipe, for which this test leaves no descriptor";
#endif
  const test::TemporaryDirectory directory;
  const std::filesystem::path file = directory / "experts";
  std::ofstream(file) << std::string(2 * kReadAlignment, 'x');
  for (const int descriptors : {1, 2}) {  // none for the ring; none for the event that wakes it
    const FewDescriptors few(descriptors);
    const auto reader = open_reader(file, {});
    EXPECT_THAT(reader->describe(), HasSubstr("threads"));
    try {
      (void)open_reader(file, {.backend = StorageBackend::kUring});
      ADD_FAILURE() << "io_uring was opened";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::AnyOf(HasSubstr("refuses io_uring"), HasSubstr("Too many open files")));
    }
  }
}

}  // namespace
}  // namespace flame::io
