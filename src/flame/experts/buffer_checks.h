#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "flame/experts/buffer_options.h"
#include "flame/experts/bundle.h"

namespace flame::experts {

/// Whether the user gave an option ("--context") himself.
using GivenOption = std::function<bool(std::string_view option)>;

/// One sentence for every option that was given and changes nothing with this bundle beside the others.
[[nodiscard]] std::vector<std::string> options_without_effect(const Bundle& bundle, const BufferOptions& options,
                                                              const GivenOption& given);

}  // namespace flame::experts
