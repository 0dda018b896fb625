#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "flame/io/async_reader.h"

namespace flame::test {

/// How often a FaultyReader goes wrong, as probabilities of a chunk.
struct FaultPlan {
  double error = 0.0;  ///< EIO
  double short_read = 0.0;
  double corrupt = 0.0;                           ///< one bit of what is delivered is wrong
  double slow = 0.0;                              ///< comes after every chunk that was submitted within the next few
  bool reorder = false;                           ///< completions come in random order
  bool stuck = false;                             ///< nothing ever completes
  std::uint64_t stuck_after = ~std::uint64_t{0};  ///< nothing completes any more after so many chunks
  std::uint64_t cut_at = ~std::uint64_t{0};       ///< the file appears to end here
};

/// A file in memory whose reads fail, fall short, lie, dawdle and overtake each other. Counts bytes it delivered.
class FaultyReader final : public io::AsyncReader {
 public:
  FaultyReader(std::vector<std::byte> content, const FaultPlan& plan, std::uint64_t seed, std::size_t depth = 4)
      : content_(std::move(content)), plan_(plan), random_(seed), depth_(depth) {}

  [[nodiscard]] std::size_t depth() const override { return depth_; }

  void submit(const io::ReadChunk& chunk) override {
    const std::lock_guard lock(mutex_);
    waiting_.push_back({chunk, chance(plan_.slow) ? 3 : 0});
    order_.push_back(chunk.offset);
  }

  std::size_t wait(io::Clock::time_point deadline, std::span<io::ReadCompletion> completions) override {
    std::unique_lock lock(mutex_);
    if (waiting_.empty() || plan_.stuck || completed_ >= plan_.stuck_after) {
      news_.wait_until(lock, deadline, [this] { return woken_; });
      woken_ = false;
      return 0;
    }
    woken_ = false;
    std::size_t pick = plan_.reorder ? random_() % waiting_.size() : 0;
    for (std::size_t i = 0; i < waiting_.size() && waiting_[pick].delay > 0; ++i) {
      --waiting_[pick].delay;
      pick = (pick + 1) % waiting_.size();
    }
    const io::ReadChunk chunk = waiting_[pick].chunk;
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(pick));
    ++completed_;
    completions[0] = {chunk.tag, read(chunk)};
    return 1;
  }

  void wake() override {
    const std::lock_guard lock(mutex_);  // also while it notifies: a queue left behind takes its reader with it
    woken_ = true;
    news_.notify_all();
  }

  [[nodiscard]] std::string describe() const override { return "faulty"; }

  void set_plan(const FaultPlan& plan) {
    const std::lock_guard lock(mutex_);
    plan_ = plan;
  }
  /// Offsets in the order in which chunks were submitted.
  [[nodiscard]] std::vector<std::uint64_t> order() {
    const std::lock_guard lock(mutex_);
    return order_;
  }

 private:
  struct Waiting {
    io::ReadChunk chunk;
    int delay;
  };

  bool chance(double probability) { return std::uniform_real_distribution<>(0.0, 1.0)(random_) < probability; }

  std::int64_t read(const io::ReadChunk& chunk) {
    if (chance(plan_.error)) return -5;  // EIO
    const std::uint64_t end = std::min<std::uint64_t>(content_.size(), plan_.cut_at);
    if (chunk.offset >= end) return 0;
    std::uint64_t bytes = std::min<std::uint64_t>(chunk.bytes, end - chunk.offset);
    if (chance(plan_.short_read)) bytes = random_() % bytes;
    std::copy_n(content_.begin() + static_cast<std::ptrdiff_t>(chunk.offset), bytes, chunk.destination);
    if (bytes > 0 && chance(plan_.corrupt)) {
      chunk.destination[random_() % bytes] ^= static_cast<std::byte>(1U << (random_() % 8));
    }
    return static_cast<std::int64_t>(bytes);
  }

  std::mutex mutex_;
  std::condition_variable news_;
  std::vector<std::byte> content_;
  FaultPlan plan_;
  std::mt19937_64 random_;
  std::size_t depth_;
  std::vector<Waiting> waiting_;
  std::vector<std::uint64_t> order_;
  std::uint64_t completed_ = 0;
  bool woken_ = false;
};

}  // namespace flame::test
