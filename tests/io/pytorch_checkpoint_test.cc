#include "flame/io/pytorch_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "flame/base/error.h"
#include "flame/base/memory_usage.h"
#include "flame/io/memory_file_system.h"
#include "io/expected_tensors.h"
#include "support/test_data.h"

namespace flame::io {
namespace {

using ::testing::HasSubstr;

class WhatTorchSaved : public ::testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Io, WhatTorchSaved,
                         ::testing::Values("types.bin", "types_protocol4.bin", "views.bin", "state_dict.bin",
                                           "plain_values.bin"));

TEST_P(WhatTorchSaved, IsReadBitForBit) {
  const PytorchCheckpoint checkpoint(test::data_path("io") / GetParam());
  EXPECT_EQ(test::contents_of(checkpoint), test::expected_tensors(GetParam()));
}

std::string refusal(const std::string& bytes) {
  MemoryFileSystem files;
  files.put("/m.bin", bytes);
  try {
    const PytorchCheckpoint checkpoint("/m.bin", files);
  } catch (const FormatError& error) {
    return error.what();
  }
  ADD_FAILURE() << "the checkpoint was accepted";
  return {};
}

std::string bytes_of(const std::string& file) { return read_file(test::data_path("io") / file); }

/// The file with every occurrence of one text replaced by another of the same length.
std::string changed(std::string bytes, const std::string& from, const std::string& to) {
  EXPECT_EQ(from.size(), to.size());
  EXPECT_NE(bytes.find(from), std::string::npos) << from;
  for (std::size_t place = bytes.find(from); place != std::string::npos; place = bytes.find(from, place + 1)) {
    bytes.replace(place, from.size(), to);
  }
  return bytes;
}

TEST(PytorchCheckpoint, SharedStoragesAreNotCopied) {
  const PytorchCheckpoint checkpoint(test::data_path("io/views.bin"));
  EXPECT_EQ(checkpoint.tensor("shared.weight").bytes.data(), checkpoint.tensor("tied.weight").bytes.data());
  EXPECT_EQ(checkpoint.tensor("part").bytes.data(),
            checkpoint.tensor("shared.weight").bytes.data() + 7 * sizeof(float));
}

TEST(PytorchCheckpoint, TensorsLieWhereTheyLieInTheFile) {
  MemoryFileSystem files;
  files.put("/m.bin", bytes_of("views.bin"));
  const PytorchCheckpoint checkpoint("/m.bin", files);
  checkpoint.release("part");
  EXPECT_EQ(checkpoint.find("absent"), nullptr);
  EXPECT_THROW(static_cast<void>(checkpoint.tensor("absent")), ModelError);
}

TEST(PytorchCheckpoint, RefusesAPickleThatRunsSomethingByName) {
  EXPECT_THAT(refusal(bytes_of("evil.bin")), HasSubstr("wants to import posix.system"));
}

TEST(PytorchCheckpoint, RefusesTheFormBeforePyTorch16AndSaysWhatToDo) {
  EXPECT_THAT(refusal(bytes_of("legacy.bin")), HasSubstr("written by PyTorch before 1.6"));
}

TEST(PytorchCheckpoint, RefusesTransposedTensorsByName) {
  EXPECT_THAT(refusal(bytes_of("transposed.bin")),
              HasSubstr("the tensor \"turned\", F32 [3, 2]: is stored with strides [1, 3], not row-major"));
}

TEST(PytorchCheckpoint, RefusesADictionaryWithoutTensors) {
  EXPECT_THAT(refusal(bytes_of("training.bin")), HasSubstr("its dictionary holds no tensors"));
}

TEST(PytorchCheckpoint, RefusesTheOtherByteOrder) {
  EXPECT_THAT(refusal(changed(bytes_of("views.bin"), "little", "bigbig")), HasSubstr("has the byte order \"bigbig\""));
}

TEST(PytorchCheckpoint, RefusesAnArchiveWithoutPickleOrStorage) {
  EXPECT_THAT(refusal(changed(bytes_of("views.bin"), "data.pkl", "data.txt")), HasSubstr("without a data.pkl"));
  EXPECT_THAT(refusal(changed(bytes_of("views.bin"), "views/data/0", "views/data/7")),
              HasSubstr("the tensor \"shared.weight\", F32 [4, 5]: the archive lacks its storage \"0\""));
}

TEST(PytorchCheckpoint, RefusesStoragesOfAnotherSizeThanStated) {
  // BININT1 20: the storage's elements, in its identity.
  EXPECT_THAT(refusal(changed(bytes_of("views.bin"), std::string("K\x14tq"), std::string("K\x15tq"))),
              HasSubstr("its storage \"0\" has 80 bytes, expected 21 elements of 4"));
}

TEST(PytorchCheckpoint, RefusesTensorsOutsideOfTheirStorage) {
  // "part": offset 7, shape (2, 3).
  EXPECT_THAT(refusal(changed(bytes_of("views.bin"), std::string("QK\x07K\x02K\x03"), std::string("QK\x0fK\x02K\x03"))),
              HasSubstr("the tensor \"part\", F32 [2, 3]: 6 elements at 15 lie outside of its storage of 20"));
}

TEST(PytorchCheckpoint, RefusesEveryCutOfAFile) {
  const std::string whole = bytes_of("views.bin");
  for (std::size_t length = 0; length < whole.size(); length += 7) {
    MemoryFileSystem files;
    files.put("/m.bin", std::string_view(whole).substr(0, length));
    EXPECT_THROW(PytorchCheckpoint("/m.bin", files), FormatError) << length;
  }
}

TEST(PytorchCheckpoint, SurvivesEveryChangedByte) {
  const std::string whole = bytes_of("views.bin");
  for (std::size_t place = 0; place < whole.size(); ++place) {
    std::string broken = whole;
    broken[place] = static_cast<char>(broken[place] ^ 0x41);
    MemoryFileSystem files;
    files.put("/m.bin", broken);
    try {
      const PytorchCheckpoint checkpoint("/m.bin", files);
      for (const std::string& name : checkpoint.names()) EXPECT_LE(checkpoint.tensor(name).bytes.size(), whole.size());
    } catch (const FormatError&) {  // what most of them give; the rest changed data or names
    }
  }
}

}  // namespace
}  // namespace flame::io
