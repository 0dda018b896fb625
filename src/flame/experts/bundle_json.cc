#include "flame/experts/bundle_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "flame/base/checksum.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/experts/bundle.h"
#include "flame/model/tensor_names.h"

namespace flame::experts {
namespace {

constexpr const char* kFormatName = "flame bundle";

std::uint64_t read_checksum(const JsonView& view) {
  std::uint64_t checksum = 0;
  if (!parse_checksum(view.as_string(), checksum)) view.fail("expected 16 lower-case hexadecimal digits");
  return checksum;
}

kernels::PackedFormat read_format(const JsonView& view, kernels::PackedType type, std::uint8_t int4_group) {
  kernels::PackedFormat format;
  format.n = static_cast<std::uint8_t>(view.at("n").as_integer(1, 16));
  format.m = static_cast<std::uint8_t>(view.at("m").as_integer(format.n, 16));
  format.type = type;
  format.int4_group = int4_group;
  return format;
}

}  // namespace

std::string manifest_text(const BundleManifest& manifest, const ExpertGrid& grid) {
  Json layers = Json::array();
  Json experts = Json::array();
  for (LayerIndex layer = 0; layer < grid.layers(); ++layer) {
    layers.push_back({{"stack", model::name_of(grid.layer(layer).stack)},
                      {"layer", grid.layer(layer).index},
                      {"n", manifest.formats[layer].n},
                      {"m", manifest.formats[layer].m}});
  }
  for (ExpertIndex expert = 0; expert < grid.size(); ++expert) {
    experts.push_back({{"name", manifest.names[expert]}, {"xxh3", checksum_text(manifest.checksums[expert])}});
  }
  Json files = Json::object();
  for (const auto& [name, file] : manifest.files) {
    files[name] = {{"bytes", file.bytes}, {"xxh3", checksum_text(file.checksum)}};
  }
  const kernels::PackedFormat format = manifest.formats.empty() ? kernels::PackedFormat{} : manifest.formats.front();
  Json packing = {{"pattern", manifest.pattern},
                  {"dtype", kernels::name_of(format.type)},
                  {"gated", manifest.gated},
                  {"activation", kernels::name_of(manifest.activation)},
                  {"block_rows", kernels::kPackedBlockRows},
                  {"chunk", kernels::kPackedChunk},
                  {"layers", layers}};
  if (format.type == kernels::PackedType::kInt4) packing["int4_group"] = format.int4_group;
  const Json document = {{"format", kFormatName},
                         {"version", kBundleVersion},
                         {"model_xxh3", manifest.model_checksum},
                         {"packing", packing},
                         {"block_bytes", kBundleBlockBytes},
                         {"block_table_xxh3", checksum_text(manifest.block_table_checksum)},
                         {"experts", experts},
                         {"files", files}};
  return document.dump(1) + "\n";
}

routing::TraceInfo packed_model(const model::SwitchConfig& config, const ExpertGrid& grid,
                                const std::string& checksum) {
  routing::TraceInfo model;
  model.checksum = checksum;
  model.experts = grid.experts;
  model.encoder_layers = grid.encoder_layers;
  model.decoder_layers = grid.decoder_layers;
  model.d_model = config.d_model;
  model.vocabulary = config.vocab_size;
  return model;
}

BundleManifest parse_manifest(const std::string& text, const std::filesystem::path& source, const ExpertGrid& grid) {
  const Json document = parse_json(text, source);
  const JsonView root(document, source);
  if (root.at("format").as_string() != kFormatName) root.at("format").fail(fmt::format("expected \"{}\"", kFormatName));
  const std::int64_t version = root.at("version").as_integer(1);
  if (version != kBundleVersion) {
    root.at("version").fail(fmt::format("this program reads version {} only: pack the model again", kBundleVersion));
  }
  if (root.at("block_bytes").as_unsigned() != kBundleBlockBytes) {
    root.at("block_bytes").fail(fmt::format("expected {}", kBundleBlockBytes));
  }

  BundleManifest manifest;
  manifest.model_checksum = root.at("model_xxh3").as_string();
  manifest.block_table_checksum = read_checksum(root.at("block_table_xxh3"));

  const JsonView packing = root.at("packing");
  manifest.pattern = packing.at("pattern").as_string();
  manifest.gated = packing.at("gated").as_bool();
  if (!kernels::parse_activation(packing.at("activation").as_string(), manifest.activation)) {
    packing.at("activation").fail("unknown activation function");
  }
  if (packing.at("block_rows").as_unsigned() != kernels::kPackedBlockRows ||
      packing.at("chunk").as_unsigned() != kernels::kPackedChunk) {
    packing.fail("the packed layout is another than this program's: pack the model again");
  }
  kernels::PackedType type{};
  if (!kernels::parse_packed_type(packing.at("dtype").as_string(), type)) packing.at("dtype").fail("unknown type");
  std::uint8_t int4_group = 64;
  if (type == kernels::PackedType::kInt4) {
    int4_group = static_cast<std::uint8_t>(packing.at("int4_group").as_integer(32, 64));
    if (int4_group != 32 && int4_group != 64) packing.at("int4_group").fail("expected 32 or 64");
  }
  const JsonView layers = packing.at("layers");
  if (layers.size() != grid.layers()) {
    layers.fail(fmt::format("expected the {} MoE layers of config.json, found {}", grid.layers(), layers.size()));
  }
  for (LayerIndex layer = 0; layer < grid.layers(); ++layer) {
    const JsonView view = layers.element(layer);
    const model::MoeLayer expected = grid.layer(layer);
    if (view.at("stack").as_string() != model::name_of(expected.stack) ||
        view.at("layer").as_unsigned() != expected.index) {
      view.fail("layers stand in the model's order, the encoder's first");
    }
    manifest.formats.push_back(read_format(view, type, int4_group));
  }

  const JsonView experts = root.at("experts");
  if (experts.size() != grid.size()) {
    experts.fail(fmt::format("expected the {} experts of config.json, found {}", grid.size(), experts.size()));
  }
  for (ExpertIndex expert = 0; expert < grid.size(); ++expert) {
    manifest.names.push_back(experts.element(expert).at("name").as_string());
    manifest.checksums.push_back(read_checksum(experts.element(expert).at("xxh3")));
  }

  const JsonView files = root.at("files");
  for (const std::string& name : files.keys()) {
    if (name.empty() || name.find('/') != std::string::npos || name == "." || name == ".." || name == kManifestFile) {
      files.fail(fmt::format("\"{}\" cannot be a file of a bundle", name));
    }
    const JsonView file = files.at(name);
    manifest.files[name] = {file.at("bytes").as_unsigned(), read_checksum(file.at("xxh3"))};
  }
  for (const char* name : {kConfigFile, kDenseFile, kExpertsFile}) {
    if (!manifest.files.contains(name)) files.fail(fmt::format("{} is missing", name));
  }
  return manifest;
}

ExpertGrid grid_of(const model::SwitchConfig& config) {
  return {config.moe_layers(model::Stack::kEncoder), config.moe_layers(model::Stack::kDecoder), config.num_experts};
}

std::string stored_name(const model::SwitchConfig& config, const ExpertGrid& grid, ExpertIndex expert) {
  const std::string matrix =
      model::expert_tensor_name(config, grid.layer(grid.layer_of(expert)), grid.number_of(expert), "wo");
  return matrix.substr(0, matrix.rfind(".wo"));
}

}  // namespace flame::experts
