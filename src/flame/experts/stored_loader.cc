#include "flame/experts/stored_loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/experts/bundle_json.h"

namespace flame::experts {
namespace {

io::ReadQueueOptions queue_options() {
  io::ReadQueueOptions options;
  options.block_bytes = kBundleBlockBytes;
  return options;
}

/// What a read touches: a slot, and checksums of the bundle.
using Touched = std::pair<std::shared_ptr<const Bundle>, std::shared_ptr<const SlotMemory>>;

/// So soon Ctrl-C is noticed while nothing comes.
constexpr auto kPatience = std::chrono::milliseconds(100);

std::unique_ptr<io::AsyncReader> with_memory(std::unique_ptr<io::AsyncReader> reader, std::span<std::byte> memory) {
  reader->register_memory(memory);
  return reader;
}

}  // namespace

StoredLoader::StoredLoader(std::shared_ptr<const Bundle> bundle, std::shared_ptr<const SlotMemory> memory,
                           std::unique_ptr<io::AsyncReader> reader, const BufferOptions& options, Timeline& timeline)
    : bundle_(std::move(bundle)),
      memory_(std::move(memory)),
      verify_(options.verify),
      wait_for_loads_(options.wait_for_loads),
      timeout_seconds_(options.timeout_seconds),
      timeline_(timeline),
      expert_in_(memory_->all().size() / bundle_->slot_bytes()),
      cancelled_(expert_in_.size()),
      deadline_of_(expert_in_.size()),
      queue_(with_memory(std::move(reader), memory_->all()), expert_in_.size(), queue_options(),
             std::make_shared<Touched>(bundle_, memory_)) {
  active_.reserve(expert_in_.size());
}

std::uint64_t StoredLoader::prefetch_bytes_in_flight() {
  const io::ReadQueueOptions options = queue_options();
  return options.prefetch_depth * options.prefetch_chunk_bytes;
}

double StoredLoader::now() { return std::chrono::duration<double>(io::Clock::now() - epoch_).count(); }

void StoredLoader::start(SlotIndex slot, ExpertIndex expert, io::ReadPriority priority, std::uint64_t rank) {
  const StoredExpert& stored = bundle_->expert(expert);
  io::ReadRequest request;
  request.offset = stored.offset;
  request.bytes = stored.stored_bytes;
  request.destination = memory_->slot(slot).data();
  request.rank = rank;
  if (verify_) request.checksums = stored.block_checksums;
  expert_in_[slot] = expert;
  cancelled_[slot] = false;
  deadline_of_[slot].reset();
  active_.push_back(slot);
  queue_.start(slot, request, priority);
  if (wait_for_loads_) static_cast<void>(wait_for_bytes(slot, expert, stored.stored_bytes));
}

void StoredLoader::cancel(SlotIndex slot) {
  cancelled_[slot] = true;
  queue_.cancel(slot);
}

void StoredLoader::draw(SlotIndex slot, const char* kind, io::Clock::time_point end) {
  if (!timeline_.enabled()) return;
  io::Clock::time_point begin = queue_.delivery(slot).begin;
  if (begin == io::Clock::time_point{}) begin = end = io::Clock::now();
  timeline_.add(Timeline::Row::kStorage, kind, bundle_->grid().layer_of(expert_in_[slot]),
                bundle_->grid().number_of(expert_in_[slot]), begin, end);
}

void StoredLoader::draw_unfinished() {
  for (const SlotIndex slot : active_) draw(slot, "unfinished load", io::Clock::now());
}

std::optional<LoadEnd> StoredLoader::poll() {
  if (queue_.ended() == told_) return std::nullopt;
  for (auto slot = active_.begin(); slot != active_.end(); ++slot) {
    const io::ReadState state = queue_.state(*slot);
    if (state == io::ReadState::kReading) continue;
    const io::ReadQueue::Delivery delivery = queue_.delivery(*slot);
    LoadEnd end;
    end.slot = *slot;
    end.bytes = delivery.bytes;
    end.seconds = delivery.seconds;
    end.outcome = state == io::ReadState::kDone        ? LoadEnd::Outcome::kWhole
                  : state == io::ReadState::kCancelled ? LoadEnd::Outcome::kCancelled
                                                       : LoadEnd::Outcome::kFailed;
    draw(*slot,
         cancelled_[*slot]                         ? "broken-off load"
         : end.outcome == LoadEnd::Outcome::kWhole ? "load"
                                                   : "failed load",
         delivery.end);
    active_.erase(slot);
    ++told_;
    return end;
  }
  return std::nullopt;
}

io::Clock::time_point StoredLoader::deadline() const {
  return io::Clock::now() +
         std::chrono::duration_cast<io::Clock::duration>(std::chrono::duration<double>(timeout_seconds_));
}

template <typename WaitUntil>
bool StoredLoader::wait_in_time(io::Clock::time_point deadline, const WaitUntil& wait_until) {
  while (true) {
    if (wait_until(std::min(deadline, io::Clock::now() + kPatience))) return true;
    throw_if_interrupted();
    if (io::Clock::now() >= deadline) return false;
  }
}

void StoredLoader::wait() {
  const auto ended = [this](io::Clock::time_point time) { return queue_.wait_for_end(told_, time) != told_; };
  if (wait_in_time(deadline(), ended)) return;
  throw DeviceError(fmt::format("{}: no load ended within {} s: the storage does not answer",
                                bundle_->experts_file().string(), timeout_seconds_));
}

std::uint64_t StoredLoader::wait_for_bytes(SlotIndex slot, ExpertIndex expert, std::uint64_t bytes) {
  std::uint64_t ready = queue_.ready_bytes(slot);
  // The last bytes are ready a moment before the load has ended: the queue's lock is free when it has.
  if (ready >= bytes && bytes < bundle_->expert(expert).stored_bytes) return ready;
  io::ReadState state = io::ReadState::kReading;
  const io::Clock::time_point allowed = deadline_of_[slot].value_or(deadline());
  deadline_of_[slot].reset();  // whoever tries again after an error has the whole time
  static_cast<void>(wait_in_time(allowed, [&](io::Clock::time_point time) {
    state = queue_.wait(slot, bytes, time);
    ready = queue_.ready_bytes(slot);
    return state != io::ReadState::kReading || ready >= bytes;
  }));
  if (state == io::ReadState::kFailed) fail(slot, expert);
  if (ready < bytes) {
    throw DeviceError(fmt::format("{}: expert {} at offset {} did not arrive within {} s: {} of {} bytes came",
                                  bundle_->experts_file().string(), name_of(expert), bundle_->expert(expert).offset,
                                  timeout_seconds_, ready, bundle_->expert(expert).stored_bytes));
  }
  deadline_of_[slot] = allowed;
  return ready;
}

void StoredLoader::fail(SlotIndex slot, ExpertIndex expert) {
  throw DeviceError(fmt::format("{}: expert {} at offset {} cannot be loaded: {}", bundle_->experts_file().string(),
                                name_of(expert), bundle_->expert(expert).offset, queue_.failure(slot).message()));
}

std::string StoredLoader::name_of(ExpertIndex expert) const {
  return stored_name(bundle_->config(), bundle_->grid(), expert);
}

std::string StoredLoader::describe() const {
  return verify_ ? queue_.describe() : queue_.describe() + ", not verified";
}

}  // namespace flame::experts
