#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "flame/base/json.h"

namespace flame::test {

/// Content of T5's spiece.model.
[[nodiscard]] const std::string& t5_spiece();

/// A tokenizer.json that says what t5_spiece() says, as transformers 5 writes it.
[[nodiscard]] Json t5_tokenizer_json();

/// A file of tests/data/text (tools/fixtures/tokenizer_fixtures.py).
[[nodiscard]] Json expected_file(const std::string& name);

}  // namespace flame::test
