#include "flame/io/uring_reader.h"

#include <fmt/format.h>
#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <vector>

#include "flame/io/direct_file.h"

namespace flame::io {
namespace {

constexpr std::uint64_t kWakeTag = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kCancelTag = kWakeTag - 1;
/// The kernel registers at most 1 GiB as one buffer.
constexpr std::size_t kRegionBytes = std::size_t{1} << 30;

class UringReader final : public AsyncReader {
 public:
  UringReader(const std::filesystem::path& path, std::size_t depth, bool direct, int& refused)
      : file_(path, direct), depth_(depth) {
    refused = -io_uring_queue_init(static_cast<unsigned>(depth + 1), &ring_, 0);
    if (refused != 0) return;
    ring_open_ = true;
    event_ = ::eventfd(0, EFD_CLOEXEC);
    if (event_ < 0) {
      refused = errno;
      return;
    }
    watch_event();
    // Some sandboxes allow a ring, but not its use.
    refused = std::max(0, -io_uring_submit(&ring_));
  }

  ~UringReader() override {
    if (ring_open_) io_uring_queue_exit(&ring_);
    if (event_ >= 0) ::close(event_);
  }
  UringReader(const UringReader&) = delete;
  UringReader& operator=(const UringReader&) = delete;

  [[nodiscard]] std::size_t depth() const override { return depth_; }

  // The system call is made by wait(), one for all reads queued since the last.
  void submit(const ReadChunk& chunk) override {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    if (entry == nullptr) {
      failed_.push_back({chunk.tag, -EBUSY});
      return;
    }
    const auto offset = static_cast<std::size_t>(chunk.destination - registered_.data());
    const bool inside = !registered_.empty() && chunk.destination >= registered_.data() &&
                        offset <= registered_.size() && chunk.bytes <= registered_.size() - offset &&
                        offset / kRegionBytes == (offset + chunk.bytes - 1) / kRegionBytes;
    if (inside) {
      io_uring_prep_read_fixed(entry, file_.descriptor(), chunk.destination, chunk.bytes, chunk.offset,
                               static_cast<int>(offset / kRegionBytes));
    } else {
      io_uring_prep_read(entry, file_.descriptor(), chunk.destination, chunk.bytes, chunk.offset);
    }
    io_uring_sqe_set_data64(entry, chunk.tag);
  }

  std::size_t wait(Clock::time_point deadline, std::span<ReadCompletion> completions) override {
    std::size_t count = 0;
    while (!failed_.empty() && count < completions.size()) {
      completions[count++] = failed_.back();
      failed_.pop_back();
    }
    const auto left = count > 0 ? Clock::duration::zero() : std::max(deadline - Clock::now(), Clock::duration::zero());
    const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
    __kernel_timespec timeout{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
    io_uring_cqe* first = nullptr;
    const int result = io_uring_submit_and_wait_timeout(&ring_, &first, 1, &timeout, nullptr);
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN && result != -EBUSY) return count;
    while (count < completions.size()) {
      io_uring_cqe* entry = nullptr;
      if (io_uring_peek_cqe(&ring_, &entry) != 0) break;
      const std::uint64_t tag = io_uring_cqe_get_data64(entry);
      const std::int64_t outcome = entry->res;
      io_uring_cqe_seen(&ring_, entry);
      if (tag == kWakeTag) {
        watch_event();
      } else if (tag != kCancelTag) {
        completions[count++] = {tag, outcome};
      }
    }
    return count;
  }

  // The kernel calls back what waits in a queue of its own or can be interrupted; what a disk works on it cannot.
  void cancel(std::uint64_t tag) override {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    if (entry == nullptr && io_uring_submit(&ring_) >= 0) entry = io_uring_get_sqe(&ring_);
    if (entry == nullptr) return;
    io_uring_prep_cancel64(entry, tag, 0);
    io_uring_sqe_set_data64(entry, kCancelTag);
  }

  void wake() override {
    const std::uint64_t one = 1;
    // An eventfd takes 8 bytes unless its counter is full, and then a wake-up is pending anyway.
    [[maybe_unused]] const ssize_t ignored = ::write(event_, &one, sizeof(one));
  }

  void register_memory(std::span<std::byte> memory) override {
    std::vector<iovec> regions;
    for (std::size_t at = 0; at < memory.size(); at += kRegionBytes) {
      regions.push_back({memory.data() + at, std::min(kRegionBytes, memory.size() - at)});
    }
    if (io_uring_register_buffers(&ring_, regions.data(), static_cast<unsigned>(regions.size())) == 0) {
      registered_ = memory;
    }
  }

  [[nodiscard]] std::string describe() const override {
    return fmt::format("io_uring{}{}", file_.direct() ? ", O_DIRECT" : "",
                       registered_.empty() ? "" : ", registered buffers");
  }

 private:
  void watch_event() {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    io_uring_prep_read(entry, event_, &event_value_, sizeof(event_value_), 0);
    io_uring_sqe_set_data64(entry, kWakeTag);
  }

  DirectFile file_;
  std::size_t depth_;
  io_uring ring_{};
  bool ring_open_ = false;
  int event_ = -1;
  std::uint64_t event_value_ = 0;
  std::span<std::byte> registered_;
  std::vector<ReadCompletion> failed_;
};

}  // namespace

std::unique_ptr<AsyncReader> open_uring_reader(const std::filesystem::path& path, std::size_t depth, bool direct,
                                               int& refused) {
  auto reader = std::make_unique<UringReader>(path, depth, direct, refused);
  if (refused != 0) return nullptr;
  return reader;
}

}  // namespace flame::io
