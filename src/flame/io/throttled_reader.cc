#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "flame/io/async_reader.h"

namespace flame::io {
namespace {

class ThrottledReader final : public AsyncReader {
 public:
  ThrottledReader(std::unique_ptr<AsyncReader> reader, const Throttle& throttle)
      : reader_(std::move(reader)), throttle_(throttle) {}

  [[nodiscard]] std::size_t depth() const override { return reader_->depth(); }

  void submit(const ReadChunk& chunk) override {
    const Clock::time_point begin = std::max(Clock::now(), free_at_);
    if (throttle_.bytes_per_second > 0.0) {
      free_at_ = begin + seconds(static_cast<double>(chunk.bytes) / throttle_.bytes_per_second);
    } else {
      free_at_ = begin;
    }
    in_flight_.push_back({{chunk.tag, 0}, free_at_ + seconds(throttle_.latency_seconds), false});
    reader_->submit(chunk);
  }

  std::size_t wait(Clock::time_point deadline, std::span<ReadCompletion> completions) override {
    while (true) {
      const std::size_t ready = take_due(completions);
      if (ready > 0) return ready;
      Clock::time_point until = deadline;
      for (const Pending& pending : in_flight_) {
        if (pending.arrived) until = std::min(until, pending.due);
      }
      const std::size_t count = reader_->wait(until, arrived_);
      for (std::size_t i = 0; i < count; ++i) {
        const auto pending = std::find_if(in_flight_.begin(), in_flight_.end(), [&](const Pending& p) {
          return !p.arrived && p.completion.tag == arrived_[i].tag;
        });
        pending->completion.result = arrived_[i].result;
        pending->arrived = true;
      }
      if (count == 0 && Clock::now() < until) return 0;  // woken
      if (Clock::now() >= deadline) return take_due(completions);
    }
  }

  void cancel(std::uint64_t tag) override {
    for (Pending& pending : in_flight_) {
      if (pending.completion.tag == tag) pending.due = Clock::now();
    }
    reader_->cancel(tag);
  }

  void wake() override { reader_->wake(); }
  void register_memory(std::span<std::byte> memory) override { reader_->register_memory(memory); }

  [[nodiscard]] std::string describe() const override {
    std::string text = reader_->describe();
    if (throttle_.bytes_per_second > 0.0) {
      text += fmt::format(", throttled to {:.0f} MB/s", throttle_.bytes_per_second * 1e-6);
    }
    if (throttle_.latency_seconds > 0.0) text += fmt::format(", {:.0f} us latency", throttle_.latency_seconds * 1e6);
    return text;
  }

 private:
  struct Pending {
    ReadCompletion completion;
    Clock::time_point due;
    bool arrived;
  };

  static Clock::duration seconds(double value) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(value));
  }

  std::size_t take_due(std::span<ReadCompletion> completions) {
    const Clock::time_point now = Clock::now();
    std::size_t count = 0;
    for (auto pending = in_flight_.begin(); pending != in_flight_.end() && count < completions.size();) {
      if (pending->arrived && pending->due <= now) {
        completions[count++] = pending->completion;
        pending = in_flight_.erase(pending);
      } else {
        ++pending;
      }
    }
    return count;
  }

  std::unique_ptr<AsyncReader> reader_;
  Throttle throttle_;
  Clock::time_point free_at_{};
  std::vector<Pending> in_flight_;
  std::vector<ReadCompletion> arrived_ = std::vector<ReadCompletion>(64);
};

}  // namespace

std::unique_ptr<AsyncReader> throttle_reader(std::unique_ptr<AsyncReader> reader, const Throttle& throttle) {
  if (!throttle.active()) return reader;
  return std::make_unique<ThrottledReader>(std::move(reader), throttle);
}

}  // namespace flame::io
