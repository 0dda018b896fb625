#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "flame/io/atomic_output.h"
#include "flame/io/checkpoint.h"
#include "flame/io/safetensors_writer.h"
#include "flame/model/synth.h"

namespace flame::test {

/// A small model with 2 of 4 blocks sparse in each stack.
[[nodiscard]] inline model::SwitchConfig small_config() {
  model::SwitchConfig config;
  config.vocab_size = 97;
  config.d_model = 32;
  config.d_kv = 8;
  config.d_ff = 48;
  config.num_heads = 4;
  config.num_layers = 4;
  config.num_decoder_layers = 4;
  config.num_sparse_encoder_layers = config.num_sparse_decoder_layers = 2;
  config.encoder_sparse_step = config.decoder_sparse_step = 2;
  config.num_experts = 8;
  config.decoder_start_token_id = 0;
  return config;
}

struct StoredTensor {
  std::string name;
  DataType type = DataType::kF32;
  std::vector<std::uint64_t> shape;
  std::vector<std::byte> bytes;
};

/// A copy of the checkpoint `from` whose tensors have gone through `edit` (which may also drop or add some).
inline std::shared_ptr<const io::Checkpoint> edited(const std::filesystem::path& from, const std::filesystem::path& to,
                                                    const std::function<void(std::vector<StoredTensor>&)>& edit) {
  const io::Checkpoint source = io::Checkpoint::open(from);
  std::vector<StoredTensor> tensors;
  for (const std::string& name : source.names()) {
    const io::TensorView& tensor = source.tensor(name);
    tensors.push_back({name, tensor.type, tensor.shape, {tensor.bytes.begin(), tensor.bytes.end()}});
  }
  edit(tensors);
  io::AtomicFile output(to);
  io::SafetensorsWriter writer(output.file());
  for (const StoredTensor& tensor : tensors) writer.declare(tensor.name, tensor.type, tensor.shape);
  writer.begin();
  for (const StoredTensor& tensor : tensors) writer.append(tensor.name, tensor.bytes);
  writer.finish();
  output.commit();
  return std::make_shared<const io::Checkpoint>(io::Checkpoint::open(to));
}

}  // namespace flame::test
