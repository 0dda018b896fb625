#include "flame/experts/simulated_loader.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <tuple>

namespace flame::experts {
namespace {

/// Simulated times are sums of many small terms: differences below this are rounding.
constexpr double kRounding = 1e-12;

}  // namespace

SimulatedLoader::SimulatedLoader(std::size_t slots, std::uint64_t expert_bytes, const StorageTimes& times)
    : expert_bytes_(expert_bytes), times_(times), loads_(slots), current_(static_cast<SlotIndex>(slots)) {
  active_.reserve(slots);
}

void SimulatedLoader::start(SlotIndex slot, ExpertIndex, io::ReadPriority priority, std::uint64_t rank) {
  Load& load = loads_[slot];
  assert(!load.active);
  load = {true, false, priority, rank, next_order_++, 0.0, now_, 0.0};
  active_.push_back(slot);
  if (times_.load <= 0.0) end(slot, LoadEnd::Outcome::kWhole);
}

void SimulatedLoader::promote(SlotIndex slot) {
  Load& load = loads_[slot];
  if (!load.active || load.priority == io::ReadPriority::kDemand) return;
  load.priority = io::ReadPriority::kDemand;
  load.order = next_order_++;
}

void SimulatedLoader::cancel(SlotIndex slot) {
  Load& load = loads_[slot];
  if (!load.active) return;
  load.cancelled = true;
  if (slot != current_ || chunk_rest(load) <= kRounding) end(slot, LoadEnd::Outcome::kCancelled);
}

double SimulatedLoader::progress(SlotIndex slot) {
  const Load& load = loads_[slot];
  return load.active ? load.done / times_.load : 1.0;
}

std::optional<LoadEnd> SimulatedLoader::poll() {
  if (ended_.empty()) return std::nullopt;
  const LoadEnd end = ended_.front();
  ended_.erase(ended_.begin());
  return end;
}

void SimulatedLoader::wait() {
  if (active_.empty() && ended_.empty()) throw std::logic_error("a wait for a load when there is none");
  if (ended_.empty()) run_until(std::numeric_limits<double>::infinity(), true);
}

void SimulatedLoader::advance(double seconds) { run_until(now_ + seconds, false); }

void SimulatedLoader::finish(SlotIndex slot) {
  while (loads_[slot].active) run_until(std::numeric_limits<double>::infinity(), true);
}

void SimulatedLoader::fail(SlotIndex, ExpertIndex) { throw std::logic_error("simulated loads do not fail"); }

SlotIndex SimulatedLoader::most_urgent() const {
  SlotIndex best = active_.front();
  for (const SlotIndex slot : active_) {
    const auto order = [&](const Load& load) {
      const bool demand = load.priority == io::ReadPriority::kDemand;
      return std::tuple(load.priority, demand ? 0 : load.rank, load.order);
    };
    if (order(loads_[slot]) < order(loads_[best])) best = slot;
  }
  return best;
}

double SimulatedLoader::chunk_rest(const Load& load) const {
  if (times_.chunk <= 0.0) return 0.0;
  const double chunks = load.done / times_.chunk;
  const double rest = (std::ceil(chunks - kRounding / times_.chunk) - chunks) * times_.chunk;
  return std::clamp(rest, 0.0, times_.load - load.done);
}

double SimulatedLoader::seconds_left(SlotIndex slot) const {
  const Load& load = loads_[slot];
  return load.cancelled ? chunk_rest(load) : times_.load - load.done;
}

void SimulatedLoader::run(SlotIndex slot, double seconds) {
  Load& load = loads_[slot];
  load.done += seconds;
  load.times += seconds;
  now_ += seconds;
  busy_ += seconds;
  if (load.done >= times_.load - kRounding) {
    end(slot, LoadEnd::Outcome::kWhole);
  } else if (load.cancelled && chunk_rest(load) <= kRounding) {
    end(slot, LoadEnd::Outcome::kCancelled);
  }
}

void SimulatedLoader::end(SlotIndex slot, LoadEnd::Outcome outcome) {
  Load& load = loads_[slot];
  const double share = outcome == LoadEnd::Outcome::kWhole ? 1.0 : load.done / times_.load;
  // A load that the storage left for another tells nothing of how long loads take.
  const bool undisturbed = now_ - load.begin <= load.times + kRounding;
  ended_.push_back({slot, outcome, static_cast<std::uint64_t>(std::llround(share * static_cast<double>(expert_bytes_))),
                    undisturbed ? load.times : 0.0});
  load.active = false;
  active_.erase(std::find(active_.begin(), active_.end(), slot));
  if (current_ == slot) current_ = static_cast<SlotIndex>(loads_.size());
}

void SimulatedLoader::run_until(double time, bool to_next_end) {
  const std::size_t ends = ended_.size();
  while (now_ < time) {
    if (to_next_end && ended_.size() > ends) return;
    if (active_.empty()) {
      assert(!to_next_end);
      now_ = time;
      return;
    }
    const SlotIndex urgent = most_urgent();
    if (current_ < loads_.size() && current_ != urgent) {
      // Another load is more urgent by now, but the chunk under way has to end.
      const SlotIndex slot = current_;
      const double rest = chunk_rest(loads_[slot]);
      if (rest > kRounding) {
        run(slot, std::min(rest, time - now_));
        continue;
      }
    }
    current_ = urgent;
    run(urgent, std::min(seconds_left(urgent), time - now_));
  }
}

}  // namespace flame::experts
