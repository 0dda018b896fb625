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
/// Whoever waits so much longer than that was not run meanwhile.
constexpr auto kStopped = std::chrono::seconds(1);

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
      timeout_(std::chrono::duration_cast<io::Clock::duration>(std::chrono::duration<double>(timeout_seconds_))),
      timeline_(timeline),
      expert_in_(memory_->all().size() / bundle_->slot_bytes()),
      cancelled_(expert_in_.size()),
      read_again_(expert_in_.size()),
      before_(expert_in_.size()),
      patience_(expert_in_.size()),
      queue_(with_memory(std::move(reader), memory_->all()), expert_in_.size(), queue_options(),
             std::make_shared<Touched>(bundle_, memory_)) {
  active_.reserve(expert_in_.size());
}

ChunkBytes StoredLoader::chunk_bytes() {
  const io::ReadQueueOptions options = queue_options();
  const double fast = options.fast_bytes_per_second;
  return {options.prefetch_depth * options.prefetch_chunk_at(0.0),
          options.prefetch_depth * options.prefetch_chunk_at(fast), fast};
}

double StoredLoader::now() { return std::chrono::duration<double>(io::Clock::now() - epoch_).count(); }

void StoredLoader::read(SlotIndex slot, io::ReadPriority priority, std::uint64_t rank) {
  const StoredExpert& stored = bundle_->expert(expert_in_[slot]);
  io::ReadRequest request;
  request.offset = stored.offset;
  request.bytes = stored.stored_bytes;
  request.destination = memory_->slot(slot).data();
  request.rank = rank;
  if (verify_) request.checksums = stored.block_checksums;
  queue_.start(slot, request, priority);
}

void StoredLoader::start(SlotIndex slot, ExpertIndex expert, io::ReadPriority priority, std::uint64_t rank) {
  expert_in_[slot] = expert;
  cancelled_[slot] = false;
  read_again_[slot] = false;
  before_[slot] = {};
  patience_[slot] = timeout_;
  active_.push_back(slot);
  read(slot, priority, rank);
  if (wait_for_loads_) static_cast<void>(wait_for_bytes(slot, expert, bundle_->expert(expert).stored_bytes));
}

void StoredLoader::promote(SlotIndex slot) {
  read_again_[slot] = true;
  queue_.promote(slot);
}

bool StoredLoader::try_again(SlotIndex slot) {
  if (!read_again_[slot] || cancelled_[slot]) return false;
  read_again_[slot] = false;
  ++told_;  // this end is nobody else's
  before_[slot] = queue_.delivery(slot);
  read(slot, io::ReadPriority::kDemand, 0);
  return true;
}

void StoredLoader::cancel(SlotIndex slot) {
  cancelled_[slot] = true;
  queue_.cancel(slot);
}

void StoredLoader::draw(SlotIndex slot, io::ReadState state) {
  if (!timeline_.enabled()) return;
  const io::ReadQueue::Delivery delivery = queue_.delivery(slot);
  io::Clock::time_point begin = read_before(slot) ? before_[slot].begin : delivery.begin;
  io::Clock::time_point end = state == io::ReadState::kReading ? io::Clock::now() : delivery.end;
  if (begin == io::Clock::time_point{}) begin = end = io::Clock::now();
  const char* const kind = cancelled_[slot]                   ? "broken-off load"
                           : state == io::ReadState::kReading ? "unfinished load"
                           : state == io::ReadState::kDone    ? "load"
                                                              : "failed load";
  timeline_.add(Timeline::Row::kStorage, kind, bundle_->grid().layer_of(expert_in_[slot]),
                bundle_->grid().number_of(expert_in_[slot]), begin, end);
}

void StoredLoader::draw_rest() {
  for (const SlotIndex slot : active_) draw(slot, queue_.state(slot));
}

std::optional<LoadEnd> StoredLoader::poll() {
  if (queue_.ended() == told_) return std::nullopt;
  for (auto slot = active_.begin(); slot != active_.end(); ++slot) {
    const io::ReadState state = queue_.state(*slot);
    if (state == io::ReadState::kReading) continue;
    if (state == io::ReadState::kFailed && try_again(*slot)) continue;
    const io::ReadQueue::Delivery delivery = queue_.delivery(*slot);
    LoadEnd end;
    end.slot = *slot;
    end.bytes = before_[*slot].bytes + delivery.bytes;
    if (!read_before(*slot)) end.seconds = delivery.seconds;
    end.outcome = state == io::ReadState::kDone        ? LoadEnd::Outcome::kWhole
                  : state == io::ReadState::kCancelled ? LoadEnd::Outcome::kCancelled
                                                       : LoadEnd::Outcome::kFailed;
    draw(*slot, state);
    active_.erase(slot);
    ++told_;
    return end;
  }
  return std::nullopt;
}

template <typename WaitUntil>
bool StoredLoader::wait_in_time(io::Clock::time_point& deadline, const WaitUntil& wait_until) {
  while (true) {
    const io::Clock::time_point begin = io::Clock::now();
    if (wait_until(std::min(deadline, begin + kPatience))) return true;
    throw_if_interrupted();
    const io::Clock::time_point now = io::Clock::now();
    if (now - begin > kStopped) deadline += now - begin - kPatience;
    if (now >= deadline) return false;
  }
}

void StoredLoader::wait() {
  const auto ended = [this](io::Clock::time_point time) { return queue_.wait_for_end(told_, time) != told_; };
  do {
    io::Clock::time_point allowed = io::Clock::now() + timeout_;
    if (!wait_in_time(allowed, ended)) {
      throw DeviceError(fmt::format("{}: no load ended within {} s: the storage does not answer",
                                    bundle_->experts_file().string(), timeout_seconds_));
    }
    // A read that failed and is begun again has told nothing yet.
    for (const SlotIndex slot : active_) {
      if (queue_.state(slot) == io::ReadState::kFailed) static_cast<void>(try_again(slot));
    }
  } while (queue_.ended() == told_);
}

std::uint64_t StoredLoader::wait_for_bytes(SlotIndex slot, ExpertIndex expert, std::uint64_t bytes) {
  std::uint64_t ready = queue_.ready_bytes(slot);
  // The last bytes are ready a moment before the load has ended: the queue's lock is free when it has.
  if (ready >= bytes && bytes < bundle_->expert(expert).stored_bytes) return ready;
  io::ReadState state = io::ReadState::kReading;
  io::Clock::time_point allowed = io::Clock::now() + std::exchange(patience_[slot], timeout_);
  static_cast<void>(wait_in_time(allowed, [&](io::Clock::time_point time) {
    state = queue_.wait(slot, bytes, time);
    if (state == io::ReadState::kFailed && try_again(slot)) state = io::ReadState::kReading;
    ready = queue_.ready_bytes(slot);
    return state != io::ReadState::kReading || ready >= bytes;
  }));
  if (state == io::ReadState::kFailed) fail(slot, expert);
  if (ready < bytes) {
    throw DeviceError(fmt::format("{}: expert {} at offset {} did not arrive within {} s: {} of {} bytes came",
                                  bundle_->experts_file().string(), name_of(expert), bundle_->expert(expert).offset,
                                  timeout_seconds_, ready, bundle_->expert(expert).stored_bytes));
  }
  patience_[slot] = allowed - io::Clock::now();
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
