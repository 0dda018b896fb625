#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "flame/experts/expert_grid.h"

namespace flame::experts {

/// Which experts were wanted by which pass, in order: the input of bounds and replays.
class UseLog {
 public:
  void begin_example() {
    if (uses_.size() < kMostUses) examples_.push_back(passes_.size());
  }
  void add(LayerIndex layer, std::span<const ExpertIndex> experts) {
    if (uses_.size() >= kMostUses) return;
    passes_.push_back({layer, static_cast<std::uint32_t>(uses_.size()), static_cast<std::uint32_t>(experts.size())});
    uses_.insert(uses_.end(), experts.begin(), experts.end());
  }
  /// A new log, of a buffer that has these experts in its slots already.
  void begin(std::vector<ExpertIndex> found) {
    passes_.clear();
    uses_.clear();
    examples_.clear();
    found_ = std::move(found);
  }

  [[nodiscard]] std::size_t passes() const { return passes_.size(); }
  [[nodiscard]] LayerIndex layer(std::size_t pass) const { return passes_[pass].layer; }
  [[nodiscard]] std::span<const ExpertIndex> experts(std::size_t pass) const {
    return std::span(uses_).subspan(passes_[pass].first, passes_[pass].count);
  }
  /// What was in the slots before the first pass.
  [[nodiscard]] std::span<const ExpertIndex> found() const { return found_; }
  /// All of them, pass after pass.
  [[nodiscard]] std::span<const ExpertIndex> all() const { return uses_; }
  /// Passes with which an example begins, rising.
  [[nodiscard]] std::span<const std::size_t> examples() const { return examples_; }

  /// With its passes a use takes up to 16 bytes: a log of a long run ends before it takes memory that others were to
  /// have. What came first then stands for the rest.
  static constexpr std::size_t kMostUses = std::size_t{1} << 20;

 private:
  struct Pass {
    LayerIndex layer;
    std::uint32_t first;
    std::uint32_t count;
  };
  std::vector<Pass> passes_;
  std::vector<ExpertIndex> uses_;
  std::vector<std::size_t> examples_;
  std::vector<ExpertIndex> found_;
};

}  // namespace flame::experts
