#include "flame/io/pytorch_checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <span>
#include <utility>

#include "flame/base/error.h"
#include "flame/io/pickle_reader.h"
#include "flame/io/zip_directory.h"

namespace flame::io {
namespace {

using Archive = std::map<std::string, std::span<const std::byte>>;

constexpr std::string_view kPickleName = "/data.pkl";

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// torch.save puts everything below one directory, whose name is that of the file it was first written to.
std::string root_of(const Archive& archive, const std::filesystem::path& path) {
  std::string root;
  for (const auto& [name, bytes] : archive) {
    if (!name.ends_with(kPickleName)) continue;
    if (!root.empty()) throw FormatError(path, "zip archive: two entries are called data.pkl");
    root = name.substr(0, name.size() - kPickleName.size());
  }
  if (root.empty()) throw FormatError(path, "zip archive without a data.pkl: not a PyTorch checkpoint");
  return root;
}

/// Row-major without gaps. Extents of 1 may have any stride, as in PyTorch.
bool is_contiguous(const PickledTensor& tensor) {
  std::uint64_t expected = 1;
  for (std::size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] != 1 && tensor.stride[i] != expected) return false;
    expected *= tensor.shape[i];  // cannot overflow: the caller has checked the product
  }
  return true;
}

TensorView view_of(const PickledTensor& tensor, const Archive& archive, const std::string& root,
                   const std::filesystem::path& path) {
  const auto refuse = [&](const std::string& what) {
    throw FormatError(path,
                      fmt::format("the tensor \"{}\", {}: {}", tensor.name, describe(tensor.type, tensor.shape), what));
  };
  const auto storage = archive.find(fmt::format("{}/data/{}", root, tensor.storage));
  if (storage == archive.end()) refuse(fmt::format("the archive lacks its storage \"{}\"", tensor.storage));
  const std::uint64_t element = size_of(tensor.type);
  const std::uint64_t elements = storage->second.size() / element;
  if (elements != tensor.storage_elements || storage->second.size() % element != 0) {
    refuse(fmt::format("its storage \"{}\" has {} bytes, expected {} elements of {}", tensor.storage,
                       storage->second.size(), tensor.storage_elements, element));
  }
  std::uint64_t bytes = 0;
  if (!tensor_bytes(tensor.type, tensor.shape, bytes)) refuse("has more bytes than 64 bits count");
  const std::uint64_t count = bytes / element;
  if (tensor.offset > elements || count > elements - tensor.offset) {
    refuse(fmt::format("{} elements at {} lie outside of its storage of {}", count, tensor.offset, elements));
  }
  if (count > 0 && !is_contiguous(tensor)) {
    refuse(fmt::format("is stored with strides [{}], not row-major; save it again after .contiguous()",
                       fmt::join(tensor.stride, ", ")));
  }
  return {tensor.type, tensor.shape, storage->second.subspan(tensor.offset * element, bytes)};
}

}  // namespace

PytorchCheckpoint::PytorchCheckpoint(const std::filesystem::path& path, FileSystem& files)
    : path_(path), map_(files.map(path)) {
  const std::string_view start = text_of(map_.bytes().first(std::min<std::size_t>(2, map_.bytes().size())));
  if (start == "\x80\x02") {
    throw FormatError(path, "was written by PyTorch before 1.6 (not a zip archive); load and save it with a newer one");
  }
  const Archive archive = read_zip_directory(map_.bytes(), path);
  const std::string root = root_of(archive, path);
  if (const auto order = archive.find(root + "/byteorder");
      order != archive.end() && text_of(order->second) != "little") {
    throw FormatError(path, fmt::format("has the byte order \"{}\"; only little is read", text_of(order->second)));
  }
  for (const PickledTensor& tensor : read_tensor_pickle(archive.at(root + std::string(kPickleName)), path)) {
    tensors_.emplace(tensor.name, view_of(tensor, archive, root, path));
    names_.push_back(tensor.name);
  }
  if (names_.empty()) throw FormatError(path, "its dictionary holds no tensors; a training checkpoint, perhaps");
  std::sort(names_.begin(), names_.end());
}

const TensorView* PytorchCheckpoint::find(std::string_view name) const {
  const auto found = tensors_.find(std::string(name));
  return found == tensors_.end() ? nullptr : &found->second;
}

void PytorchCheckpoint::release(std::string_view name) const { map_.advise(tensor(name).bytes, Advice::kDontNeed); }

}  // namespace flame::io
