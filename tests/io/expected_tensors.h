#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "flame/io/tensor_file.h"

namespace flame::test {

/// A tensor as tests/data/io/expected.json describes it (tools/fixtures/io_fixtures.py).
struct ExpectedTensor {
  std::string description;  ///< "F32 [2, 3]"
  std::string bytes;        ///< hexadecimal
  friend bool operator==(const ExpectedTensor&, const ExpectedTensor&) = default;
};

using ExpectedTensors = std::map<std::string, ExpectedTensor>;

/// What a file of tests/data/io holds, as PyTorch sees it.
[[nodiscard]] ExpectedTensors expected_tensors(const std::string& file);

[[nodiscard]] ExpectedTensor as_expected(const io::TensorView& tensor);

/// Everything that a TensorFile or Checkpoint holds.
template <typename Tensors>
[[nodiscard]] ExpectedTensors contents_of(const Tensors& tensors) {
  ExpectedTensors contents;
  for (const std::string& name : tensors.names()) contents[name] = as_expected(tensors.tensor(name));
  return contents;
}

void PrintTo(const ExpectedTensor& tensor, std::ostream* stream);

}  // namespace flame::test
