#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "flame/report/items.h"

namespace flame::report {

/// How long the commands of a report still take: what they usually take, scaled by how those that have run went.
class TimeLeft {
 public:
  TimeLeft(const std::vector<ItemMaker>& items, const Subject& subject);

  /// A command begins to run, or has run.
  void start(const std::string& name);
  void end(const std::string& name, double seconds);
  /// The first `count` items are done: what they did not run was there.
  void finish_item(std::size_t count);

  /// Nothing until a command has run.
  [[nodiscard]] std::optional<double> seconds() const;

  /// Seconds that a measurement of that name usually takes, on two cores and a model of nine million parameters; only
  /// the ratios matter.
  [[nodiscard]] static double usual_seconds(std::string_view name, const Subject& subject);

 private:
  using Clock = std::chrono::steady_clock;

  std::vector<std::set<std::string>> items_;  ///< names of what each asks for
  Subject subject_;
  std::set<std::string> done_;
  std::string running_;
  Clock::time_point started_;
  double usual_done_ = 0.0;
  double really_done_ = 0.0;
  std::size_t items_done_ = 0;
};

}  // namespace flame::report
