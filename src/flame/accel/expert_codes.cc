#include "flame/accel/expert_codes.h"

#include <fmt/format.h>
#include <xxhash.h>

#include "flame/base/error.h"
#include "flame/io/file.h"

namespace flame::accel {

namespace {

/// Codes of a packed matrix, row-major, and its row scales.
void unpack(const kernels::PackedMatrixView& matrix, std::vector<std::int8_t>& codes, std::vector<float>& scales) {
  const kernels::PackedLayout& layout = matrix.layout;
  codes.assign(layout.rows() * layout.columns(), 0);
  scales.resize(layout.rows());
  for (std::size_t row = 0; row < layout.rows(); ++row) {
    scales[row] = kernels::packed_scale(matrix, row, 0);
    for (std::size_t k = 0; k < layout.kept(); ++k) {
      const kernels::PackedEntry entry = kernels::packed_entry(matrix, row, k);
      if (entry.column < layout.columns()) {
        codes[row * layout.columns() + entry.column] = static_cast<std::int8_t>(entry.integer);
      }
    }
  }
}

}  // namespace

kernels::Int8ExpertView ExpertCodes::view() const {
  return {d_model, d_ff, wi, wo, input.multiplier, input.unit, wo_scales};
}

ExpertCodes unpack_codes(const kernels::PackedExpertLayout& layout, std::span<const std::byte> bytes) {
  if (layout.format.type != kernels::PackedType::kInt8) {
    throw UsageError(
        fmt::format("the accelerator computes int8 experts, this bundle's are {}; pack it with --dtype int8",
                    layout.format.describe()));
  }
  if (layout.gated || layout.activation != kernels::Activation::kRelu) {
    throw UsageError(
        "the accelerator computes experts of two matrices with ReLU between them, not gated ones or other activations");
  }
  ExpertCodes codes;
  codes.d_model = layout.d_model;
  codes.d_ff = layout.d_ff;
  std::vector<float> wi_scales;
  unpack({layout.wi(), bytes.first(layout.wi().size_bytes())}, codes.wi, wi_scales);
  unpack({layout.wo(), bytes.subspan(layout.wo_offset(), layout.wo().size_bytes())}, codes.wo, codes.wo_scales);
  codes.input = kernels::input_row_scaling(wi_scales);
  return codes;
}

ExpertCodes read_codes(const experts::Bundle& bundle, experts::ExpertIndex expert) {
  const experts::StoredExpert& stored = bundle.expert(expert);
  std::vector<std::byte> bytes(stored.stored_bytes);
  const auto file = io::FileSystem::real().open(bundle.experts_file());
  file->read_at(stored.offset, bytes);
  if (XXH3_64bits(bytes.data(), bytes.size()) != stored.checksum) {
    throw FormatError(
        bundle.experts_file(),
        fmt::format("expert {} at offset {} does not have its checksum; the bundle is damaged", expert, stored.offset));
  }
  const experts::LayerIndex layer = bundle.grid().layer_of(expert);
  return unpack_codes(bundle.layout(layer), std::span<const std::byte>(bytes).first(bundle.layout(layer).size_bytes()));
}

}  // namespace flame::accel
