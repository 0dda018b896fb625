#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "flame/base/matrix_view.h"
#include "flame/kernels/packed_linear.h"
#include "flame/kernels/packed_matrix.h"
#include "flame/kernels/vector_ops.h"
#include "flame/kernels/weight_matrix.h"

namespace flame::kernels {

using ExpertMatrix = std::variant<WeightMatrix, PackedMatrixView>;

/// One expert, a feed-forward network: wo · activation(wi · x), or with a gate wo · (activation(wi · x) * (gate · x)).
/// The bytes belong to somebody else.
struct ExpertParts {
  ExpertMatrix wi;                   ///< [d_ff, d_model]; of a gated expert the activated one (wi_0)
  std::optional<ExpertMatrix> gate;  ///< [d_ff, d_model]; the one multiplied on (wi_1)
  ExpertMatrix wo;                   ///< [d_model, d_ff]
  Activation activation = Activation::kRelu;
};

/// An expert packed into one contiguous run of bytes: wi, then the gate if there is one, then wo.
struct PackedExpertLayout {
  PackedFormat format;
  std::size_t d_model = 0;
  std::size_t d_ff = 0;
  bool gated = false;
  Activation activation = Activation::kRelu;

  [[nodiscard]] PackedLayout wi() const { return {format, d_ff, d_model}; }
  [[nodiscard]] PackedLayout wo() const { return {format, d_model, d_ff}; }
  [[nodiscard]] std::size_t gate_offset() const { return wi().size_bytes(); }
  [[nodiscard]] std::size_t wo_offset() const { return (gated ? 2 : 1) * wi().size_bytes(); }
  [[nodiscard]] std::size_t size_bytes() const { return wo_offset() + wo().size_bytes(); }
};

/// Views into such a run. `bytes` has layout.size_bytes() elements.
[[nodiscard]] ExpertParts parts_of(const PackedExpertLayout& layout, std::span<const std::byte> bytes);

/// Computes one expert for some tokens, at once or as its rows arrive. How the work is cut into calls never changes a
/// bit of the result, nor do the other tokens for a packed expert or up to kMaxGemvTokens tokens.
///
/// A packed int8 expert with ReLU and without a gate uses the integer arithmetic of kernels/int8_expert.h, which the
/// accelerator shares. Other int8 and all int4 experts quantise each token's hidden vector as they quantise the token.
///
///   ExpertRun run;
///   run.begin(parts, tokens, probability, output);
///   while (!run.done()) run.advance(bytes_that_have_arrived());   // or run.finish() when all are there
///
/// Keeps its scratch memory (about tokens * (2 * d_ff + d_model) * 5 bytes) for the next begin(). Not thread-safe;
/// computes on the thread pool.
class ExpertRun {
 public:
  /// input [tokens, d_model], probability [tokens], output [tokens, d_model]: all must live until done().
  /// Throws ModelError when the parts' shapes do not fit one another or the views.
  void begin(const ExpertParts& parts, MatrixView<const float> input, std::span<const float> probability,
             MatrixView<float> output);

  /// The first `bytes` bytes of the run wi, gate, wo (for dense parts: as if they lay one after another) can be read:
  /// computes every row that is complete and has not been computed yet.
  void advance(std::size_t bytes);

  /// Everything can be read: computes what is left.
  void finish();

  /// All rows are computed: output[t] = probability[t] * expert(input[t]) is complete.
  [[nodiscard]] bool done() const { return wo_.rows_done == wo_.rows && hidden_ready_; }

 private:
  /// One matrix of the expert and how far it has got.
  struct Stage {
    ExpertMatrix matrix;
    std::size_t rows = 0;
    std::size_t rows_done = 0;
    std::size_t bytes = 0;
  };

  static Stage stage_of(const ExpertMatrix& matrix);
  /// Rows of `stage` that can be computed when its first `bytes` bytes are there.
  [[nodiscard]] std::size_t rows_ready(const Stage& stage, std::size_t bytes) const;
  /// Multiplies the rows up to `end` that have not been multiplied yet.
  void multiply(Stage& stage, std::size_t end, MatrixView<const float> floats, const PackedInput& packed,
                MatrixView<float> output, const PackedEpilogue& epilogue);
  [[nodiscard]] bool fused_relu() const;
  void multiply_wi(std::size_t end);
  void finish_hidden();
  void finish_integer_hidden(const PackedMatrixView& wi);
  void multiply_wo(std::size_t end);

  MatrixView<const float> input_;
  std::span<const float> probability_;
  MatrixView<float> output_;
  Activation activation_ = Activation::kRelu;
  Stage wi_;
  std::optional<Stage> gate_;
  Stage wo_;
  bool integer_hidden_ = false;  // by int8_expert.h
  bool hidden_ready_ = false;

  PackedInput packed_input_;
  PackedInput packed_hidden_;
  Matrix<float> hidden_;       // [tokens, d_ff]
  Matrix<float> gate_values_;  // [tokens, d_ff]
  Matrix<std::int32_t> sums_;  // [tokens, d_ff]
  Matrix<std::int8_t> codes_;  // [tokens, d_ff]
  std::vector<std::uint32_t> hidden_row_;
  std::vector<float> row_scales_;
  std::vector<std::uint16_t> multipliers_;
  std::vector<float> units_;  // [tokens]
};

/// The whole expert at once with everything readable.
void run_expert(const ExpertParts& parts, MatrixView<const float> input, std::span<const float> probability,
                MatrixView<float> output);

}  // namespace flame::kernels
