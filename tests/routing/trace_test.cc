#include "flame/routing/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "flame/base/error.h"
#include "flame/io/atomic_output.h"
#include "flame/io/safetensors_writer.h"
#include "routing/synthetic_trace.h"
#include "support/test_data.h"

namespace flame::routing {
namespace {

using flame::test::TemporaryDirectory;
using test::random_trace;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Trace with_encoder(Trace trace) {
  trace.encoder = trace.decoder;
  trace.info.encoder_layers = trace.info.decoder_layers;
  trace.encoder.dropped.assign(trace.encoder.experts.size(), 0);
  trace.encoder.dropped[1] = 1;
  return trace;
}

void expect_same(const StackTrace& a, const StackTrace& b) {
  EXPECT_EQ(a.layers, b.layers);
  EXPECT_EQ(a.experts, b.experts);
  EXPECT_EQ(a.probability, b.probability);
  EXPECT_EQ(a.token, b.token);
  EXPECT_EQ(a.example, b.example);
  EXPECT_EQ(a.dropped, b.dropped);
  EXPECT_EQ(a.hidden, b.hidden);
  EXPECT_EQ(a.approach, b.approach);
}

TEST(Trace, WithoutSomeExamplesIsTheOthersNumberedAnew) {
  Trace trace = with_encoder(random_trace(8, 3, 4, 5, 1));
  trace.decoder.hidden.assign(20 * 3 * trace.info.d_model, BFloat16::from_float(1.5F));
  const Trace all = select_examples(trace, {});
  expect_same(all.encoder, trace.encoder);
  expect_same(all.decoder, trace.decoder);

  const Trace some = select_examples(trace, {false, true, false});
  const std::vector<StepRange> before = examples_of(trace.decoder);
  const std::vector<StepRange> after = examples_of(some.decoder);
  ASSERT_EQ(after.size(), before.size() - 2);
  EXPECT_EQ(some.decoder.example.front(), 0);
  EXPECT_EQ(some.decoder.example.back(), static_cast<std::int32_t>(after.size()) - 1);
  EXPECT_EQ(example_fingerprints(some).front(), example_fingerprints(trace)[1]);
  EXPECT_THAT(std::vector(some.decoder.experts.begin(), some.decoder.experts.begin() + 3),
              ElementsAre(trace.decoder.experts[before[1].first * 3], trace.decoder.experts[before[1].first * 3 + 1],
                          trace.decoder.experts[before[1].first * 3 + 2]));
  EXPECT_EQ(some.decoder.hidden.size(), some.decoder.steps() * 3 * trace.info.d_model);
  EXPECT_EQ(some.encoder.dropped.size(), some.encoder.experts.size());
}

TEST(Trace, SelectsByPlaceWhateverTheExamplesNumbersAre) {
  Trace trace = with_encoder(random_trace(8, 3, 4, 5, 1));
  const Trace wanted = select_examples(trace, {true, false, true, false});
  for (StackTrace* stack : {&trace.encoder, &trace.decoder}) {
    for (std::int32_t& example : stack->example) example = example * 500'000'000 + 7;
  }
  const Trace selected = select_examples(trace, {true, false, true, false});
  expect_same(selected.encoder, wanted.encoder);
  expect_same(selected.decoder, wanted.decoder);
  EXPECT_EQ(examples_of(selected.decoder).size(), 2U);
}

TEST(Trace, ReadsWhatItWrote) {
  const TemporaryDirectory folder;
  for (const std::uint32_t experts : {2U, 256U, 300U}) {
    Trace trace = with_encoder(random_trace(experts, 3, 4, 5, experts));
    trace.decoder.hidden.assign(20 * 3 * 2, BFloat16::from_float(1.5F));
    trace.decoder.approach.assign(20 * 3 * 2, BFloat16::from_float(-2.0F));
    write_trace(folder / "t", trace);
    const Trace read = read_trace(folder / "t", {.hidden = true, .approach = true});
    EXPECT_EQ(read.info, trace.info);
    expect_same(read.encoder, trace.encoder);
    expect_same(read.decoder, trace.decoder);
    EXPECT_TRUE(read_trace(folder / "t").decoder.hidden.empty()) << "hidden states are read on request only";
  }
}

TEST(Trace, ReadsWhatThePublicLibraryWrote) {
  const Trace trace = read_trace(flame::test::data_path("routing/profiled.safetensors"));
  EXPECT_EQ(trace.info.model, "fixture");
  EXPECT_EQ(trace.info.experts, 5U);
  EXPECT_EQ(trace.decoder.layers, 3U);
  EXPECT_EQ(trace.encoder.layers, 3U);
  EXPECT_EQ(examples_of(trace.decoder).size(), 40U);
  EXPECT_EQ(trace.encoder.dropped.size(), trace.encoder.experts.size());
}

TEST(Trace, JoinedPartsAreTheWhole) {
  const TemporaryDirectory folder;
  const Trace first = with_encoder(random_trace(8, 2, 3, 4, 1));
  const Trace second = with_encoder(random_trace(8, 2, 2, 6, 2));
  write_trace(folder / "a", first);
  write_trace(folder / "b", second);
  const std::vector<std::filesystem::path> parts = {folder / "a", folder / "b"};
  join_traces(parts, folder / "whole");
  Trace whole = first;
  whole.append(second);
  const Trace read = read_trace(folder / "whole");
  expect_same(read.encoder, whole.encoder);
  expect_same(read.decoder, whole.decoder);
  EXPECT_EQ(examples_of(read.decoder).size(), 5U);
  EXPECT_EQ(read.decoder.example.back(), 4);
}

TEST(Trace, RefusesToJoinTracesOfDifferentModels) {
  Trace trace = random_trace(8, 2, 1, 2, 1);
  Trace other = random_trace(8, 2, 1, 2, 2);
  other.info.checksum = "00000000000000bb";
  EXPECT_THROW(trace.append(other), UsageError);
}

TEST(Trace, NamesExamplesByTheirEncoderInput) {
  Trace trace = with_encoder(random_trace(8, 2, 3, 4, 1));
  const std::vector<std::uint64_t> before = example_fingerprints(trace);
  ASSERT_EQ(before.size(), 3U);
  for (std::uint16_t& expert : trace.encoder.experts) expert = 0;
  for (std::int32_t& token : trace.decoder.token) token = 0;
  EXPECT_EQ(example_fingerprints(trace), before) << "routing and output do not matter";
  trace.encoder.token[0] ^= 1;
  EXPECT_NE(example_fingerprints(trace)[0], before[0]);
  EXPECT_EQ(example_fingerprints(trace)[1], before[1]);
}

TEST(Trace, SplitsStepsByExample) {
  StackTrace stack;
  stack.token = {1, 2, 3, 4};
  stack.example = {0, 0, 2, 5};
  const std::vector<StepRange> ranges = examples_of(stack);
  ASSERT_EQ(ranges.size(), 3U);
  EXPECT_EQ(ranges[0].end, 2U);
  EXPECT_EQ(ranges[2].first, 3U);
}

/// A trace file made by hand, with one thing about it changed.
class BrokenTrace : public ::testing::Test {
 protected:
  struct Tensor {
    DataType type;
    std::vector<std::uint64_t> shape;
    std::vector<std::uint8_t> bytes;
  };

  BrokenTrace() {
    tensors_["decoder.experts"] = {DataType::kU8, {2, 2}, {0, 1, 2, 3}};
    tensors_["decoder.prob"] = {DataType::kF16, {2, 2}, std::vector<std::uint8_t>(8, 0)};
    tensors_["decoder.token"] = {DataType::kI32, {2}, {1, 0, 0, 0, 2, 0, 0, 0}};
    tensors_["decoder.example"] = {DataType::kI32, {2}, {0, 0, 0, 0, 1, 0, 0, 0}};
    metadata_ = {{"version", "1"}, {"experts", "4"}, {"d_model", "2"}, {"vocabulary", "10"}};
  }

  std::filesystem::path write() {
    io::AtomicFile output(folder_ / "t");
    io::SafetensorsWriter writer(output.file(), metadata_);
    for (const auto& [name, tensor] : tensors_) writer.declare(name, tensor.type, tensor.shape);
    writer.begin();
    for (const auto& [name, tensor] : tensors_) writer.append(name, std::as_bytes(std::span(tensor.bytes)));
    writer.finish();
    output.commit();
    return folder_ / "t";
  }

  void expect_refused(const std::string& reason) {
    try {
      (void)read_trace(write(), {.hidden = true, .approach = true});
      ADD_FAILURE() << "read without complaint; expected: " << reason;
    } catch (const FormatError& error) {
      EXPECT_THAT(error.what(), HasSubstr(reason));
    }
  }

  TemporaryDirectory folder_;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

TEST_F(BrokenTrace, IsFineAsLongAsNothingIsChanged) { EXPECT_EQ(read_trace(write()).decoder.steps(), 2U); }

TEST_F(BrokenTrace, WithoutMetadataCountsTheExpertsSeen) {
  metadata_.clear();
  EXPECT_EQ(read_trace(write()).info.experts, 4U);
}

TEST_F(BrokenTrace, NamesAMissingTensor) {
  tensors_.erase("decoder.token");
  expect_refused("decoder.token is missing");
}

TEST_F(BrokenTrace, NamesAWrongType) {
  tensors_["decoder.token"] = {DataType::kF32, {2}, std::vector<std::uint8_t>(8, 0)};
  expect_refused("decoder.token: expected I32 [2], found F32 [2]");
}

TEST_F(BrokenTrace, NamesAWrongShape) {
  tensors_["decoder.example"] = {DataType::kI32, {3}, std::vector<std::uint8_t>(12, 0)};
  expect_refused("decoder.example: expected I32 [2], found I32 [3]");
}

TEST_F(BrokenTrace, NamesExpertsOfTheWrongRank) {
  tensors_["decoder.experts"].shape = {4};
  expect_refused("expected the shape [steps, layers]");
}

TEST_F(BrokenTrace, NamesAnExpertThatTheModelDoesNotHave) {
  tensors_["decoder.experts"].bytes[3] = 4;
  expect_refused("expert 4 at step 1, layer 1");
}

TEST_F(BrokenTrace, NamesWhatIsNotAProbability) {
  tensors_["decoder.prob"].bytes[1] = 0x7e;  // NaN
  expect_refused("is not a probability");
}

TEST_F(BrokenTrace, NamesATokenOutsideTheVocabulary) {
  tensors_["decoder.token"].bytes[0] = 10;
  expect_refused("not in the vocabulary of 10");
}

TEST_F(BrokenTrace, NamesExamplesThatDoNotRise) {
  tensors_["decoder.example"].bytes[0] = 2;
  expect_refused("examples must be numbered from 0 and rise");
}

TEST_F(BrokenTrace, NamesHiddenStatesOfAnotherModel) {
  tensors_["decoder.hidden"] = {DataType::kBF16, {2, 2, 1}, std::vector<std::uint8_t>(8, 0)};
  expect_refused("decoder.hidden: expected BF16 [2, 2, 2], found BF16 [2, 2, 1]");
}

TEST_F(BrokenTrace, NamesADecoderWithoutItsEncoderExamples) {
  for (const char* name : {"experts", "prob", "token", "example"}) {
    tensors_[std::string("encoder.") + name] = tensors_[std::string("decoder.") + name];
  }
  tensors_["encoder.dropped"] = {DataType::kU8, {2, 2}, {0, 0, 0, 1}};
  EXPECT_EQ(read_trace(write()).encoder.dropped.back(), 1);
  tensors_["encoder.example"].bytes[4] = 0;
  expect_refused("the encoder's examples");
}

TEST_F(BrokenTrace, NamesMetadataThatIsNoNumber) {
  metadata_["experts"] = "eight";
  expect_refused("metadata \"experts\": expected a whole number");
}

TEST_F(BrokenTrace, RefusesAnotherVersion) {
  metadata_["version"] = "2";
  expect_refused("trace version \"2\" is not 1");
}

}  // namespace
}  // namespace flame::routing
