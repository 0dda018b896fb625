#pragma once

#include <string>

#include "flame/base/json.h"
#include "flame/experts/buffered_device.h"

namespace flame::eval {

/// What a buffered run did since begin_statistics(), beside what no buffer of its size could have done better: lines
/// for --stats.
[[nodiscard]] std::string describe_buffer(const experts::BufferedDevice& device);

/// The same as numbers.
[[nodiscard]] Json buffer_json(const experts::BufferedDevice& device);

}  // namespace flame::eval
