#include "flame/sparsity/checkpoint_copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <nlohmann/json.hpp>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/base/json.h"
#include "flame/io/safetensors_header.h"
#include "flame/io/safetensors_writer.h"

namespace flame::sparsity {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{8} << 20;

bool is_weight_file(std::string_view name) {
  constexpr std::array<std::string_view, 12> kEndings = {".safetensors", ".bin",  ".pt",      ".pth",
                                                         ".ckpt",        ".h5",   ".msgpack", ".ot",
                                                         ".onnx",        ".gguf", ".npz",     ".index.json"};
  return std::any_of(kEndings.begin(), kEndings.end(), [&](std::string_view ending) { return name.ends_with(ending); });
}

/// The safetensors name of a PyTorch weight file, as transformers names them.
std::string converted_name(const std::filesystem::path& file) {
  std::string stem = file.stem().string();
  constexpr std::string_view kPytorch = "pytorch_model";
  if (stem.starts_with(kPytorch)) stem = "model" + stem.substr(kPytorch.size());
  return stem + ".safetensors";
}

}  // namespace

CheckpointCopy::CheckpointCopy(const std::filesystem::path& model, const io::Checkpoint& source,
                               const std::filesystem::path& target, io::Existing existing, io::FileSystem& files)
    : model_(model), source_(source), files_(files), directory_(target, existing, files) {
  if (!files_.is_directory(model_)) {
    throw FileError(model_, "expected a model directory with config.json and weights");
  }
  plan_shards();
}

void CheckpointCopy::plan_shards() {
  std::map<std::filesystem::path, std::vector<std::string>> tensors;
  for (const std::string& name : source_.names()) tensors[source_.file_of(name)].push_back(name);
  for (const std::filesystem::path& file : source_.files()) {
    Shard shard;
    shard.source = file;
    shard.safetensors = file.extension() == ".safetensors";
    shard.name = shard.safetensors ? file.filename().string() : converted_name(file);
    shard.tensors = tensors[file];
    shards_.push_back(std::move(shard));
  }
}

io::WritableFile& CheckpointCopy::create(const std::string& name) {
  open_files_.push_back(files_.create(directory_.path() / name));
  return *open_files_.back();
}

void CheckpointCopy::write(const Edits& edits, std::string_view replaced) {
  Progress progress("writing", source_.total_bytes(), ProgressUnit::kBytes);
  for (const Shard& shard : shards_) {
    if (shard.safetensors) {
      write_safetensors(shard, edits, progress);
    } else {
      write_converted(shard, edits, progress);
    }
  }
  write_index_of_converted();
  copy_other_files(replaced);
}

void CheckpointCopy::write_safetensors(const Shard& shard, const Edits& edits, Progress& progress) {
  const std::unique_ptr<io::ReadableFile> original = files_.open(shard.source);
  io::SafetensorsHeader header = io::read_safetensors_header(*original);
  io::WritableFile& file = create(shard.name);
  std::vector<std::byte> opening(header.data_offset);
  original->read_at(0, opening);
  file.append(opening);
  std::sort(header.entries.begin(), header.entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);  // an empty tensor stands before its neighbour
  });
  for (const io::SafetensorsEntry& entry : header.entries) {
    assert(file.size() == entry.offset);
    places_[entry.name] = {&file, entry.offset, entry.bytes};
    stream(
        entry.name, edits, [&](std::span<const std::byte> piece) { file.append(piece); }, progress);
  }
}

void CheckpointCopy::write_converted(const Shard& shard, const Edits& edits, Progress& progress) {
  io::WritableFile& file = create(shard.name);
  // transformers refuses a safetensors file that does not say which framework's layout it has.
  io::SafetensorsWriter writer(file, {{"format", "pt"}});
  for (const std::string& name : shard.tensors) {
    const io::TensorView& tensor = source_.tensor(name);
    writer.declare(name, tensor.type, tensor.shape);
  }
  writer.begin();
  for (const io::SafetensorsEntry& entry : writer.entries()) places_[entry.name] = {&file, entry.offset, entry.bytes};
  for (const std::string& name : shard.tensors) {
    stream(
        name, edits, [&](std::span<const std::byte> piece) { writer.append(name, piece); }, progress);
  }
  writer.finish();
}

void CheckpointCopy::stream(std::string_view name, const Edits& edits,
                            const std::function<void(std::span<const std::byte>)>& sink, Progress& progress) {
  const io::TensorView& tensor = source_.tensor(name);
  std::span<const std::byte> bytes = tensor.bytes;
  if (const auto edit = edits.find(name); edit != edits.end()) {
    buffer_.resize(std::max(buffer_.size(), tensor.bytes.size()));
    const auto copy = std::span(buffer_).first(tensor.bytes.size());
    edit->second(name, tensor, copy);
    bytes = copy;
  }
  while (!bytes.empty()) {
    throw_if_interrupted();
    const auto piece = bytes.first(std::min(bytes.size(), kPieceBytes));
    sink(piece);
    progress.advance(piece.size());
    bytes = bytes.subspan(piece.size());
  }
  source_.release(name);
}

void CheckpointCopy::write_index_of_converted() {
  if (shards_.size() < 2 || shards_.front().safetensors) return;
  Json index;
  index["metadata"]["total_size"] = source_.total_bytes();
  for (const Shard& shard : shards_) {
    for (const std::string& name : shard.tensors) index["weight_map"][name] = shard.name;
  }
  create("model.safetensors.index.json").append(index.dump(2) + "\n");
}

void CheckpointCopy::copy_other_files(std::string_view replaced) {
  const bool indexed = !shards_.empty() && shards_.front().safetensors && shards_.size() > 1;
  for (const std::string& name : files_.list(model_)) {
    const bool read = std::any_of(shards_.begin(), shards_.end(),
                                  [&](const Shard& shard) { return shard.source.filename() == name; });
    const bool rewritten = name == "pytorch_model.bin.index.json" && !indexed && shards_.size() > 1;
    if (read || rewritten || name == replaced) continue;
    const bool is_index = indexed && name == "model.safetensors.index.json";
    if (files_.is_directory(model_ / name) || (is_weight_file(name) && !is_index)) {
      left_out_.push_back(name);
      continue;
    }
    const std::unique_ptr<io::ReadableFile> original = files_.open(model_ / name);
    io::WritableFile& file = create(name);
    std::vector<std::byte> piece;
    for (std::uint64_t offset = 0; offset < original->size(); offset += piece.size()) {
      piece.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kPieceBytes, original->size() - offset)));
      original->read_at(offset, piece);
      file.append(piece);
    }
  }
}

void CheckpointCopy::overwrite(std::string_view name, std::span<const std::byte> bytes) {
  const auto place = places_.find(name);
  assert(place != places_.end() && place->second.bytes == bytes.size());
  place->second.file->write_at(place->second.offset, bytes);
}

std::vector<std::string> CheckpointCopy::written() const {
  std::vector<std::string> names;
  for (const auto& file : open_files_) names.push_back(file->path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

void CheckpointCopy::add_file(const std::string& name, std::string_view text) { create(name).append(text); }

void CheckpointCopy::commit() {
  for (const auto& file : open_files_) file->close();
  open_files_.clear();
  places_.clear();
  directory_.commit();
}

}  // namespace flame::sparsity
