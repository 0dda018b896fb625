#include "flame/io/safetensors_header.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "flame/base/error.h"
#include "flame/io/memory_file_system.h"

namespace flame::io {
namespace {

using ::testing::HasSubstr;

template <typename Action>
std::string format_error(Action&& action) {
  try {
    action();
  } catch (const FormatError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no FormatError was thrown";
  return {};
}

constexpr std::uint64_t kDataBytes = 40;

SafetensorsHeader parse(const std::string& json, std::uint64_t data_bytes = kDataBytes) {
  return parse_safetensors_header(json, 8 + json.size() + data_bytes, "m.safetensors");
}

std::string refusal(const std::string& json, std::uint64_t data_bytes = kDataBytes) {
  return format_error([&] { static_cast<void>(parse(json, data_bytes)); });
}

/// A header with tensor "a" of 24 bytes, then the given member.
std::string with(const std::string& member) {
  return R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)" + member + "}";
}

TEST(SafetensorsHeader, ReadsNamesTypesShapesOffsetsAndMetadata) {
  const SafetensorsHeader header =
      parse(with(R"("b":{"dtype":"BF16","shape":[8],"data_offsets":[24,40]},"__metadata__":{"format":"pt"})"));
  ASSERT_EQ(header.entries.size(), 2U);
  EXPECT_EQ(header.entries[0].name, "a");
  EXPECT_EQ(header.entries[0].type, DataType::kF32);
  EXPECT_EQ(header.entries[0].shape, (std::vector<std::uint64_t>{2, 3}));
  EXPECT_EQ(header.entries[1].offset, header.data_offset + 24);
  EXPECT_EQ(header.entries[1].bytes, 16U);
  EXPECT_EQ(header.metadata.at("format"), "pt");
  EXPECT_EQ(header.find("b"), &header.entries[1]);
  EXPECT_EQ(header.find("c"), nullptr);
}

TEST(SafetensorsHeader, AcceptsEmptyFilesScalarsEmptyTensorsAndTrailingSpaces) {
  EXPECT_TRUE(parse("{}", 0).entries.empty());
  EXPECT_EQ(parse(R"({"s":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}      )", 8).entries[0].bytes, 8U);
  EXPECT_EQ(parse(R"({"e":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]}})", 0).entries[0].bytes, 0U);
}

TEST(SafetensorsHeader, AcceptsMembersInAnyOrderAndUnknownKeys) {
  const auto header = parse(
      R"({"z":{"data_offsets":[0,24],"shape":[24],"dtype":"U8","later":1},"a":{"dtype":"U8","shape":[16],"data_offsets":[24,40]}})");
  EXPECT_EQ(header.find("z")->offset, header.data_offset);
}

// One broken header per field.

TEST(SafetensorsHeader, RefusesAHeaderThatIsNotAnObject) {
  EXPECT_THAT(refusal(""), HasSubstr("does not begin with \"{\""));
  EXPECT_THAT(refusal(" {}", 0), HasSubstr("does not begin with \"{\""));
  EXPECT_THAT(refusal("[]", 0), HasSubstr("does not begin with \"{\""));
}

TEST(SafetensorsHeader, RefusesBrokenJsonAndDuplicateNames) {
  EXPECT_THAT(refusal("{\"a\":"), HasSubstr("invalid JSON at line 1"));
  EXPECT_THAT(refusal(with(R"("a":{"dtype":"U8","shape":[16],"data_offsets":[24,40]})")),
              HasSubstr("the key \"a\" is given twice"));
  EXPECT_THAT(refusal("{\"\xff\":1}"), HasSubstr("invalid UTF-8"));
}

TEST(SafetensorsHeader, RefusesMissingKeys) {
  EXPECT_THAT(refusal(with(R"("b":{"shape":[8],"data_offsets":[24,40]})")),
              HasSubstr("b: the key \"dtype\" is missing"));
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"BF16","data_offsets":[24,40]})")),
              HasSubstr("b: the key \"shape\" is missing"));
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"BF16","shape":[8]})")),
              HasSubstr("b: the key \"data_offsets\" is missing"));
  EXPECT_THAT(refusal(with(R"("b":7)")), HasSubstr("b: expected an object, found 7"));
}

TEST(SafetensorsHeader, RefusesElementTypesItDoesNotKnowByName) {
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"F8_E5M2","shape":[16],"data_offsets":[24,40]})")),
              HasSubstr("b.dtype: the element type \"F8_E5M2\" is not one FLAME knows"));
  EXPECT_THAT(refusal(with(R"("b":{"dtype":5,"shape":[16],"data_offsets":[24,40]})")),
              HasSubstr("b.dtype: expected a text"));
}

TEST(SafetensorsHeader, RefusesWrongShapes) {
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"BF16","shape":[-8],"data_offsets":[24,40]})")),
              HasSubstr("b.shape[0]: expected an integer from 0"));
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"BF16","shape":[2.5],"data_offsets":[24,40]})")), HasSubstr("b.shape[0]"));
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"BF16","shape":8,"data_offsets":[24,40]})")),
              HasSubstr("b.shape: expected an array"));
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"BF16","shape":[9],"data_offsets":[24,40]})")),
              HasSubstr("b: BF16 [9] needs 18 bytes, but data_offsets span 16"));
  std::string many = "1";
  for (int i = 0; i < 64; ++i) many += ",1";
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"U8","shape":[)" + many + R"(],"data_offsets":[24,25]})")),
              HasSubstr("65 dimensions; at most 64"));
}

TEST(SafetensorsHeader, RefusesShapesWhoseProductOverflows) {
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[24,24]})")),
              HasSubstr("has more bytes than 64 bits count"));
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[24,24]})")),
              HasSubstr("has more bytes than 64 bits count"));
}

TEST(SafetensorsHeader, RefusesWrongOffsets) {
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"U8","shape":[16],"data_offsets":[24]})")),
              HasSubstr("b.data_offsets: expected [begin, end], found 1 numbers"));
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"U8","shape":[16],"data_offsets":[40,24]})")),
              HasSubstr("ends at 24 before it begins at 40"));
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"U8","shape":[17],"data_offsets":[24,41]})")),
              HasSubstr("ends at 41, but the file has 40 bytes of data"));
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"U8","shape":[16],"data_offsets":[18446744073709551608,8]})")),
              HasSubstr("before it begins"));
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"U8","shape":[16],"data_offsets":[-1,15]})")),
              HasSubstr("b.data_offsets[0]: expected an integer from 0"));
}

TEST(SafetensorsHeader, RefusesOverlapsGapsAndBytesOfNoTensor) {
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"U8","shape":[20],"data_offsets":[20,40]})")),
              HasSubstr("the tensor \"b\" overlaps the tensor before it: it begins at 20, expected 24"));
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"U8","shape":[15],"data_offsets":[25,40]})")),
              HasSubstr("the tensor \"b\" leaves a gap before it: it begins at 25, expected 24"));
  EXPECT_THAT(refusal(with(R"("b":{"dtype":"U8","shape":[15],"data_offsets":[24,39]})")),
              HasSubstr("the tensors end at 39, but the file has 40 bytes of data"));
  EXPECT_THAT(refusal("{}"), HasSubstr("the tensors end at 0, but the file has 40 bytes of data"));
}

TEST(SafetensorsHeader, RefusesMetadataThatIsNotTexts) {
  EXPECT_THAT(refusal(with(R"("__metadata__":{"k":1})")), HasSubstr("__metadata__.k: expected a text, found 1"));
  EXPECT_THAT(refusal(with(R"("__metadata__":[])")), HasSubstr("__metadata__: expected an object"));
}

std::array<std::byte, 8> length_bytes(std::uint64_t length) {
  std::array<std::byte, 8> bytes{};
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<std::byte>(length >> (8 * i));
  return bytes;
}

TEST(SafetensorsHeader, RefusesAHeaderLongerThanItsFile) {
  for (const std::uint64_t file_bytes : {0U, 7U, 9U}) {
    EXPECT_THAT(format_error([&] { static_cast<void>(parse_safetensors_header("{}", file_bytes, "m")); }),
                HasSubstr("a header of 2 bytes in a file of"))
        << file_bytes;
  }
}

TEST(SafetensorsHeaderLength, IsCheckedAgainstTheFileAndTheLimit) {
  EXPECT_EQ(safetensors_header_length(length_bytes(300), 308, "m"), 300U);
  const auto message = [](std::uint64_t length, std::uint64_t file_bytes) {
    return format_error([&] { static_cast<void>(safetensors_header_length(length_bytes(length), file_bytes, "m")); });
  };
  EXPECT_THAT(message(301, 308), HasSubstr("its header claims 301 bytes, but only 300 follow"));
  EXPECT_THAT(message(~std::uint64_t{0}, 308), HasSubstr("claims 18446744073709551615 bytes"));
  EXPECT_THAT(message(100'000'001, std::uint64_t{1} << 40), HasSubstr("at most 100000000 are allowed"));
  EXPECT_THAT(message(0, 7), HasSubstr("a file of 7 bytes is too short"));
}

TEST(ReadSafetensorsHeader, ReadsOnlyTheHeader) {
  const std::string json = R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})";
  const auto length = length_bytes(json.size());
  MemoryFileSystem files;
  files.put("/m", std::string(reinterpret_cast<const char*>(length.data()), 8) + json + "xyz");
  const SafetensorsHeader header = read_safetensors_header(*files.open("/m"));
  EXPECT_EQ(header.entries.at(0).offset, 8 + json.size());
  files.put("/short", "1234");
  EXPECT_THAT(format_error([&] { static_cast<void>(read_safetensors_header(*files.open("/short"))); }),
              HasSubstr("a file of 4 bytes is too short"));
}

}  // namespace
}  // namespace flame::io
