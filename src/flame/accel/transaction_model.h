#pragma once

#include "flame/accel/accelerator_bench.h"

namespace flame::accel {

/// The accelerator at the level of loads and layer runs, for sweeps: thousands of times faster than the RTL.
///
/// The expert buffer follows the RTL's policy step by step (predicted, keep, last use; one prefetch at a time;
/// contradicted loads dropped). Loads progress one after the other, demand first, at the channels' sequential rate; the
/// engine of a missed expert ends with its load. Fixed costs of a layer run (fetching, router, results) are constants
/// taken from the RTL. How far it is from the RTL is measured in tests and docs/accelerator.md.
AcceleratorBenchResult run_transaction_model(const AcceleratorBenchOptions& options, const RoutingReplay& replay);

}  // namespace flame::accel
