#pragma once

#include <filesystem>

namespace flame::test {

/// A checkpoint with random weights and T5's tokenizer (tests/data/cli/tiny.json), made once a process.
[[nodiscard]] const std::filesystem::path& tiny_checkpoint();

}  // namespace flame::test
