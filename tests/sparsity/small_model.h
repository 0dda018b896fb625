#pragma once

#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "flame/base/random.h"
#include "flame/io/file.h"
#include "flame/io/safetensors_writer.h"
#include "flame/model/config.h"
#include "flame/model/tensor_names.h"

namespace flame::test {

/// A model small enough to be run in a test: 2 + 4 blocks, 1 + 2 MoE layers of 4 experts, d_model 16, d_ff 48.
inline model::SwitchConfig small_config() {
  model::SwitchConfig config;
  config.vocab_size = 40;
  config.d_model = 16;
  config.d_kv = 8;
  config.d_ff = 48;
  config.num_heads = 2;
  config.num_layers = 2;
  config.num_decoder_layers = 4;
  config.num_sparse_encoder_layers = 1;
  config.num_sparse_decoder_layers = 2;
  config.encoder_sparse_step = 2;
  config.decoder_sparse_step = 2;
  config.num_experts = 4;
  config.decoder_start_token_id = 0;
  return config;
}

/// Writes it as a checkpoint with random weights of `type` (kF32 or kBF16), tensors in an order of their own and with
/// metadata, plus other files of a model directory. In `shards` files when more than one.
inline void write_small_model(const std::filesystem::path& directory, DataType type = DataType::kF32,
                              std::size_t shards = 1, io::FileSystem& files = io::FileSystem::real()) {
  const model::SwitchConfig config = small_config();
  files.create_directories(directory);
  files.create_directories(directory / "sub");
  const auto write = [&](const std::string& name, std::string_view text) {
    files.create(directory / name)->append(text);
  };
  write("config.json", model::to_json(config, type));
  write("generation_config.json", "{\"eos_token_id\": 1}");
  write("spiece.model", std::string("not\0text", 8));
  write("tf_model.h5", "weights in another format");

  std::vector<model::NamedShape> tensors = model::expert_tensors(config, model::Gating::kPlain);
  for (const model::NamedShape& tensor : model::dense_tensors(config, model::Gating::kPlain)) tensors.push_back(tensor);
  tensors.push_back({std::string(model::kSharedEmbedding), {config.vocab_size, config.d_model}});
  std::string weight_map;
  for (std::size_t shard = 0; shard < shards; ++shard) {
    const std::string name =
        shards == 1 ? "model.safetensors"
                    : "model-0000" + std::to_string(shard + 1) + "-of-0000" + std::to_string(shards) + ".safetensors";
    const std::unique_ptr<io::WritableFile> file = files.create(directory / name);
    io::SafetensorsWriter writer(*file, {{"format", "pt"}, {"made by", "a test"}});
    std::vector<const model::NamedShape*> own;
    for (std::size_t i = shard; i < tensors.size(); i += shards) own.push_back(&tensors[i]);
    for (const model::NamedShape* tensor : own) {
      writer.declare(tensor->name, type, tensor->shape);
      weight_map += (weight_map.empty() ? "\"" : ",\"") + tensor->name + "\":\"" + name + "\"";
    }
    writer.begin();
    for (const model::NamedShape* tensor : own) {
      std::uint64_t elements = 1;
      for (const std::uint64_t extent : tensor->shape) elements *= extent;
      Random random(7, std::hash<std::string>()(tensor->name));
      const double scale = tensor->shape.size() == 1 ? 1.0 : 1.0 / std::sqrt(static_cast<double>(tensor->shape[1]));
      std::string bytes;
      for (std::uint64_t i = 0; i < elements; ++i) {
        const auto value = static_cast<float>(tensor->shape.size() == 1 ? 1.0 : scale * random.next_normal());
        if (type == DataType::kF32) {
          bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
        } else {
          const BFloat16 half = BFloat16::from_float(value);
          bytes.append(reinterpret_cast<const char*>(&half.bits), sizeof(half.bits));
        }
      }
      writer.append(tensor->name, std::as_bytes(std::span(bytes)));
    }
    writer.finish();
  }
  if (shards > 1) write("model.safetensors.index.json", "{\"metadata\":{},\"weight_map\":{" + weight_map + "}}");
}

}  // namespace flame::test
