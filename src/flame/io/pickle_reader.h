#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "flame/base/data_type.h"

namespace flame::io {

/// A tensor as a PyTorch pickle describes it: a view into a storage, which is a file of the archive.
struct PickledTensor {
  std::string name;     ///< key in the dictionary
  std::string storage;  ///< the storage's key: its bytes are the archive's entry "<root>/data/<key>"
  DataType type = DataType::kF32;
  std::uint64_t storage_elements = 0;  ///< as the pickle states it
  std::uint64_t offset = 0;            ///< first element
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> stride;  ///< in elements
};

/// Reads the pickle (protocol 2 to 5) of a dictionary of tensors, in the pickle's order, without the means to run
/// anything. The only names it may import are collections.OrderedDict, torch._utils._rebuild_tensor_v2,
/// torch._utils._rebuild_parameter, and torch's storage classes. Values beside the tensors that are built without
/// imports (numbers, strings, None, lists, dictionaries) are skipped, tensors inside them included. Throws FormatError
/// naming `source`, the byte and the offending import or operation.
[[nodiscard]] std::vector<PickledTensor> read_tensor_pickle(std::span<const std::byte> pickle,
                                                            const std::filesystem::path& source);

}  // namespace flame::io
