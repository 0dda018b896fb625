#include "flame/eval/calibration_data.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/io/json_lines.h"

namespace flame::eval {

std::vector<sparsity::CalibrationExample> read_calibration(const CalibrationSource& source,
                                                           const text::Tokenizer& tokenizer,
                                                           std::size_t longest_input) {
  io::JsonLinesOptions options;
  options.strict = true;
  io::JsonLinesReader reader(source.file, options);
  std::vector<sparsity::CalibrationExample> examples;
  while (examples.size() < source.samples) {
    const std::optional<Json> line = reader.next();
    if (!line) break;
    const JsonView view(*line, fmt::format("{}: line {}", source.file.string(), reader.line()));
    sparsity::CalibrationExample example;
    example.input = tokenizer.encode(source.prefix + view.at(source.field).as_string());
    if (example.input.size() > longest_input) {
      example.input.resize(longest_input);
      example.input.back() = tokenizer.end_id();
    }
    if (!source.target_field.empty()) example.target = tokenizer.encode(view.at(source.target_field).as_string());
    examples.push_back(std::move(example));
  }
  if (examples.empty()) throw FormatError(source.file, "expected at least one calibration example, found none");
  return examples;
}

}  // namespace flame::eval
