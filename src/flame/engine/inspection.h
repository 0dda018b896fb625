#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "flame/base/json.h"
#include "flame/kernels/packed_matrix.h"
#include "flame/model/config.h"
#include "flame/model/inspect.h"
#include "flame/sparsity/pattern.h"

namespace flame::engine {

/// One way to store an expert, what it takes, and how many fit.
struct ExpertFootprint {
  kernels::PackedFormat format;
  std::uint64_t expert_bytes = 0;       ///< one packed expert
  std::uint64_t all_experts_bytes = 0;  ///< every expert of the model
  std::optional<std::uint64_t> slots;   ///< how many fit the budget, at most all; nothing without a budget
};

/// What `flame inspect` tells of a model, from its config.json and, where it has weights, their names and sizes.
struct Inspection {
  std::filesystem::path path;
  model::SwitchConfig config;
  model::Gating gating = model::Gating::kPlain;
  model::ParameterCount parameters;
  std::uint64_t experts = 0;            ///< of the whole model
  std::uint64_t expert_parameters = 0;  ///< of one
  std::uint64_t checkpoint_bytes = 0;   ///< 0: a bare configuration
  std::optional<std::uint64_t> expert_memory;
  std::vector<ExpertFootprint> footprints;
};

/// Dense, and the N:M that papers and hardware use, from half to an eighth of the weights.
[[nodiscard]] std::vector<sparsity::Pattern> usual_patterns();

/// `model` is a checkpoint directory, a config.json, or the name of a preset of model/synth.h.
/// `expert_memory` is the budget in bytes that slots are counted for, `patterns` those that footprints are given for.
[[nodiscard]] Inspection inspect(const std::filesystem::path& model, std::optional<std::uint64_t> expert_memory,
                                 const std::vector<sparsity::Pattern>& patterns = usual_patterns());

[[nodiscard]] Json to_json(const Inspection& inspection);
/// For people: several lines.
[[nodiscard]] std::string to_text(const Inspection& inspection);

}  // namespace flame::engine
