#include "flame/io/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "flame/base/checksum.h"
#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/base/json.h"
#include "flame/io/pytorch_checkpoint.h"
#include "flame/io/safetensors.h"

namespace flame::io {
namespace {

constexpr std::array<std::string_view, 4> kWeightFiles = {"model.safetensors", "model.safetensors.index.json",
                                                          "pytorch_model.bin", "pytorch_model.bin.index.json"};

/// What `git clone` without Git LFS leaves in a large file's place begins so.
constexpr std::string_view kLargeFilePointer = "version https://git-lfs.github.com/spec/";

/// By its first bytes, not its name: "PK" begins every zip archive and cannot begin a safetensors file of sane length.
std::unique_ptr<TensorFile> open_tensor_file(const std::filesystem::path& path, FileSystem& files) {
  const auto file = files.open(path);
  std::array<std::byte, kLargeFilePointer.size()> start{};
  const std::size_t known = std::min<std::uint64_t>(file->size(), start.size());
  file->read_at(0, std::span(start).first(known));
  if (std::memcmp(start.data(), kLargeFilePointer.data(), start.size()) == 0) {
    throw FormatError(path, "holds a Git LFS pointer instead of the weights; fetch them with `git lfs pull`");
  }
  const bool zip = start[0] == std::byte{'P'} && start[1] == std::byte{'K'};
  const bool legacy_pickle = start[0] == std::byte{0x80} && path.extension() != ".safetensors";
  if (zip || legacy_pickle || path.extension() == ".bin") return std::make_unique<PytorchCheckpoint>(path, files);
  return std::make_unique<SafetensorsFile>(path, files);
}

/// A shard is a file name beside the index; anything that leads elsewhere is refused.
void check_shard_name(const JsonView& shard) {
  const std::string name = shard.as_string();
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
    shard.fail(fmt::format("\"{}\" is not the name of a file beside the index", name));
  }
}

}  // namespace

Checkpoint Checkpoint::open(const std::filesystem::path& path, FileSystem& files) {
  Checkpoint checkpoint(path);
  if (!files.is_directory(path)) {
    if (path.filename().string().ends_with(".index.json")) {
      checkpoint.add_shards(path, files);
    } else {
      checkpoint.add_file(open_tensor_file(path, files));
    }
  } else {
    const auto* const weights = std::find_if(kWeightFiles.begin(), kWeightFiles.end(),
                                             [&](std::string_view name) { return files.exists(path / name); });
    if (weights == kWeightFiles.end()) {
      throw ModelError(fmt::format("{}: no weights; looked for {}", path.string(), fmt::join(kWeightFiles, ", ")));
    }
    if (weights->ends_with(".index.json")) {
      checkpoint.add_shards(path / *weights, files);
    } else {
      checkpoint.add_file(open_tensor_file(path / *weights, files));
    }
  }
  std::sort(checkpoint.names_.begin(), checkpoint.names_.end());
  return checkpoint;
}

void Checkpoint::add_file(std::unique_ptr<TensorFile> file) {
  for (const std::string& name : file->names()) {
    const auto [owner, added] = owners_.emplace(name, file.get());
    if (!added) {
      throw ModelError(fmt::format("the tensor \"{}\" is both in {} and in {}", name, owner->second->path().string(),
                                   file->path().string()));
    }
    names_.push_back(name);
  }
  files_.push_back(std::move(file));
}

void Checkpoint::add_shards(const std::filesystem::path& index, FileSystem& files) {
  const Json parsed = parse_json(read_file(index, files), index);
  const JsonView weight_map = JsonView(parsed, index).at("weight_map");
  std::map<std::string, std::vector<std::string>> shards;  // file name to the tensors it must have
  for (const std::string& name : weight_map.keys()) {
    const JsonView shard = weight_map.at(name);
    check_shard_name(shard);
    shards[shard.as_string()].push_back(name);
  }
  if (shards.empty()) weight_map.fail("lists no tensors");
  const std::filesystem::path directory = index.parent_path();
  for (const auto& [shard, names] : shards) {
    if (!files.exists(directory / shard)) {
      throw ModelError(fmt::format("{}: the shard is missing ({} names it for {} tensors, {} among them)",
                                   (directory / shard).string(), index.filename().string(), names.size(),
                                   names.front()));
    }
    add_file(open_tensor_file(directory / shard, files));
    for (const std::string& name : names) {
      if (files_.back()->find(name) == nullptr) {
        throw ModelError(fmt::format("{}: the tensor \"{}\" is missing, although {} says it is there",
                                     (directory / shard).string(), name, index.filename().string()));
      }
    }
  }
}

std::vector<std::filesystem::path> Checkpoint::files() const {
  std::vector<std::filesystem::path> paths;
  for (const auto& file : files_) paths.push_back(file->path());
  return paths;
}

const TensorView* Checkpoint::find(std::string_view name) const {
  const auto owner = owners_.find(std::string(name));
  return owner == owners_.end() ? nullptr : owner->second->find(name);
}

const TensorView& Checkpoint::tensor(std::string_view name) const {
  if (const TensorView* found = find(name); found != nullptr) return *found;
  throw ModelError(fmt::format("{}: the tensor \"{}\" is missing", path_.string(), name));
}

const std::filesystem::path& Checkpoint::file_of(std::string_view name) const {
  return owners_.at(std::string(name))->path();
}

std::uint64_t Checkpoint::total_bytes() const {
  std::uint64_t total = 0;
  for (const std::string& name : names_) total += find(name)->bytes.size();
  return total;
}

void Checkpoint::release(std::string_view name) const {
  if (const auto owner = owners_.find(std::string(name)); owner != owners_.end()) owner->second->release(name);
}

void Checkpoint::release_all() const {
  for (const std::string& name : names_) release(name);
}

std::uint64_t Checkpoint::content_checksum() const {
  if (checksum_known_) return checksum_;
  Checksum checksum;
  for (const std::string& name : names_) {
    throw_if_interrupted();
    const TensorView& tensor = *find(name);
    checksum.add_text(name);
    checksum.add_text(name_of(tensor.type));
    checksum.add_number(tensor.shape.size());
    for (const std::uint64_t extent : tensor.shape) checksum.add_number(extent);
    checksum.add(tensor.bytes);
    release(name);
  }
  checksum_ = checksum.value();
  checksum_known_ = true;
  return checksum_;
}

}  // namespace flame::io
