#include "flame/io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "flame/base/error.h"
#include "flame/io/failing_file_system.h"
#include "flame/io/memory_file_system.h"
#include "io/expected_tensors.h"
#include "support/test_data.h"

namespace flame::io {
namespace {

using ::testing::HasSubstr;

TEST(SafetensorsFile, HoldsWhatThePublicLibraryWrote) {
  const SafetensorsFile file(test::data_path("io/types.safetensors"));
  EXPECT_EQ(test::contents_of(file), test::expected_tensors("types.safetensors"));
  EXPECT_EQ(file.metadata().at("note"), "ü");
}

TEST(SafetensorsFile, NamesTheTensorThatIsMissing) {
  const SafetensorsFile file(test::data_path("io/types.safetensors"));
  EXPECT_EQ(file.find("absent"), nullptr);
  try {
    static_cast<void>(file.tensor("absent"));
    FAIL();
  } catch (const ModelError& error) {
    EXPECT_THAT(error.what(), HasSubstr("types.safetensors: the tensor \"absent\" is missing"));
  }
}

TEST(SafetensorsFile, ReleasedTensorsCanBeReadAgain) {
  const SafetensorsFile file(test::data_path("io/types.safetensors"));
  const auto before = test::contents_of(file);
  for (const std::string& name : file.names()) file.release(name);
  EXPECT_EQ(test::contents_of(file), before);
}

TEST(SafetensorsFile, RefusesEveryCutOfAFile) {
  const std::string whole = read_file(test::data_path("io/types.safetensors"));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    MemoryFileSystem files;
    files.put("/m", std::string_view(whole).substr(0, length));
    EXPECT_THROW(SafetensorsFile("/m", files), FormatError) << length;
  }
}

TEST(SafetensorsFile, SurvivesEveryChangedHeaderByte) {
  const std::string whole = read_file(test::data_path("io/types.safetensors"));
  const std::size_t header = SafetensorsFile(test::data_path("io/types.safetensors")).header().data_offset;
  std::size_t refused = 0;
  for (std::size_t place = 0; place < header; ++place) {
    std::string broken = whole;
    broken[place] = static_cast<char>(broken[place] ^ 0x15);
    MemoryFileSystem files;
    files.put("/m", broken);
    try {
      const SafetensorsFile file("/m", files);
      for (const std::string& name : file.names()) EXPECT_LE(file.tensor(name).bytes.size(), whole.size());
    } catch (const FormatError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, header / 2);  // the rest are changed names and metadata
}

TEST(SafetensorsFile, AFileThatCannotBeReadIsAFileError) {
  FailingFileSystem files(FileSystem::real(), {.fail_operation = 0});
  EXPECT_THROW(SafetensorsFile(test::data_path("io/types.safetensors"), files), FileError);
  EXPECT_THROW(SafetensorsFile("/no/such/file"), FileError);
}

}  // namespace
}  // namespace flame::io
