#include "flame/experts/pack_bundle.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "flame/base/byte_size.h"
#include "flame/base/checksum.h"
#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/base/json.h"
#include "flame/base/progress.h"
#include "flame/experts/bundle.h"
#include "flame/experts/bundle_json.h"
#include "flame/io/async_reader.h"
#include "flame/io/atomic_output.h"
#include "flame/io/checkpoint.h"
#include "flame/io/safetensors_writer.h"
#include "flame/model/tensor_names.h"
#include "flame/model/weights.h"
#include "flame/sparsity/group_select.h"
#include "flame/sparsity/pack.h"
#include "flame/sparsity/stored_matrix.h"

namespace flame::experts {
namespace {

/// What a tokenizer and generation read beside the weights; copied as it is where it is there.
constexpr std::array<const char*, 6> kCompanions{"spiece.model",          "tokenizer.json",
                                                 "tokenizer_config.json", "special_tokens_map.json",
                                                 "added_tokens.json",     "generation_config.json"};

/// Passes appended bytes on and sums them up.
class SummedFile final : public io::WritableFile {
 public:
  explicit SummedFile(std::unique_ptr<io::WritableFile> file) : file_(std::move(file)) {}

  void append(std::span<const std::byte> bytes) override {
    checksum_.add(bytes);
    file_->append(bytes);
  }
  using io::WritableFile::append;
  void write_at(std::uint64_t, std::span<const std::byte>) override {
    throw std::logic_error("a file that is summed up is written front to back");
  }
  [[nodiscard]] std::uint64_t size() const override { return file_->size(); }
  void sync() override { file_->sync(); }
  void close() override { file_->close(); }
  [[nodiscard]] const std::filesystem::path& path() const override { return file_->path(); }

  [[nodiscard]] BundleFile summary() const { return {file_->size(), checksum_.value()}; }

 private:
  std::unique_ptr<io::WritableFile> file_;
  Checksum checksum_;
};

class Packer {
 public:
  Packer(const std::filesystem::path& checkpoint, const std::filesystem::path& output, const PackOptions& options,
         io::FileSystem& files)
      : source_(checkpoint),
        output_(output),
        options_(options),
        files_(files),
        config_(model::load_config(checkpoint)),
        grid_(grid_of(config_)),
        checkpoint_(std::make_shared<const io::Checkpoint>(io::Checkpoint::open(checkpoint, files))),
        directory_(output, options.existing, files) {
    if (grid_.size() == 0) throw ModelError(fmt::format("{}: the model has no MoE layer to pack", source_.string()));
    options.patterns.check(grid_.encoder_layers, grid_.decoder_layers);
    // Names every tensor that is missing or has a wrong shape before anything is written.
    const model::DenseWeights dense = model::load_dense_weights(checkpoint_, config_, {});
    manifest_.gated = dense.gating == model::Gating::kGated;
    manifest_.activation = dense.activation;
    manifest_.model_checksum = checksum_text(checkpoint_->content_checksum());
    manifest_.pattern = options.patterns.to_string().empty() ? "dense" : options.patterns.to_string();
    for (LayerIndex layer = 0; layer < grid_.layers(); ++layer) {
      const sparsity::Pattern pattern = options.patterns.of(grid_.layer(layer)).value_or(sparsity::Pattern{1, 1});
      kernels::PackedExpertLayout layout;
      layout.format = {pattern.n, pattern.m, options.type, options.int4_group};
      if (pattern.dense()) layout.format.n = layout.format.m = 1;
      kernels::check(layout.format);
      layout.d_model = config_.d_model;
      layout.d_ff = config_.d_ff;
      layout.gated = manifest_.gated;
      layout.activation = manifest_.activation;
      layouts_.push_back(layout);
      manifest_.formats.push_back(layout.format);
    }
  }

  PackReport run() {
    copy_companions();
    copy_profile();
    write_dense();
    write_experts();
    manifest_.files[kConfigFile] = copy(kConfigFile);
    for (const auto& [name, file] : manifest_.files) report_.bundle_bytes += file.bytes;
    const std::string text = manifest_text(manifest_, grid_);
    report_.bundle_bytes += text.size();
    auto file = create(kManifestFile);
    file->append(text);
    file->close();
    require_replaceable(output_, options_.existing, files_);  // packing took its time
    directory_.commit();
    return report_;
  }

 private:
  std::unique_ptr<io::WritableFile> create(const std::string& name) { return files_.create(directory_.path() / name); }

  BundleFile write(const std::string& name, std::string_view text) {
    SummedFile file(create(name));
    file.append(text);
    file.close();
    return file.summary();
  }
  BundleFile copy(const std::string& name) { return write(name, io::read_file(source_ / name, files_)); }

  void copy_companions() {
    for (const char* name : kCompanions) {
      if (files_.exists(source_ / name)) manifest_.files[name] = copy(name);
    }
  }

  void copy_profile() {
    if (!options_.profile) return;
    const std::string text = io::read_file(*options_.profile, files_);
    routing::Profile::parse(text, *options_.profile)
        .require_model(packed_model(config_, grid_, manifest_.model_checksum));
    manifest_.files[kProfileFile] = write(kProfileFile, text);
  }

  void write_dense() {
    std::set<std::string> expert_names;
    const model::Gating gating = manifest_.gated ? model::Gating::kGated : model::Gating::kPlain;
    for (const model::NamedShape& tensor : model::expert_tensors(config_, gating)) expert_names.insert(tensor.name);

    SummedFile file(create(kDenseFile));
    io::SafetensorsWriter writer(file, {{"format", "pt"}});
    std::vector<std::string> names;
    for (const std::string& name : checkpoint_->names()) {
      if (expert_names.contains(name) || is_alias(name)) continue;
      const io::TensorView& tensor = checkpoint_->tensor(name);
      writer.declare(name, tensor.type, tensor.shape);
      names.push_back(name);
    }
    writer.begin();
    for (const std::string& name : names) {
      throw_if_interrupted();
      writer.append(name, checkpoint_->tensor(name).bytes);
      report_.dense_bytes += checkpoint_->tensor(name).bytes.size();
      checkpoint_->release(name);
    }
    writer.finish();
    file.close();
    manifest_.files[kDenseFile] = file.summary();
  }

  /// PyTorch files store shared embeddings under each of their names: once is enough.
  [[nodiscard]] bool is_alias(const std::string& name) const {
    if (name != model::kEncoderEmbedding && name != model::kDecoderEmbedding && name != model::kHead) return false;
    const io::TensorView* shared = checkpoint_->find(model::kSharedEmbedding);
    return shared != nullptr && shared->bytes.data() == checkpoint_->tensor(name).bytes.data();
  }

  void write_experts() {
    SummedFile file(create(kExpertsFile));
    io::SafetensorsWriter writer(file, {{"format", "flame"}});
    std::uint64_t blocks = 0;
    for (ExpertIndex expert = 0; expert < grid_.size(); ++expert) {
      const std::uint64_t stored = padded_bytes(layout(expert).size_bytes());
      manifest_.names.push_back(stored_name(config_, grid_, expert));
      writer.declare(manifest_.names.back(), DataType::kU8, {stored}, io::kReadAlignment);
      blocks += (stored + kBundleBlockBytes - 1) / kBundleBlockBytes;
      report_.packed_bytes += stored;
      report_.expert_bytes = std::max(report_.expert_bytes, stored);
    }
    writer.declare(kBlockChecksums, DataType::kU64, {blocks}, 8);
    writer.begin();

    std::vector<std::uint64_t> block_checksums;
    Progress progress("packing", report_.packed_bytes, ProgressUnit::kBytes);
    std::vector<std::byte> bytes;
    for (ExpertIndex expert = 0; expert < grid_.size(); ++expert) {
      throw_if_interrupted();
      bytes.assign(static_cast<std::size_t>(padded_bytes(layout(expert).size_bytes())), std::byte{0});
      pack(expert, std::span(bytes).first(layout(expert).size_bytes()));
      for (std::size_t at = 0; at < bytes.size(); at += kBundleBlockBytes) {
        const std::size_t count = std::min<std::size_t>(kBundleBlockBytes, bytes.size() - at);
        block_checksums.push_back(checksum_of(std::span(bytes).subspan(at, count)));
      }
      manifest_.checksums.push_back(checksum_of(bytes));
      writer.append(manifest_.names[expert], bytes);
      progress.advance(bytes.size());
    }
    const auto table = std::as_bytes(std::span(block_checksums));
    manifest_.block_table_checksum = checksum_of(table);
    writer.append(kBlockChecksums, table);
    writer.finish();
    file.close();
    manifest_.files[kExpertsFile] = file.summary();
    report_.experts = grid_.size();
  }

  void pack(ExpertIndex expert, std::span<std::byte> packed) {
    bool pruned = false;
    const std::uint32_t number = grid_.number_of(expert);
    const model::MoeLayer layer = grid_.layer(grid_.layer_of(expert));
    const auto read = [&](std::string_view matrix) {
      const std::string name = model::expert_tensor_name(config_, layer, number, matrix);
      const io::TensorView& tensor = checkpoint_->tensor(name);
      const sparsity::StoredShape shape = sparsity::stored_shape(name, tensor);
      std::vector<std::byte> elements(tensor.bytes.begin(), tensor.bytes.end());
      report_.checkpoint_bytes += elements.size();
      const kernels::PackedFormat& format = layout(expert).format;
      if (shape.columns % format.m != 0) ++report_.padded_matrices;
      if (format.type == kernels::PackedType::kBF16 && shape.type != DataType::kBF16) report_.rounded = shape.type;
      if (!format.dense()) {
        sparsity::keep_largest({format.n, format.m}, shape.type, elements, shape.columns);
      }
      Matrix<float> weights = sparsity::widen(shape, elements);
      if (!format.dense() && !pruned) {
        // By value: a zero of either sign is a zero.
        const Matrix<float> before = sparsity::widen(shape, tensor.bytes);
        pruned = !std::equal(weights.data(), weights.data() + shape.rows * shape.columns, before.data());
      }
      checkpoint_->release(name);
      return weights;
    };
    const Matrix<float> wi = read(manifest_.gated ? "wi_0" : "wi");
    const Matrix<float> gate = manifest_.gated ? read("wi_1") : Matrix<float>();
    const Matrix<float> wo = read("wo");
    try {
      sparsity::pack_expert(layout(expert), wi, gate, wo, packed);
    } catch (const ModelError& error) {
      throw ModelError(fmt::format("{}: {}: {}", source_.string(), manifest_.names[expert], error.what()));
    }
    if (pruned) ++report_.pruned_experts;
  }

  [[nodiscard]] const kernels::PackedExpertLayout& layout(ExpertIndex expert) const {
    return layouts_[grid_.layer_of(expert)];
  }

  std::filesystem::path source_;
  std::filesystem::path output_;
  const PackOptions& options_;
  io::FileSystem& files_;
  model::SwitchConfig config_;
  ExpertGrid grid_;
  std::shared_ptr<const io::Checkpoint> checkpoint_;
  io::AtomicDirectory directory_;
  std::vector<kernels::PackedExpertLayout> layouts_;
  BundleManifest manifest_;
  PackReport report_;
};

/// The same file under another name; a copy on file systems that have no such links (FAT, some network shares).
void link_or_copy(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  std::filesystem::create_hard_link(from, to, error);
  if (!error) return;
  std::filesystem::copy_file(from, to, error);
  if (error) throw FileError(to, fmt::format("cannot copy {} there", from.string()), error.value());
}

}  // namespace

PackReport pack_bundle(const std::filesystem::path& checkpoint, const std::filesystem::path& output,
                       const PackOptions& options, io::FileSystem& files) {
  io::require_other_directory(checkpoint, output);
  require_replaceable(output, options.existing, files);
  return Packer(checkpoint, output, options, files).run();
}

void require_replaceable(const std::filesystem::path& output, io::Existing existing, io::FileSystem& files) {
  if (existing != io::Existing::kReplace || !io::is_occupied(output, files)) return;
  if (!Bundle::is_bundle(output, files)) {
    throw UsageError(
        fmt::format("{}: is no bundle: --replace deletes bundles only; name another directory", output.string()));
  }
  // No more of the format than is needed: a bundle that is damaged or of another version may be replaced too.
  const std::filesystem::path manifest_path = output / kManifestFile;
  std::set<std::string, std::less<>> ours{kManifestFile};
  try {
    if (files.is_regular(manifest_path)) {
      const Json manifest = parse_json(io::read_file(manifest_path, files), manifest_path);
      const auto named = manifest.find("files");
      if (named != manifest.end() && named->is_object()) {
        for (const auto& [name, file] : named->items()) ours.insert(name);
      }
    }
  } catch (const FormatError&) {  // it names nothing
  }
  io::require_only_files(output, ours, kManifestFile, files);
}

void add_profile(const std::filesystem::path& directory, const std::filesystem::path& profile) {
  const model::SwitchConfig config = model::load_config(directory);
  const ExpertGrid grid = grid_of(config);
  const std::filesystem::path path = directory / kManifestFile;
  BundleManifest manifest = parse_manifest(io::read_file(path), path, grid);
  const std::string text = io::read_file(profile);
  routing::Profile::parse(text, profile).require_model(packed_model(config, grid, manifest.model_checksum));
  require_replaceable(directory, io::Existing::kReplace);
  io::AtomicDirectory replaced(directory, io::Existing::kReplace);
  for (const auto& [name, file] : manifest.files) {
    if (name != kProfileFile) link_or_copy(directory / name, replaced.path() / name);
  }
  const auto write = [&](const std::string& name, const std::string& content) {
    const auto file = io::FileSystem::real().create(replaced.path() / name);
    file->append(content);
    file->close();
  };
  write(kProfileFile, text);
  manifest.files[kProfileFile] = {text.size(), checksum_of(std::as_bytes(std::span(text)))};
  write(kManifestFile, manifest_text(manifest, grid));
  replaced.commit();
}

}  // namespace flame::experts
