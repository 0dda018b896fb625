#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "flame/base/data_type.h"
#include "flame/io/checkpoint.h"
#include "flame/kernels/linear.h"
#include "flame/kernels/target.h"
#include "flame/model/config.h"
#include "flame/model/router.h"
#include "flame/model/tensor_names.h"

namespace flame::model {

/// out = wo · act(wi · x), or with a gate: out = wo · (act(wi · x) * (gate · x)), element by element. In a checkpoint
/// the gated form has wi_0 (here wi) and wi_1 (here gate), as in T5 v1.1.
struct FeedForwardWeights {
  kernels::WeightMatrix wi;    ///< [d_ff, d_model]
  kernels::WeightMatrix gate;  ///< [d_ff, d_model], or without data: no gate
  kernels::WeightMatrix wo;    ///< [d_model, d_ff]
  [[nodiscard]] bool gated() const { return gate.data != nullptr; }
};

struct AttentionWeights {
  kernels::WeightMatrix q, k, v;  ///< [inner_dim, d_model]
  kernels::WeightMatrix o;        ///< [d_model, inner_dim]
};

/// One transformer block. `cross_*` in the decoder only; `feed_forward` in a dense block, `router` in a sparse one.
struct BlockWeights {
  std::vector<float> self_norm;  ///< [d_model]
  AttentionWeights self_attention;
  std::vector<float> cross_norm;
  AttentionWeights cross_attention;
  std::vector<float> feed_forward_norm;
  std::optional<FeedForwardWeights> feed_forward;
  std::optional<RouterWeights> router;
};

struct StackWeights {
  std::vector<BlockWeights> blocks;
  Matrix<float> relative_bias;    ///< [buckets, heads]: block 0's, used by all
  std::vector<float> final_norm;  ///< [d_model]
};

/// How weights are brought into memory.
struct WeightOptions {
  /// kF32, kBF16 or kF16; nullopt: each tensor as it is stored (F64 becomes F32). kBF16 is for speed throughout: the
  /// decoder's keys and values are kept in bf16 too, and many tokens are multiplied in bf16
  /// (WeightMatrix::bf16_inputs). With the others, bf16 weights as they are stored among them, everything but the
  /// weights is fp32.
  std::optional<DataType> type;
  /// Look at every weight for NaN and infinity; the message names the tensor. Costs one read of the file.
  bool check_finite = true;
  /// Weights are read past the caches when the decoder needs more than this for a token: WeightMatrix::streamed.
  std::size_t cache_bytes = kernels::last_level_cache_bytes();
  /// Streamed weights of the decoder and the head are copied to large pages, and their pages of the file given back: a
  /// token then waits less for address translations. They stay mapped where copies would take more than half of the
  /// available memory.
  bool large_pages = false;
};

/// Throws ModelError that names the tensor and the first of its elements that is NaN or infinite, if there is one. The
/// tensor's elements must be floats.
void require_finite(const io::Checkpoint& checkpoint, std::string_view name);

/// Everything of a model but its experts. Matrices that are stored in the wanted type are views of the file
/// (or copies: WeightOptions::large_pages); others, and all norms, routers and bias tables (fp32), are converted
/// copies. Movable; views stay valid.
struct DenseWeights {
  kernels::WeightMatrix encoder_embedding;  ///< [vocab, d_model]
  kernels::WeightMatrix decoder_embedding;  ///< the same bytes when they are shared
  kernels::WeightMatrix head;               ///< [vocab, d_model]; the embedding when tied
  StackWeights encoder;
  StackWeights decoder;
  Gating gating = Gating::kPlain;
  Activation activation = Activation::kRelu;  ///< of all feed-forward layers, experts included
  DataType key_value_type = DataType::kF32;   ///< in which the decoder keeps keys and values

  std::vector<std::string> warnings;  ///< tensors that are not the model's, stand-ins used for missing ones
  std::size_t bytes = 0;              ///< of all matrices and vectors, shared ones once
  std::string types;                  ///< the types in use, most bytes first: "bf16" or "f32 + bf16"

  std::shared_ptr<const io::Checkpoint> source;     ///< keeps the views valid
  std::vector<std::shared_ptr<const void>> copies;  ///< converted and copied matrices
};

/// Loads all but the experts. Throws ModelError that lists every tensor that is missing, or has a wrong shape or type;
/// it also checks that each expert's tensors are there and well-shaped (unless the checkpoint has none at all, as in a
/// bundle's model.safetensors), without reading them.
[[nodiscard]] DenseWeights load_dense_weights(std::shared_ptr<const io::Checkpoint> checkpoint,
                                              const SwitchConfig& config, const WeightOptions& options = {});

/// All experts of a model, in memory.
struct ExpertWeights {
  std::vector<std::vector<FeedForwardWeights>> encoder;  ///< [MoE layer][expert]
  std::vector<std::vector<FeedForwardWeights>> decoder;
  std::size_t bytes = 0;
  std::string types;

  std::shared_ptr<const io::Checkpoint> source;
  std::vector<std::shared_ptr<const void>> copies;

  [[nodiscard]] const std::vector<FeedForwardWeights>& layer(MoeLayer layer) const;
};

/// Loads every expert (the resident device's way; buffered devices read experts one by one).
[[nodiscard]] ExpertWeights load_expert_weights(std::shared_ptr<const io::Checkpoint> checkpoint,
                                                const SwitchConfig& config, const WeightOptions& options = {});

/// Which form of feed-forward the checkpoint holds; kPlain when it holds none. Throws ModelError if it holds both.
[[nodiscard]] Gating find_gating(const io::Checkpoint& checkpoint);

}  // namespace flame::model
