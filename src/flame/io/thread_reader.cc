#include "flame/io/thread_reader.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "flame/base/error.h"
#include "flame/io/direct_file.h"
#include "flame/io/mapping_faults.h"

namespace flame::io {
namespace {

class ThreadReader final : public AsyncReader {
 public:
  ThreadReader(std::function<std::int64_t(const ReadChunk&)> read, std::size_t threads, std::string description)
      : read_(std::move(read)), description_(std::move(description)) {
    for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { serve(); });
  }

  ~ThreadReader() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  ThreadReader(const ThreadReader&) = delete;
  ThreadReader& operator=(const ThreadReader&) = delete;

  [[nodiscard]] std::size_t depth() const override { return threads_.size(); }

  void submit(const ReadChunk& chunk) override {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(chunk);
    }
    work_.notify_one();
  }

  std::size_t wait(Clock::time_point deadline, std::span<ReadCompletion> completions) override {
    std::unique_lock lock(mutex_);
    news_.wait_until(lock, deadline, [this] { return woken_ || !completed_.empty(); });
    woken_ = false;
    const std::size_t count = std::min(completions.size(), completed_.size());
    std::copy_n(completed_.begin(), count, completions.begin());
    completed_.erase(completed_.begin(), completed_.begin() + static_cast<std::ptrdiff_t>(count));
    return count;
  }

  // What no thread has begun can be dropped; a pread cannot be called back.
  void cancel(std::uint64_t tag) override {
    const std::lock_guard lock(mutex_);
    const auto chunk = std::find_if(queue_.begin(), queue_.end(), [&](const ReadChunk& c) { return c.tag == tag; });
    if (chunk == queue_.end()) return;
    queue_.erase(chunk);
    completed_.push_back({tag, -ECANCELED});
  }

  void wake() override {
    {
      const std::lock_guard lock(mutex_);
      woken_ = true;
    }
    news_.notify_one();
  }

  [[nodiscard]] std::string describe() const override { return description_; }

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    while (true) {
      work_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      const ReadChunk chunk = queue_.front();
      queue_.pop_front();
      lock.unlock();
      const std::int64_t result = read_(chunk);
      lock.lock();
      completed_.push_back({chunk.tag, result});
      news_.notify_one();
    }
  }

  std::function<std::int64_t(const ReadChunk&)> read_;
  std::string description_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable news_;
  std::deque<ReadChunk> queue_;
  std::vector<ReadCompletion> completed_;
  bool woken_ = false;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

/// A read-only map of a whole file that keeps the descriptor, to see when the file shrinks.
class ShrinkableMap {
 public:
  explicit ShrinkableMap(const std::filesystem::path& path) : file_(path, /*direct=*/false) {
    bytes_ = size();
    if (bytes_ == 0) return;
    data_ = ::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, file_.descriptor(), 0);
    if (data_ == MAP_FAILED) throw FileError(path, "cannot be mapped", errno);
    remember_mapping(data_, bytes_, path);
  }
  ~ShrinkableMap() {
    if (bytes_ == 0) return;
    forget_mapping(data_);
    ::munmap(data_, bytes_);
  }
  ShrinkableMap(const ShrinkableMap&) = delete;
  ShrinkableMap& operator=(const ShrinkableMap&) = delete;

  [[nodiscard]] std::int64_t read(const ReadChunk& chunk) const {
    const std::uint64_t end = std::min<std::uint64_t>(bytes_, size());
    if (chunk.offset >= end) return 0;
    const std::uint64_t count = std::min<std::uint64_t>(chunk.bytes, end - chunk.offset);
    std::memcpy(chunk.destination, static_cast<const std::byte*>(data_) + chunk.offset, count);
    return static_cast<std::int64_t>(count);
  }

 private:
  [[nodiscard]] std::uint64_t size() const {
    struct stat status {};
    return ::fstat(file_.descriptor(), &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
  }

  DirectFile file_;
  void* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace

std::unique_ptr<AsyncReader> make_thread_reader(std::function<std::int64_t(const ReadChunk&)> read, std::size_t threads,
                                                std::string description) {
  return std::make_unique<ThreadReader>(std::move(read), threads, std::move(description));
}

std::unique_ptr<AsyncReader> open_thread_reader(const std::filesystem::path& path, std::size_t threads, bool direct) {
  auto file = std::make_shared<DirectFile>(path, direct);
  const auto read = [file](const ReadChunk& chunk) -> std::int64_t {
    const ssize_t result =
        ::pread(file->descriptor(), chunk.destination, chunk.bytes, static_cast<off_t>(chunk.offset));
    return result < 0 ? -errno : result;
  };
  return make_thread_reader(read, threads, fmt::format("{} threads{}", threads, file->direct() ? ", O_DIRECT" : ""));
}

std::unique_ptr<AsyncReader> open_memory_map_reader(const std::filesystem::path& path) {
  auto map = std::make_shared<ShrinkableMap>(path);
  return make_thread_reader([map](const ReadChunk& chunk) { return map->read(chunk); }, 1, "memory map");
}

}  // namespace flame::io
