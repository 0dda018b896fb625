#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flame/base/data_type.h"
#include "flame/experts/buffer_options.h"
#include "flame/model/config.h"
#include "flame/model/generation.h"
#include "flame/model/generation_config.h"
#include "flame/model/moe_device.h"
#include "flame/model/weights.h"
#include "flame/text/tokenizer.h"

namespace flame::experts {
class Bundle;
}

namespace flame::engine {

/// Puts a device around the one the engine made: a trace recorder, forced routing, calibration.
using DeviceDecorator = std::function<std::unique_ptr<model::MoeDevice>(std::unique_ptr<model::MoeDevice> device)>;

/// Makes the device of the MoE layers in place of the resident one: an accelerator. Both arguments outlive the device.
using DeviceFactory = std::function<std::unique_ptr<model::MoeDevice>(const model::SwitchConfig& config,
                                                                      const model::DenseWeights& dense)>;

struct EngineOptions {
  /// Storage of the weights in memory; nullopt: as they are stored. See model::WeightOptions for what kBF16 does
  /// besides. Arithmetic accumulates in fp32 whatever this says.
  std::optional<DataType> type;
  /// Threads that compute; 0: every processor this process may use.
  std::size_t threads = 0;
  /// Look at every weight for NaN and infinity when loading.
  bool check_finite = true;
  /// How a bundle's experts are held in memory; a checkpoint's all are.
  experts::BufferOptions buffer = {};
  /// The model, where it is a bundle that the caller has opened already.
  std::shared_ptr<const experts::Bundle> bundle = nullptr;
  DeviceFactory make_device = nullptr;
  DeviceDecorator decorate = nullptr;
};

/// A model ready to generate: configuration, tokenizer, weights and the device of its MoE layers. One thread drives it.
class Engine {
 public:
  /// Opens a checkpoint directory with all its experts in memory, or a bundle with as many as options.buffer says.
  /// Throws FileError, FormatError, ModelError or UsageError, each naming what was wrong and where.
  [[nodiscard]] static Engine open(const std::filesystem::path& model, const EngineOptions& options = {});

  ~Engine();
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;

  [[nodiscard]] const std::filesystem::path& path() const;
  [[nodiscard]] const model::SwitchConfig& config() const;

  /// Null when the model has no tokenizer: prompts are then token ids.
  [[nodiscard]] const text::Tokenizer* tokenizer() const;
  /// Throws ModelError that says why there is none.
  [[nodiscard]] const text::Tokenizer& require_tokenizer() const;

  /// What the model's own files say about generation; see model::load_generation_defaults.
  [[nodiscard]] model::GenerationDefaults generation_defaults(const std::optional<std::string>& task) const;

  /// The longest input in tokens that the model was made for: model_max_length of tokenizer_config.json, 512 without.
  [[nodiscard]] std::size_t longest_input() const;

  [[nodiscard]] model::Generator& generator();
  [[nodiscard]] const model::DenseWeights& dense_weights() const;
  [[nodiscard]] model::MoeDevice& device();
  [[nodiscard]] const model::MoeDevice& device() const;

  /// Bytes of all weights held, experts in memory among them.
  [[nodiscard]] std::uint64_t weight_bytes() const;
  /// What is odd about the checkpoint, for the user: tensors that are not the model's, and the like.
  [[nodiscard]] const std::vector<std::string>& warnings() const;
  /// The line --stats begins with: device, weight types, threads, instruction set.
  [[nodiscard]] std::string describe() const;

 private:
  struct Parts;
  explicit Engine(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace flame::engine
