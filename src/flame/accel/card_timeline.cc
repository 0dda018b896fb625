#include "flame/accel/card_timeline.h"

#include <utility>

namespace flame::accel {

namespace {
/// Beats of one expert further apart than this are two spans: the channel was idle, or served something else.
constexpr std::uint64_t kGapCycles = 200;
}  // namespace

CardTimeline::CardTimeline(const std::filesystem::path& path, double clock_mhz) : clock_mhz_(clock_mhz) {
  timeline_.open(path);
}

CardTimeline::~CardTimeline() {
  end_command();
  end_load();
}

void CardTimeline::set_experts(std::uint64_t first_address, std::uint64_t stride, std::uint32_t experts,
                               std::vector<std::string> layer_names) {
  first_address_ = first_address;
  stride_ = stride;
  experts_ = experts;
  timeline_.set_layer_names(std::move(layer_names));
}

void CardTimeline::expect(std::uint32_t layer, std::uint32_t expert, bool computes, std::uint64_t token) {
  commands_.push_back({layer, expert, computes, token, 0, 0, false});
}

void CardTimeline::close() {
  end_command();
  end_load();
  timeline_.close();
}

io::Clock::time_point CardTimeline::at(std::uint64_t cycle) const {
  const std::chrono::duration<double, std::micro> time(static_cast<double>(cycle) / clock_mhz_);
  return timeline_.start() + std::chrono::duration_cast<io::Clock::duration>(time);
}

void CardTimeline::end_command() {
  if (commands_.empty() || commands_.front().end == 0) return;
  const Command& command = commands_.front();
  const char* kind = !command.computes ? "route" : command.loading ? "compute while loading" : "compute";
  timeline_.add(experts::Timeline::Row::kCompute, kind, command.layer, command.expert, at(command.begin),
                at(command.end));
  commands_.pop_front();
}

void CardTimeline::end_load() {
  if (!load_) return;
  timeline_.add(experts::Timeline::Row::kStorage, "load", static_cast<std::uint32_t>(*load_ / experts_),
                static_cast<std::uint32_t>(*load_ % experts_), at(load_begin_), at(load_end_ + 1));
  load_.reset();
}

void CardTimeline::read_requested(std::size_t port, std::uint64_t address, std::uint64_t cycle) {
  if (port != kHostPort) return;
  // One command at a time: whatever is read now, the results written before were the last command's.
  end_command();
  if (commands_.empty()) return;
  Command& command = commands_.front();
  if (command.begin == 0 && address == command.token) command.begin = cycle;
}

void CardTimeline::beat_read(std::size_t port, std::uint64_t address, std::uint64_t cycle) {
  if (port != 0 || stride_ == 0 || address < first_address_) return;
  const std::uint64_t number = (address - first_address_) / stride_;
  if (load_ && (*load_ != number || cycle > load_end_ + kGapCycles)) end_load();
  if (!load_) {
    load_ = number;
    load_begin_ = cycle;
  }
  load_end_ = cycle;
  if (!commands_.empty()) {
    Command& command = commands_.front();
    if (command.begin != 0 && command.layer * std::uint64_t{experts_} + command.expert == number)
      command.loading = true;
  }
}

void CardTimeline::written(std::size_t port, std::uint64_t /*address*/, std::uint64_t cycle) {
  if (port == kHostPort && !commands_.empty() && commands_.front().begin != 0) commands_.front().end = cycle;
}

}  // namespace flame::accel
