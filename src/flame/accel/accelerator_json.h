#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>

#include "flame/accel/accelerator_device.h"
#include "flame/base/json.h"

namespace flame::accel {

/// What AcceleratorReport::describe says, as an object: "cycles" of the whole run and "cycles_by_kind" that add up to
/// it, "cycles_per_token", "clock_mhz" (assumed), "hits", "late", "misses", "hit_ratio", "loads", "bytes" and the
/// router unit's agreement with fp32.
[[nodiscard]] Json to_json(const AcceleratorReport& report, std::uint64_t output_tokens);

}  // namespace flame::accel
