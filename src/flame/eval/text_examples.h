#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace flame::eval {

/// One line of a data set: a text and what a person made of it.
struct TextExample {
  std::uint64_t index = 0;              ///< line of the file, from 0: what predictions are matched by
  std::string input;                    ///< empty when no field was asked for
  std::vector<std::string> references;  ///< at least one
};

/// Reads the first `limit` lines of a JSON-lines file. `field` names the input text ("": none is read);
/// `reference_fields` name the references, each a string or an array of strings. Throws FileError, and FormatError
/// naming the line for a field that is missing or no text, and for a file without a line.
[[nodiscard]] std::vector<TextExample> read_examples(const std::filesystem::path& file, const std::string& field,
                                                     const std::vector<std::string>& reference_fields,
                                                     std::optional<std::size_t> limit);

}  // namespace flame::eval
