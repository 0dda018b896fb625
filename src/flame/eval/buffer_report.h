#pragma once

#include <string>

#include "flame/base/json.h"
#include "flame/experts/buffered_device.h"

namespace flame::eval {

/// What a buffered run did since its device was opened, beside what no buffer of its size could have done better: lines
/// for --stats. `decoder_seconds`: spent in the decoder, over the whole run.
[[nodiscard]] std::string describe_buffer(const experts::BufferedDevice& device, double decoder_seconds);

/// The same as numbers.
[[nodiscard]] Json buffer_json(const experts::BufferedDevice& device, double decoder_seconds);

}  // namespace flame::eval
