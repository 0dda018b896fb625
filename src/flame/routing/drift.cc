#include "flame/routing/drift.h"

#include <algorithm>
#include <cmath>

namespace flame::routing {

void DriftMeter::add(std::span<const RankedExpert> ranked, std::uint16_t expert) {
  double promised = 0.0;
  bool hit = false;
  for (const RankedExpert& candidate : ranked) {
    promised += static_cast<double>(candidate.probability);
    hit = hit || candidate.expert == expert;
  }
  promised = std::min(promised, 1.0);
  ++predictions_;
  hits_ += hit ? 1 : 0;
  promised_ += promised;
  variance_ += promised * (1.0 - promised);
}

DriftMeter::Report DriftMeter::report() const {
  Report report;
  report.predictions = predictions_;
  if (predictions_ == 0) return report;
  const auto count = static_cast<double>(predictions_);
  report.promised = promised_ / count;
  report.observed = static_cast<double>(hits_) / count;
  // Promises of certainty have no variance of their own: one broken one in a run must not count as infinitely many.
  report.z = (static_cast<double>(hits_) - promised_) / std::sqrt(std::max(variance_, 1.0));
  return report;
}

}  // namespace flame::routing
