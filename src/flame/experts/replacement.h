#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "flame/experts/buffer_options.h"
#include "flame/experts/expert_grid.h"
#include "flame/experts/outlook.h"

namespace flame::experts {

/// Says which resident expert is worth least. One per pool; told of every use and load.
class ReplacementPolicy {
 public:
  virtual ~ReplacementPolicy() = default;
  /// Another one that has been told the same.
  [[nodiscard]] virtual std::unique_ptr<ReplacementPolicy> clone() const = 0;
  virtual void loaded(ExpertIndex expert) { static_cast<void>(expert); }
  virtual void used(ExpertIndex expert) { static_cast<void>(expert); }
  /// Which of these experts (one at least) is worth least and gives way: its place in the span. Equal ones: the first.
  [[nodiscard]] virtual std::size_t weakest(std::span<const ExpertIndex> resident, const Outlook& outlook) const = 0;
};

/// `popularity` as in Outlook; only kStatic looks at it.
[[nodiscard]] std::unique_ptr<ReplacementPolicy> make_replacement(Replacement replacement, const ExpertGrid& grid,
                                                                  std::span<const float> popularity);

/// Belady's bound: knows every coming use. `uses` are the experts in the order in which they will be used.
class BeladyReplacement final : public ReplacementPolicy {
 public:
  BeladyReplacement(const ExpertGrid& grid, std::span<const ExpertIndex> uses);
  [[nodiscard]] std::unique_ptr<ReplacementPolicy> clone() const override {
    return std::make_unique<BeladyReplacement>(*this);
  }
  void used(ExpertIndex expert) override;
  [[nodiscard]] std::size_t weakest(std::span<const ExpertIndex> resident, const Outlook& outlook) const override;

 private:
  std::vector<std::uint32_t> next_;     ///< [uses]: position of the same expert's following use
  std::vector<std::uint32_t> next_of_;  ///< [experts]: position of its next use
  std::uint32_t position_ = 0;
};

}  // namespace flame::experts
