#include "io/expected_tensors.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "flame/base/json.h"
#include "flame/io/file.h"
#include "support/test_data.h"

namespace flame::test {

ExpectedTensors expected_tensors(const std::string& file) {
  const std::filesystem::path path = data_path("io/expected.json");
  const Json document = parse_json(io::read_file(path), path);
  ExpectedTensors tensors;
  for (const auto& [name, tensor] : document.at("files").at(file).items()) {
    DataType type = DataType::kBool;
    if (!parse_data_type(tensor.at("type").get<std::string>(), type)) throw std::runtime_error("bad expected.json");
    const auto shape = tensor.at("shape").get<std::vector<std::uint64_t>>();
    tensors[name] = {io::describe(type, shape), tensor.at("bytes").get<std::string>()};
  }
  return tensors;
}

ExpectedTensor as_expected(const io::TensorView& tensor) {
  std::string hexadecimal;
  for (const std::byte byte : tensor.bytes) hexadecimal += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return {io::describe(tensor), hexadecimal};
}

void PrintTo(const ExpectedTensor& tensor, std::ostream* stream) {
  *stream << tensor.description << " " << tensor.bytes;
}

}  // namespace flame::test
