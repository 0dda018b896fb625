#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "flame/base/matrix_view.h"
#include "flame/kernels/linear.h"
#include "flame/kernels/packed_linear.h"
#include "flame/kernels/packed_matrix.h"
#include "flame/kernels/vector_ops.h"

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
/// bit of the result, nor do the other tokens for up to kMaxGemvTokens tokens or a packed expert.
///
/// Packed int8 experts use the integer arithmetic of kernels/int8_expert.h, which the accelerator shares.
///
///   ExpertRun run;
///   run.begin(parts, tokens, probability, output);
///   while (!run.done()) run.advance(bytes_that_have_arrived());   // or run.finish() when all are there
///
/// Keeps its scratch memory (tokens * (d_ff + 2 * d_model) floats) for the next begin(). Not thread-safe; uses the
/// pool.
class ExpertRun {
 public:
  /// input [tokens, d_model], probability [tokens], output [tokens, d_model]. All views must live until done().
  /// Throws ModelError when the parts' shapes do not fit one another.
  void begin(const ExpertParts& parts, MatrixView<const float> input, std::span<const float> probability,
             MatrixView<float> output);

  /// The first `bytes` bytes of the run wi, gate, wo (for dense parts: as if they lay one after another) can be read:
  /// computes every row that is complete and has not been computed yet.
  void advance(std::size_t bytes);

  /// Everything can be read: computes what is left.
  void finish();

  /// All rows computed: output[t] = probability[t] * expert(input[t]) is complete.
  [[nodiscard]] bool done() const;

 private:
  void compute_hidden_rows(const ExpertMatrix& matrix, std::size_t& computed, std::size_t end, bool is_gate);
  void finish_hidden();
  void compute_output_rows(std::size_t end);

  const ExpertParts* parts_ = nullptr;
  MatrixView<const float> input_;
  std::span<const float> probability_;
  MatrixView<float> output_;
  std::size_t wi_rows_ = 0;
  std::size_t gate_rows_ = 0;
  std::size_t wo_rows_ = 0;
  bool hidden_ready_ = false;
  PackedInput packed_input_;
  PackedInput packed_hidden_;
  Matrix<float> hidden_;
  Matrix<float> gate_;
  Matrix<std::int32_t> sums_;
  Matrix<std::int8_t> integer_hidden_;
  std::vector<float> hidden_scales_;
};

/// The whole expert at once with everything readable.
void run_expert(const ExpertParts& parts, MatrixView<const float> input, std::span<const float> probability,
                MatrixView<float> output);

}  // namespace flame::kernels
