#include "flame/kernels/expert.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "flame/base/error.h"
#include "flame/kernels/int8_expert.h"
#include "flame/kernels/int8_vectors.h"
#include "flame/kernels/linear.h"

namespace flame::kernels {
namespace {

std::size_t rows_of(const ExpertMatrix& matrix) {
  if (const auto* packed = std::get_if<PackedMatrixView>(&matrix)) return packed->layout.rows();
  return std::get<WeightMatrix>(matrix).rows;
}

std::size_t columns_of(const ExpertMatrix& matrix) {
  if (const auto* packed = std::get_if<PackedMatrixView>(&matrix)) return packed->layout.columns();
  return std::get<WeightMatrix>(matrix).columns;
}

void check_shape(const char* name, const ExpertMatrix& matrix, std::size_t rows, std::size_t columns) {
  if (rows_of(matrix) == rows && columns_of(matrix) == columns) return;
  throw ModelError(fmt::format("an expert's {} is [{}, {}], expected [{}, {}]", name, rows_of(matrix),
                               columns_of(matrix), rows, columns));
}

bool same_storage(const ExpertMatrix& a, const ExpertMatrix& b) {
  const auto* packed_a = std::get_if<PackedMatrixView>(&a);
  const auto* packed_b = std::get_if<PackedMatrixView>(&b);
  if (packed_a == nullptr || packed_b == nullptr) return packed_a == packed_b;
  return packed_a->layout.format() == packed_b->layout.format();
}

bool is_packed(const ExpertMatrix& matrix) { return std::holds_alternative<PackedMatrixView>(matrix); }

bool is_packed_int8(const ExpertMatrix& matrix) {
  const auto* packed = std::get_if<PackedMatrixView>(&matrix);
  return packed != nullptr && packed->layout.format().type == PackedType::kInt8;
}

}  // namespace

ExpertParts parts_of(const PackedExpertLayout& layout, std::span<const std::byte> bytes) {
  assert(bytes.size() == layout.size_bytes());
  const PackedLayout inner = layout.wi();
  ExpertParts parts{PackedMatrixView{inner, bytes.first(inner.size_bytes())}, std::nullopt,
                    PackedMatrixView{layout.wo(), bytes.subspan(layout.wo_offset())}, layout.activation};
  if (layout.gated) parts.gate = PackedMatrixView{inner, bytes.subspan(layout.gate_offset(), inner.size_bytes())};
  return parts;
}

ExpertRun::Stage ExpertRun::stage_of(const ExpertMatrix& matrix) {
  Stage stage{matrix, rows_of(matrix), 0, 0};
  if (const auto* packed = std::get_if<PackedMatrixView>(&matrix)) {
    stage.bytes = packed->layout.size_bytes();
  } else {
    stage.bytes = std::get<WeightMatrix>(matrix).size_bytes();
  }
  return stage;
}

void ExpertRun::begin(const ExpertParts& parts, MatrixView<const float> input, std::span<const float> probability,
                      MatrixView<float> output) {
  const std::size_t d_model = input.columns();
  const std::size_t d_ff = rows_of(parts.wi);
  check_shape("wi", parts.wi, d_ff, d_model);
  if (parts.gate) {
    check_shape("gate", *parts.gate, d_ff, d_model);
    if (!same_storage(*parts.gate, parts.wi))
      throw ModelError("an expert's gate is not stored in the format of its wi");
  }
  check_shape("wo", parts.wo, d_model, d_ff);
  assert(probability.size() == input.rows());
  assert(output.rows() == input.rows() && output.columns() == d_model);

  input_ = input;
  probability_ = probability;
  output_ = output;
  activation_ = parts.activation;
  wi_ = stage_of(parts.wi);
  gate_.reset();
  if (parts.gate) gate_ = stage_of(*parts.gate);
  wo_ = stage_of(parts.wo);
  hidden_ready_ = false;
  integer_hidden_ =
      !gate_ && activation_ == Activation::kRelu && is_packed_int8(wi_.matrix) && is_packed_int8(wo_.matrix);

  if (const auto* packed = std::get_if<PackedMatrixView>(&wi_.matrix)) packed_input_.assign(packed->layout, input);
  if (integer_hidden_) {
    sums_.resize(input.rows(), d_ff);
    codes_.resize(input.rows(), d_ff);
  } else {
    hidden_.resize(input.rows(), d_ff);
    if (gate_) gate_values_.resize(input.rows(), d_ff);
  }
}

std::size_t ExpertRun::rows_ready(const Stage& stage, std::size_t bytes) const {
  if (bytes >= stage.bytes) return stage.rows;
  if (const auto* packed = std::get_if<PackedMatrixView>(&stage.matrix)) return packed->layout.rows_in_prefix(bytes);
  // oneDNN's sums may depend on the rows it is given: many tokens wait for the whole matrix.
  if (input_.rows() > kMaxGemvTokens) return 0;
  const std::size_t rows = bytes / std::get<WeightMatrix>(stage.matrix).row_bytes();
  return rows / kPackedBlockRows * kPackedBlockRows;
}

// `epilogue` is for packed matrices; callers do the same to a dense one's results.
void ExpertRun::multiply(Stage& stage, std::size_t end, MatrixView<const float> floats, const PackedInput& packed,
                         MatrixView<float> output, const PackedEpilogue& epilogue) {
  const std::size_t first = stage.rows_done;
  if (end <= first) return;
  if (const auto* matrix = std::get_if<PackedMatrixView>(&stage.matrix)) {
    packed_linear(*matrix, packed, first, end - first, output, epilogue);
  } else {
    const WeightMatrix rows = std::get<WeightMatrix>(stage.matrix).rows_from(first, end - first);
    linear(rows, floats, output.columns_from(first, end - first));
  }
  stage.rows_done = end;
}

bool ExpertRun::fused_relu() const { return activation_ == Activation::kRelu && is_packed(wi_.matrix); }

void ExpertRun::multiply_wi(std::size_t end) {
  if (!integer_hidden_) {
    PackedEpilogue activated;
    activated.relu = fused_relu();
    return multiply(wi_, end, input_, packed_input_, hidden_, activated);
  }
  if (end <= wi_.rows_done) return;
  packed_linear_sums(std::get<PackedMatrixView>(wi_.matrix), packed_input_, wi_.rows_done, end - wi_.rows_done, sums_);
  wi_.rows_done = end;
}

void ExpertRun::finish_integer_hidden(const PackedMatrixView& wi) {
  const std::size_t d_ff = wi_.rows;
  const std::size_t tokens = input_.rows();
  row_scales_.resize(d_ff);
  multipliers_.resize(d_ff);
  hidden_row_.resize(d_ff);
  units_.resize(tokens);
  for (std::size_t block = 0; block < wi.layout.blocks(); ++block) {
    std::memcpy(row_scales_.data() + block * kPackedBlockRows, wi.bytes.data() + wi.layout.block_offset(block),
                wi.layout.block_rows(block) * sizeof(float));
  }
  const float input_unit = row_multipliers(row_scales_, multipliers_);
  for (std::size_t t = 0; t < tokens; ++t) {
    const std::uint32_t maximum = hidden_values(sums_.row(t), multipliers_, hidden_row_);
    requantise_all(hidden_row_, hidden_scale(maximum), codes_.row(t));
    units_[t] = output_unit(packed_input_.scale(t), input_unit, maximum);
  }
  packed_hidden_.assign(std::get<PackedMatrixView>(wo_.matrix).layout, codes_, units_);
}

void ExpertRun::finish_hidden() {
  hidden_ready_ = true;
  if (integer_hidden_) return finish_integer_hidden(std::get<PackedMatrixView>(wi_.matrix));
  for (std::size_t t = 0; t < input_.rows(); ++t) {
    if (!fused_relu()) activate(activation_, hidden_.row(t));
    if (gate_ && !fused_relu()) kernels::multiply(gate_values_.row(t), hidden_.row(t));
  }
  // The gate's kernel has multiplied the activated values in already.
  if (gate_ && fused_relu()) std::swap(hidden_, gate_values_);
  if (const auto* packed = std::get_if<PackedMatrixView>(&wo_.matrix)) packed_hidden_.assign(packed->layout, hidden_);
}

void ExpertRun::multiply_wo(std::size_t end) {
  const std::size_t first = wo_.rows_done;
  if (end <= first) return;
  PackedEpilogue times_probability;
  times_probability.token_factors = probability_;
  multiply(wo_, end, hidden_, packed_hidden_, output_, times_probability);
  if (is_packed(wo_.matrix)) return;
  for (std::size_t t = 0; t < input_.rows(); ++t) scale(probability_[t], output_.row(t).subspan(first, end - first));
}

void ExpertRun::advance(std::size_t bytes) {
  multiply_wi(rows_ready(wi_, bytes));
  if (wi_.rows_done < wi_.rows) return;
  bytes -= std::min(bytes, wi_.bytes);
  if (gate_) {
    PackedEpilogue times_activated;
    if (fused_relu()) times_activated.multipliers = hidden_;
    multiply(*gate_, rows_ready(*gate_, bytes), input_, packed_input_, gate_values_, times_activated);
    if (gate_->rows_done < gate_->rows) return;
    bytes -= std::min(bytes, gate_->bytes);
  }
  if (!hidden_ready_) finish_hidden();
  multiply_wo(rows_ready(wo_, bytes));
}

void ExpertRun::finish() { advance(wi_.bytes + (gate_ ? gate_->bytes : 0) + wo_.bytes); }

void run_expert(const ExpertParts& parts, MatrixView<const float> input, std::span<const float> probability,
                MatrixView<float> output) {
  ExpertRun run;
  run.begin(parts, input, probability, output);
  run.finish();
}

}  // namespace flame::kernels
