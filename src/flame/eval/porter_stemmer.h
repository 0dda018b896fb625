#pragma once

#include <string>
#include <string_view>

namespace flame::eval {

/// The stem of an English word of letters a-z and digits: Porter, "An algorithm for suffix stripping" (1980), with the
/// extensions of NLTK's default mode, which is what the rouge-score package stems with. Words of one or two characters
/// come back unchanged; upper-case letters are not expected.
[[nodiscard]] std::string porter_stem(std::string_view word);

}  // namespace flame::eval
