#include "flame/experts/bundle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "flame/base/byte_size.h"
#include "flame/base/checksum.h"
#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/base/progress.h"
#include "flame/experts/bundle_json.h"
#include "flame/io/async_reader.h"
#include "flame/io/safetensors_header.h"

namespace flame::experts {
namespace {

struct Manifest {
  model::SwitchConfig config;
  ExpertGrid grid;
  BundleManifest values;
};

Manifest read_manifest(const std::filesystem::path& directory, io::FileSystem& files) {
  Manifest manifest;
  const std::filesystem::path config = directory / kConfigFile;
  manifest.config = model::parse_config(io::read_file(config, files), config);
  manifest.grid = grid_of(manifest.config);
  const std::filesystem::path json = directory / kManifestFile;
  manifest.values = parse_manifest(io::read_file(json, files), json, manifest.grid);
  return manifest;
}

kernels::PackedExpertLayout layout_of(const Manifest& manifest, LayerIndex layer) {
  kernels::PackedExpertLayout layout;
  layout.format = manifest.values.formats[layer];
  layout.d_model = manifest.config.d_model;
  layout.d_ff = manifest.config.d_ff;
  layout.gated = manifest.values.gated;
  layout.activation = manifest.values.activation;
  return layout;
}

/// An expert's entry, checked against what its layout takes.
const io::SafetensorsEntry& expert_entry(const io::SafetensorsHeader& header, const std::string& name,
                                         std::uint64_t stored_bytes, const std::filesystem::path& path) {
  const io::SafetensorsEntry* entry = header.find(name);
  if (entry == nullptr) throw FormatError(path, fmt::format("expert \"{}\" is missing", name));
  if (entry->type != DataType::kU8 || entry->bytes != stored_bytes) {
    throw FormatError(path, fmt::format("expert \"{}\": expected U8 [{}], found {} [{} bytes]", name, stored_bytes,
                                        flame::name_of(entry->type), entry->bytes));
  }
  if (entry->offset % io::kReadAlignment != 0) {
    throw FormatError(path, fmt::format("expert \"{}\" begins at byte {}, which is no multiple of {}", name,
                                        entry->offset, io::kReadAlignment));
  }
  return *entry;
}

std::vector<std::uint64_t> read_block_checksums(const io::ReadableFile& file, const io::SafetensorsHeader& header,
                                                std::uint64_t count, std::uint64_t expected_checksum) {
  const io::SafetensorsEntry* entry = header.find(kBlockChecksums);
  if (entry == nullptr) throw FormatError(file.path(), fmt::format("tensor \"{}\" is missing", kBlockChecksums));
  if (entry->type != DataType::kU64 || entry->shape != std::vector<std::uint64_t>{count}) {
    throw FormatError(file.path(), fmt::format("tensor \"{}\": expected U64 [{}]", kBlockChecksums, count));
  }
  std::vector<std::uint64_t> checksums(static_cast<std::size_t>(count));
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(checksums));
  file.read_at(entry->offset, bytes);
  if (checksum_of(bytes) != expected_checksum) {
    throw FormatError(file.path(), fmt::format("tensor \"{}\" at byte {} is damaged: its checksum is not the one in {}",
                                               kBlockChecksums, entry->offset, kManifestFile));
  }
  return checksums;
}

/// Files up to this size are compared with their checksums whenever a bundle is opened: all but weights, which are read
/// as a whole by verify_bundle only.
constexpr std::uint64_t kComparedWhenOpened = std::uint64_t{4} << 20;

void require_packed_file(const std::filesystem::path& path, const BundleFile& expected, io::FileSystem& files) {
  const auto file = files.open(path);
  if (file->size() != expected.bytes) {
    throw FormatError(
        path, fmt::format("expected {} bytes, found {}: the file was cut or replaced", expected.bytes, file->size()));
  }
  // Experts' blocks are compared when they are loaded.
  if (expected.bytes > kComparedWhenOpened || path.filename() == kExpertsFile) return;
  std::vector<std::byte> bytes(static_cast<std::size_t>(expected.bytes));
  file->read_at(0, bytes);
  const std::uint64_t checksum = checksum_of(bytes);
  if (checksum != expected.checksum) {
    throw FormatError(path, fmt::format("its checksum is {}, expected {}: the file is damaged, or not what was packed",
                                        checksum_text(checksum), checksum_text(expected.checksum)));
  }
}

}  // namespace

bool Bundle::is_bundle(const std::filesystem::path& path, io::FileSystem& files) {
  return files.is_directory(path) && (files.exists(path / kManifestFile) || files.exists(path / kExpertsFile));
}

Bundle Bundle::open(const std::filesystem::path& directory, io::FileSystem& files) {
  const Manifest manifest = read_manifest(directory, files);
  Bundle bundle;
  bundle.path_ = directory;
  bundle.config_ = manifest.config;
  bundle.grid_ = manifest.grid;
  bundle.pattern_ = manifest.values.pattern;
  bundle.model_checksum_ = manifest.values.model_checksum;
  bundle.has_profile_ = manifest.values.files.contains(kProfileFile);

  std::uint64_t blocks = 0;
  for (LayerIndex layer = 0; layer < bundle.grid_.layers(); ++layer) {
    bundle.layouts_.push_back(layout_of(manifest, layer));
    const std::uint64_t stored = padded_bytes(bundle.layouts_.back().size_bytes());
    bundle.slot_bytes_ = std::max(bundle.slot_bytes_, stored);
    blocks += (stored + kBundleBlockBytes - 1) / kBundleBlockBytes * bundle.grid_.experts;
  }

  for (const auto& [name, expected] : manifest.values.files) require_packed_file(directory / name, expected, files);
  const auto file = files.open(bundle.experts_file());
  const io::SafetensorsHeader header = io::read_safetensors_header(*file);
  bundle.block_checksums_ = std::make_shared<std::vector<std::uint64_t>>(
      read_block_checksums(*file, header, blocks, manifest.values.block_table_checksum));
  std::size_t first_block = 0;
  for (ExpertIndex expert = 0; expert < bundle.grid_.size(); ++expert) {
    const std::string name = stored_name(bundle.config_, bundle.grid_, expert);
    if (manifest.values.names[expert] != name) {
      throw FormatError(directory / kManifestFile, fmt::format("expert {} should be \"{}\", not \"{}\"", expert, name,
                                                               manifest.values.names[expert]));
    }
    const std::uint64_t stored = padded_bytes(bundle.layouts_[bundle.grid_.layer_of(expert)].size_bytes());
    const io::SafetensorsEntry& entry = expert_entry(header, name, stored, file->path());
    const auto count = static_cast<std::size_t>((stored + kBundleBlockBytes - 1) / kBundleBlockBytes);
    bundle.experts_.push_back({entry.offset, stored, manifest.values.checksums[expert],
                               std::span<const std::uint64_t>(*bundle.block_checksums_).subspan(first_block, count)});
    bundle.packed_bytes_ += stored;
    first_block += count;
  }
  return bundle;
}

std::string Bundle::describe() const {
  if (layouts_.empty()) return "no experts";
  const auto same = [&](const kernels::PackedExpertLayout& layout) { return layout.format == layouts_.front().format; };
  if (std::all_of(layouts_.begin(), layouts_.end(), same)) return layouts_.front().format.describe();
  return fmt::format("{} {}", pattern_, kernels::name_of(layouts_.front().format.type));
}

routing::Profile Bundle::profile() const {
  if (!has_profile_) {
    throw UsageError(fmt::format("{} has no profile: pack it with --profile, or use --predictor none", path_.string()));
  }
  routing::Profile profile = routing::Profile::read(path_ / kProfileFile);
  profile.require_model(packed_model(config_, grid_, model_checksum_));
  return profile;
}

namespace {

/// Compares a whole file with its size and checksum.
std::uint64_t verify_file(const std::filesystem::path& path, const BundleFile& expected, io::FileSystem& files,
                          Progress& progress) {
  const auto file = files.open(path);
  if (file->size() != expected.bytes) {
    throw FormatError(path, fmt::format("expected {} bytes, found {}", expected.bytes, file->size()));
  }
  Checksum checksum;
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  for (std::uint64_t at = 0; at < expected.bytes; at += buffer.size()) {
    throw_if_interrupted();
    const std::span<std::byte> piece(buffer.data(), std::min<std::uint64_t>(buffer.size(), expected.bytes - at));
    file->read_at(at, piece);
    checksum.add(piece);
    progress.advance(piece.size());
  }
  if (checksum.value() != expected.checksum) {
    throw FormatError(path, fmt::format("its checksum is {}, expected {}: the file is damaged",
                                        checksum_text(checksum.value()), checksum_text(expected.checksum)));
  }
  return expected.bytes;
}

/// Names the first damaged block, which a checksum of the whole file cannot.
void verify_experts(const Bundle& bundle, const Manifest& manifest, io::FileSystem& files) {
  const auto file = files.open(bundle.experts_file());
  std::vector<std::byte> bytes(static_cast<std::size_t>(bundle.slot_bytes()));
  for (ExpertIndex expert = 0; expert < bundle.grid().size(); ++expert) {
    throw_if_interrupted();
    const StoredExpert& stored = bundle.expert(expert);
    const std::span<std::byte> whole(bytes.data(), static_cast<std::size_t>(stored.stored_bytes));
    file->read_at(stored.offset, whole);
    for (std::size_t block = 0; block < stored.block_checksums.size(); ++block) {
      const std::size_t begin = block * kBundleBlockBytes;
      const std::size_t count = std::min<std::size_t>(kBundleBlockBytes, whole.size() - begin);
      if (checksum_of(whole.subspan(begin, count)) != stored.block_checksums[block]) {
        throw FormatError(file->path(), fmt::format("expert \"{}\" is damaged in block {} of {}, at byte {}",
                                                    manifest.values.names[expert], block, stored.block_checksums.size(),
                                                    stored.offset + begin));
      }
    }
    if (checksum_of(whole) != stored.checksum) {
      throw FormatError(file->path(), fmt::format("expert \"{}\" at byte {}: its checksum is not the one in {}",
                                                  manifest.values.names[expert], stored.offset, kManifestFile));
    }
  }
}

}  // namespace

std::uint64_t verify_bundle(const std::filesystem::path& directory, io::FileSystem& files) {
  const Manifest manifest = read_manifest(directory, files);
  const Bundle bundle = Bundle::open(directory, files);
  std::uint64_t total = 0;
  for (const auto& [name, file] : manifest.values.files) total += file.bytes;
  for (const std::string& name : files.list(directory)) {
    if (name != kManifestFile && !manifest.values.files.contains(name)) {
      throw FormatError(directory / name, fmt::format("is not named in {}", kManifestFile));
    }
  }
  verify_experts(bundle, manifest, files);
  Progress progress("verifying", total, ProgressUnit::kBytes);
  std::uint64_t bytes = 0;
  for (const auto& [name, file] : manifest.values.files) {
    bytes += verify_file(directory / name, file, files, progress);
  }
  if (bundle.has_profile()) static_cast<void>(bundle.profile());
  return bytes;
}

std::string describe_experts(std::uint64_t experts, std::uint64_t largest, std::uint64_t all) {
  return fmt::format("{} experts of {}{} each", experts, all == experts * largest ? "" : "up to ",
                     format_byte_size(largest));
}

}  // namespace flame::experts
