#include "flame/experts/hindsight.h"

#include <algorithm>
#include <utility>

namespace flame::experts {
namespace {

/// The share of the time that forecasts may cost.
constexpr double kAllowedShare = 0.005;
/// Loads that forecasts may cost before they are set aside.
constexpr double kAllowedLoads = 8.0;
/// Loads that forecasts may have in hand: what they earned in better times is forgotten beyond that, so that a
/// predictor that has become wrong is found out.
constexpr double kMostLoads = 32.0;

}  // namespace

Hindsight::Hindsight(const ExpertGrid& grid, std::size_t slots, std::unique_ptr<ReplacementPolicy> policy,
                     std::span<const float> popularity)
    : shadow_(grid, slots, std::move(policy), popularity) {}

void Hindsight::visit(LayerIndex layer, std::span<const ExpertIndex> used, std::span<const ExpertIndex> order,
                      bool as_on_demand) {
  missing_ = shadow_.visit(layer, used, order);
  as_on_demand_ = as_on_demand;
}

void Hindsight::settle(const Pass& pass) {
  // Experts are computed as they arrive and while others load.
  const bool same = as_on_demand_ || pass.load <= 0.0;
  const double on_demand =
      same ? pass.waited : std::max(0.0, static_cast<double>(missing_) * pass.load - pass.computed);
  on_demand_seconds_ += on_demand;
  balance_ += kAllowedShare * pass.elapsed + on_demand - pass.waited;
  balance_ = std::min(balance_, kMostLoads * pass.load);
  const double least = -kAllowedLoads * pass.load;
  // Half of the allowance has to be there again before it is spent again.
  follows_ = balance_ >= (follows_ ? least : least / 2);
}

}  // namespace flame::experts
