#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace flame::sparsity {

/// Whether the whole of `name` fits a pattern in which '*' stands for any characters (dots too) and '?' for one.
[[nodiscard]] bool matches(std::string_view pattern, std::string_view name);

/// Whether any of the patterns fits.
[[nodiscard]] bool matches_any(const std::vector<std::string>& patterns, std::string_view name);

}  // namespace flame::sparsity
