#include "flame/eval/text_examples.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/io/json_lines.h"

namespace flame::eval {

std::vector<TextExample> read_examples(const std::filesystem::path& file, const std::string& field,
                                       const std::vector<std::string>& reference_fields,
                                       std::optional<std::size_t> limit) {
  io::JsonLinesOptions options;
  options.strict = true;
  io::JsonLinesReader reader(file, options);
  std::vector<TextExample> examples;
  while (!limit || examples.size() < *limit) {
    const std::optional<Json> line = reader.next();
    if (!line) break;
    const JsonView view(*line, fmt::format("{}: line {}", file.string(), reader.line()));
    TextExample example;
    example.index = reader.line() - 1;
    if (!field.empty()) example.input = view.at(field).as_string();
    for (const std::string& name : reference_fields) {
      const JsonView references = view.at(name);
      if (!references.is_array()) {
        example.references.push_back(references.as_string());
        continue;
      }
      for (std::size_t i = 0; i < references.size(); ++i) {
        example.references.push_back(references.element(i).as_string());
      }
      if (references.size() == 0) references.fail("expected at least one reference");
    }
    examples.push_back(std::move(example));
  }
  if (examples.empty()) throw FormatError(file, "expected at least one example, found none");
  return examples;
}

}  // namespace flame::eval
