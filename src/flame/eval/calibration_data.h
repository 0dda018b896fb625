#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "flame/sparsity/calibration.h"
#include "flame/text/tokenizer.h"

namespace flame::eval {

/// Where calibration examples come from.
struct CalibrationSource {
  std::filesystem::path file;  ///< JSON lines
  std::string field;           ///< key of the input text
  std::string target_field;    ///< key of the text the decoder is to say; empty: the model's own greedy output
  std::string prefix;          ///< put before every input text
  std::size_t samples = 128;   ///< the first so many lines, or all if there are fewer
};

/// Reads and tokenises them. Inputs are cut after `longest_input` tokens, the end token kept. Throws FileError, and
/// FormatError for a line without the fields or a file without a line.
[[nodiscard]] std::vector<sparsity::CalibrationExample> read_calibration(const CalibrationSource& source,
                                                                         const text::Tokenizer& tokenizer,
                                                                         std::size_t longest_input);

}  // namespace flame::eval
