#include "flame/kernels/expert.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "flame/base/error.h"
#include "flame/kernels/int8_expert.h"
#include "flame/kernels/linear.h"
#include "kernel_test.h"
#include "packed_test.h"

namespace flame::kernels {
namespace {

constexpr std::size_t kModel = 96;
constexpr std::size_t kInner = 200;

const std::vector<PackedFormat> kFormats = {{2, 4, PackedType::kF32, 64},  {1, 1, PackedType::kBF16, 64},
                                            {2, 4, PackedType::kInt8, 64}, {3, 5, PackedType::kInt8, 64},
                                            {2, 4, PackedType::kInt4, 32}, {1, 4, PackedType::kBF16, 64}};

/// A whole packed expert in one run of bytes.
class RandomExpert {
 public:
  RandomExpert(const PackedFormat& format, bool gated, Activation activation)
      : layout{format, kModel, kInner, gated, activation}, bytes(layout.size_bytes()) {
    copy(RandomPacked(format, kInner, kModel, 1), 0);
    if (gated) copy(RandomPacked(format, kInner, kModel, 2), layout.gate_offset());
    copy(RandomPacked(format, kModel, kInner, 3), layout.wo_offset());
  }

  PackedExpertLayout layout;
  std::vector<std::byte> bytes;

 private:
  void copy(const RandomPacked& matrix, std::size_t offset) {
    std::ranges::copy(matrix.view().bytes, bytes.begin() + static_cast<std::ptrdiff_t>(offset));
  }
};

Matrix<float> dense_of(const ExpertMatrix& matrix) {
  if (const auto* packed = std::get_if<PackedMatrixView>(&matrix)) {
    Matrix<float> dense(packed->layout.rows(), packed->layout.columns());
    unpack_rows(*packed, 0, dense.rows(), dense);
    return dense;
  }
  const auto& weight = std::get<WeightMatrix>(matrix);
  Matrix<float> dense(weight.rows, weight.columns);
  for (std::size_t r = 0; r < weight.rows; ++r) widen_row(weight, r, dense.row(r));
  return dense;
}

Matrix<float> multiply_reference(const ExpertMatrix& matrix, MatrixView<const float> input) {
  const Matrix<float> dense = dense_of(matrix);
  Matrix<float> output(input.rows(), dense.rows());
  linear_reference({DataType::kF32, reinterpret_cast<const std::byte*>(dense.data()), dense.rows(), dense.columns()},
                   input, output);
  return output;
}

/// By the definition, with the dequantised weights and tokens that are not quantised.
Matrix<float> reference(const ExpertParts& parts, MatrixView<const float> input, std::span<const float> probability) {
  Matrix<float> hidden = multiply_reference(parts.wi, input);
  for (std::size_t t = 0; t < input.rows(); ++t) activate(parts.activation, hidden.row(t));
  if (parts.gate) {
    const Matrix<float> gate = multiply_reference(*parts.gate, input);
    for (std::size_t t = 0; t < input.rows(); ++t) multiply(gate.row(t), hidden.row(t));
  }
  Matrix<float> output = multiply_reference(parts.wo, hidden);
  for (std::size_t t = 0; t < input.rows(); ++t) scale(probability[t], output.row(t));
  return output;
}

float largest_magnitude(const Matrix<float>& matrix) {
  return max_abs({matrix.data(), matrix.rows() * matrix.columns()});
}

Matrix<float> random_probability(std::size_t tokens) {
  Matrix<float> probability = random_matrix(1, tokens, 9);
  for (float& p : probability.row(0)) p = 0.5F + 0.5F * p;
  return probability;
}

class ExpertTest : public KernelTest {
 protected:
  static Matrix<float> run(const ExpertParts& parts, MatrixView<const float> input) {
    Matrix<float> output(input.rows(), kModel, std::numeric_limits<float>::quiet_NaN());
    run_expert(parts, input, random_probability(input.rows()).row(0), output);
    return output;
  }
};

TEST_P(ExpertTest, EqualsTheDefinition) {
  for (const PackedFormat& format : kFormats) {
    for (const bool gated : {false, true}) {
      for (const Activation activation : {Activation::kRelu, Activation::kGeluNew}) {
        const RandomExpert expert(format, gated, activation);
        const ExpertParts parts = parts_of(expert.layout, expert.bytes);
        for (const std::size_t tokens : {1UL, 3UL, 20UL}) {
          const Matrix<float> input = random_matrix(tokens, kModel, 5);
          const Matrix<float> expected = reference(parts, input, random_probability(tokens).row(0));
          // Tokens and hidden vectors of 7 bits and a sign are what separates integer formats from the definition.
          const bool integers = format.type == PackedType::kInt8 || format.type == PackedType::kInt4;
          const float tolerance = (integers ? 0.03F : 1e-5F) * largest_magnitude(expected);
          expect_near(run(parts, input), expected, tolerance, format.describe() + (gated ? " gated" : ""));
        }
      }
    }
  }
}

TEST_P(ExpertTest, DensePartsEqualTheDefinition) {
  for (const DataType type : {DataType::kF32, DataType::kBF16, DataType::kF16}) {
    const StoredMatrix wi(type, random_matrix(kInner, kModel, 1));
    const StoredMatrix wo(type, random_matrix(kModel, kInner, 2));
    const ExpertParts parts{wi.view(), std::nullopt, wo.view(), Activation::kRelu};
    for (const std::size_t tokens : {1UL, 16UL, 40UL}) {
      const Matrix<float> input = random_matrix(tokens, kModel, 3);
      const Matrix<float> expected = reference(parts, input, random_probability(tokens).row(0));
      expect_near(run(parts, input), expected, 1e-5F * largest_magnitude(expected), std::string(name_of(type)));
    }
  }
}

TEST_P(ExpertTest, Int8IsBitForBitTheArithmeticSharedWithTheAccelerator) {
  for (const PackedFormat& format : {PackedFormat{2, 4, PackedType::kInt8, 64}, {1, 1, PackedType::kInt8, 64}}) {
    const RandomExpert expert(format, false, Activation::kRelu);
    const ExpertParts parts = parts_of(expert.layout, expert.bytes);
    const auto codes_of = [](const PackedMatrixView& matrix) {
      std::vector<std::int8_t> codes(matrix.layout.rows() * matrix.layout.columns(), 0);
      for (std::size_t r = 0; r < matrix.layout.rows(); ++r) {
        for (std::size_t i = 0; i < matrix.layout.kept(); ++i) {
          const PackedEntry entry = packed_entry(matrix, r, i);
          if (entry.column >= matrix.layout.columns()) continue;
          codes[r * matrix.layout.columns() + entry.column] = static_cast<std::int8_t>(entry.integer);
        }
      }
      return codes;
    };
    const auto& wi = std::get<PackedMatrixView>(parts.wi);
    const auto& wo = std::get<PackedMatrixView>(parts.wo);
    const std::vector<std::int8_t> wi_codes = codes_of(wi);
    const std::vector<std::int8_t> wo_codes = codes_of(wo);
    std::vector<float> wi_scales(kInner);
    std::vector<float> wo_scales(kModel);
    for (std::size_t r = 0; r < kInner; ++r) wi_scales[r] = packed_scale(wi, r, 0);
    for (std::size_t r = 0; r < kModel; ++r) wo_scales[r] = packed_scale(wo, r, 0);
    const InputRowScaling scaling = input_row_scaling(wi_scales);
    const Int8ExpertView view{kModel, kInner, wi_codes, wo_codes, scaling.multiplier, scaling.unit, wo_scales};

    const Matrix<float> input = random_matrix(6, kModel, 4);
    const Matrix<float> probability = random_probability(6);
    Matrix<float> output(6, kModel);
    run_expert(parts, input, probability.row(0), output);
    for (std::size_t t = 0; t < 6; ++t) {
      std::vector<std::int8_t> codes(kModel);
      const float scale = quantise_symmetric(input.row(t), codes);
      const Int8ExpertResult result = int8_expert_reference(view, codes);
      const float unit = output_unit(scale, scaling.unit, result.hidden_maximum);
      for (std::size_t o = 0; o < kModel; ++o) {
        const float expected = probability.row(0)[t] * output_value(result.accumulators[o], wo_scales[o], unit);
        ASSERT_EQ(output.row(t)[o], expected) << format.describe() << " token " << t << " output " << o;
      }
    }
  }
}

TEST_P(ExpertTest, ComputingAsBytesArriveChangesNothing) {
  for (const PackedFormat& format : kFormats) {
    for (const bool gated : {false, true}) {
      const RandomExpert expert(format, gated, Activation::kRelu);
      const Matrix<float> input = random_matrix(3, kModel, 6);
      const Matrix<float> at_once = run(parts_of(expert.layout, expert.bytes), input);
      for (const std::size_t step : {997UL, 20000UL}) {
        std::vector<std::byte> arriving(expert.bytes.size(), std::byte{0xff});
        const Matrix<float> probability = random_probability(3);
        Matrix<float> output(3, kModel);
        ExpertRun expert_run;
        expert_run.begin(parts_of(expert.layout, arriving), input, probability.row(0), output);
        for (std::size_t arrived = 0; !expert_run.done();) {
          const std::size_t next = std::min(arrived + step, arriving.size());
          ASSERT_LT(arrived, next) << "everything is there, and it is not done";
          std::copy(expert.bytes.begin() + static_cast<std::ptrdiff_t>(arrived),
                    expert.bytes.begin() + static_cast<std::ptrdiff_t>(next),
                    arriving.begin() + static_cast<std::ptrdiff_t>(arrived));
          arrived = next;
          expert_run.advance(arrived);
        }
        for (std::size_t t = 0; t < 3; ++t) {
          for (std::size_t c = 0; c < kModel; ++c) ASSERT_EQ(output.row(t)[c], at_once.row(t)[c]) << format.describe();
        }
      }
    }
  }
}

TEST_P(ExpertTest, DensePartsMayArriveInPiecesToo) {
  const StoredMatrix wi(DataType::kBF16, random_matrix(kInner, kModel, 1));
  const StoredMatrix wo(DataType::kBF16, random_matrix(kModel, kInner, 2));
  const ExpertParts parts{wi.view(), std::nullopt, wo.view(), Activation::kRelu};
  for (const std::size_t tokens : {2UL, 30UL}) {
    const Matrix<float> input = random_matrix(tokens, kModel, 7);
    const Matrix<float> at_once = run(parts, input);
    const Matrix<float> probability = random_probability(tokens);
    Matrix<float> output(tokens, kModel);
    ExpertRun expert_run;
    expert_run.begin(parts, input, probability.row(0), output);
    for (std::size_t arrived = 0; !expert_run.done(); arrived += 1000) expert_run.advance(arrived);
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t c = 0; c < kModel; ++c) ASSERT_EQ(output.row(t)[c], at_once.row(t)[c]);
    }
  }
}

FLAME_TEST_ON_ALL_INSTRUCTION_SETS(ExpertTest);

TEST(ExpertShapeTest, PartsThatDoNotFitAreRefused) {
  const Matrix<float> input = random_matrix(1, kModel, 1);
  Matrix<float> output(1, kModel);
  const std::vector<float> probability = {1.0F};
  const StoredMatrix wi(DataType::kF32, random_matrix(kInner, kModel, 1));
  const StoredMatrix bad(DataType::kF32, random_matrix(kModel, kInner - 1, 2));
  const StoredMatrix good(DataType::kF32, random_matrix(kModel, kInner, 2));
  const StoredMatrix half_gate(DataType::kF32, random_matrix(kInner / 2, kModel, 3));
  EXPECT_THROW(run_expert({wi.view(), std::nullopt, bad.view(), Activation::kRelu}, input, probability, output),
               ModelError);
  EXPECT_THROW(run_expert({wi.view(), half_gate.view(), good.view(), Activation::kRelu}, input, probability, output),
               ModelError);
}

}  // namespace
}  // namespace flame::kernels
