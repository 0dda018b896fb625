#include "flame/eval/reading_device.h"

#include <utility>

#include "flame/experts/buffered_device.h"

namespace flame::eval {
namespace {

/// A load under way, one that follows it at once, and one whose end nobody has looked at yet.
constexpr std::size_t kScratchSlots = 3;

}  // namespace

ReadingDevice::ReadingDevice(std::unique_ptr<model::MoeDevice> device, std::shared_ptr<const experts::Bundle> bundle,
                             const experts::BufferOptions& options)
    : device_(std::move(device)),
      bundle_(std::move(bundle)),
      loader_(bundle_, std::make_shared<experts::SlotMemory>(kScratchSlots, bundle_->slot_bytes()),
              experts::open_storage(*bundle_, options), options, timeline_),
      expert_in_(kScratchSlots) {
  for (experts::SlotIndex slot = 0; slot < kScratchSlots; ++slot) idle_.push_back(slot);
}

void ReadingDevice::route(const model::MoeInput& input, std::span<model::RoutingDecision> decisions) {
  device_->route(input, decisions);
  if (input.layer.stack != model::Stack::kDecoder) return;
  asked_ += bytes_a_layer_;
  allowed_ += bytes_a_layer_;
  go_on();
}

void ReadingDevice::compute(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions,
                            MatrixView<float> output) {
  device_->compute(input, decisions, output);
  if (input.layer.stack == model::Stack::kDecoder) go_on();
}

void ReadingDevice::begin_statistics() {
  device_->begin_statistics();
  asked_ = 0.0;
  before_ = loader_.statistics().bytes;
}

void ReadingDevice::wait_until_idle() {
  allowed_ = 0.0;
  collect();
  while (idle_.size() < kScratchSlots) {
    loader_.wait();
    collect();
  }
}

void ReadingDevice::collect() {
  while (const std::optional<experts::LoadEnd> end = loader_.poll()) {
    if (end->outcome == experts::LoadEnd::Outcome::kFailed) loader_.fail(end->slot, expert_in_[end->slot]);
    idle_.push_back(end->slot);
  }
}

void ReadingDevice::go_on() {
  collect();
  while (allowed_ > 0.0 && !idle_.empty()) {
    const experts::SlotIndex slot = idle_.back();
    idle_.pop_back();
    expert_in_[slot] = next_;
    allowed_ -= static_cast<double>(bundle_->expert(next_).stored_bytes);
    loader_.start(slot, next_, io::ReadPriority::kPrefetch, begun_++);
    next_ = next_ + 1 == bundle_->grid().size() ? 0 : next_ + 1;
  }
}

}  // namespace flame::eval
