#include "flame/report/time_left.h"

#include <algorithm>

namespace flame::report {
namespace {

/// Seconds = fixed + each × (scored examples) + each_profiled × (profiled examples).
struct Usual {
  std::string_view name;  ///< "*" at the end stands for any rest
  double fixed = 0.0;
  double each = 0.0;
  double each_profiled = 0.0;
  std::size_t of_the_kind = 1;  ///< measurements that a name with "*" stands for
};

constexpr Usual kUsual[] = {{"inspect", 0.05},
                            {"inspect*", 0.05, 0.0, 0.0, 6},
                            {"test.trace", 0.2, 0.03},
                            {"profile.trace", 0.2, 0.0, 0.03},
                            {"routing.profile", 0.5, 0.0, 0.05},
                            {"paths", 0.2},
                            {"prediction", 0.5, 0.03},
                            {"pruning-half", 1.0, 0.3},
                            {"pruning-sweep*", 3.0, 1.6},
                            {"buffer-paper", 0.2, 0.01},
                            {"buffer-dense", 0.2, 0.05},
                            {"buffer-2_4", 0.2, 0.05},
                            {"buffer-1_4", 0.2, 0.05},
                            {"bench", 4.0},
                            {"memory-*", 4.0, 0.0, 0.0, 3},
                            {"bench-dense-*", 1.0, 0.0, 0.0, 2},
                            {"accelerator", 0.3},
                            {"accelerator-whole-experts", 0.5},
                            {"accelerator-switch-base", 0.5},
                            {"accelerator-sweep", 1.5},
                            {"bundle-*", 0.5, 0.0, 0.0, 9},
                            {"dtype-*", 0.5, 0.04, 0.0, 9},
                            {"timeline.trace.json", 0.5}};

const Usual* usual_of(std::string_view name) {
  const auto fits = [&](const Usual& usual) {
    return usual.name.ends_with('*') ? name.starts_with(usual.name.substr(0, usual.name.size() - 1))
                                     : name == usual.name;
  };
  const auto* found = std::find_if(std::begin(kUsual), std::end(kUsual), fits);
  return found == std::end(kUsual) ? nullptr : found;
}

}  // namespace

double TimeLeft::usual_seconds(std::string_view name, const Subject& subject) {
  const Usual* usual = usual_of(name);
  if (usual == nullptr) return 1.0;
  const double repeats =
      usual->name.starts_with("bench") || usual->name == "memory-*" ? (subject.quick ? 1.0 : 2.5) : 1.0;
  const double one = usual->fixed * repeats + usual->each * static_cast<double>(subject.test_examples) +
                     usual->each_profiled * static_cast<double>(subject.profile_examples);
  return name.ends_with('*') ? one * static_cast<double>(usual->of_the_kind) : one;
}

TimeLeft::TimeLeft(const std::vector<ItemMaker>& items, const Subject& subject) : subject_(subject) {
  for (const ItemMaker& item : items) items_.emplace_back(item.measurements.begin(), item.measurements.end());
}

void TimeLeft::start(const std::string& name) {
  running_ = name;
  started_ = Clock::now();
}

void TimeLeft::end(const std::string& name, double seconds) {
  usual_done_ += usual_seconds(name, subject_);
  really_done_ += seconds;
  done_.insert(name);
  running_.clear();
}

void TimeLeft::finish_item(std::size_t count) { items_done_ = count; }

std::optional<double> TimeLeft::seconds() const {
  if (usual_done_ <= 0.0) return std::nullopt;
  // A few seconds' worth of what is usual keeps the first, short commands from deciding alone.
  constexpr double kPrior = 5.0;
  const double scale = (really_done_ + kPrior) / (usual_done_ + kPrior);
  std::set<std::string> settled = done_;
  for (std::size_t item = 0; item < std::min(items_done_, items_.size()); ++item) {
    settled.insert(items_[item].begin(), items_[item].end());
  }
  double usual = 0.0;
  std::set<std::string> counted;
  for (std::size_t item = items_done_; item < items_.size(); ++item) {
    for (const std::string& name : items_[item]) {
      if (settled.contains(name) || !counted.insert(name).second) continue;
      double left = usual_seconds(name, subject_);
      // Of several measurements under one name, those that have run are over.
      if (name.ends_with('*')) {
        for (const std::string& one : done_) {
          if (one.starts_with(name.substr(0, name.size() - 1))) left -= usual_seconds(one, subject_);
        }
      }
      usual += std::max(0.0, left);
    }
  }
  double left = usual * scale;
  if (!running_.empty()) {
    const double usually = usual_seconds(running_, subject_) * scale;
    const double elapsed = std::chrono::duration<double>(Clock::now() - started_).count();
    left -= std::min(usually, elapsed);
  }
  return std::max(0.0, left);
}

}  // namespace flame::report
