#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "flame/experts/bundle.h"
#include "flame/kernels/expert.h"
#include "flame/kernels/int8_expert.h"

namespace flame::accel {

/// One expert as integers, unpacked: zeros where weights are pruned. Owns what an Int8ExpertView looks at.
struct ExpertCodes {
  std::size_t d_model = 0;
  std::size_t d_ff = 0;
  std::vector<std::int8_t> wi;     ///< [d_ff, d_model]
  std::vector<std::int8_t> wo;     ///< [d_model, d_ff]
  kernels::InputRowScaling input;  ///< of wi's rows
  std::vector<float> wo_scales;    ///< [d_model]

  /// Lives as long as this object is not changed.
  [[nodiscard]] kernels::Int8ExpertView view() const;
};

/// Unpacks a packed int8 expert. Throws UsageError for another value type, a gate or an activation other than ReLU:
/// what the accelerator cannot run.
ExpertCodes unpack_codes(const kernels::PackedExpertLayout& layout, std::span<const std::byte> bytes);

/// Reads and unpacks one expert of a bundle; its checksum is compared. Throws as unpack_codes, FileError, FormatError.
ExpertCodes read_codes(const experts::Bundle& bundle, experts::ExpertIndex expert);

}  // namespace flame::accel
