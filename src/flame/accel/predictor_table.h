#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "flame/accel/driver.h"
#include "flame/routing/profile.h"

namespace flame::accel {

/// The CEPR(m) table of a profile for the kernel: for each decoder layer every context of at most `order` decisions
/// that was seen, with its `ranked` likeliest experts (those of routing's cepr predictor, in its order).
std::vector<TableEntry> predictor_table(const routing::Profile& profile, std::size_t order, std::size_t ranked);

/// Keep values for Driver::load_keep, [decoder layers, experts]: how often the profile saw the expert, 255 for the most
/// frequent of all.
std::vector<std::uint8_t> keep_values(const routing::Profile& profile);

}  // namespace flame::accel
