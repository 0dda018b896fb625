#include "flame/accel/waveform_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "flame/base/error.h"
#include "support/test_data.h"

namespace flame::accel {
namespace {

/// A block of an FST file: its type, the length that it says it has, and `content` bytes.
std::string block(unsigned char type, std::size_t content) {
  std::string text(1, static_cast<char>(type));
  const std::size_t length = content + 8;
  for (int shift = 56; shift >= 0; shift -= 8) text += static_cast<char>(length >> shift & 0xFF);
  return text + std::string(content, 'x');
}

class WaveformFile : public ::testing::Test {
 protected:
  void write(const std::string& bytes) { std::ofstream(path_, std::ios::binary) << bytes; }

  test::TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "wave.fst";
  std::string whole_ = block(0, 321) + block(8, 700) + block(3, 40) + block(4, 50);
};

TEST_F(WaveformFile, AWholeFilePasses) {
  write(whole_);
  EXPECT_NO_THROW(check_waveform(path_));
}

TEST_F(WaveformFile, AFileCutAnywhereIsRefused) {
  for (std::size_t bytes = 0; bytes < whole_.size(); bytes += 7) {
    if (bytes == whole_.size() - block(4, 50).size()) continue;  // the end of a block: all that a reader could know
    write(whole_.substr(0, bytes));
    EXPECT_THROW(check_waveform(path_), FileError) << bytes << " bytes";
  }
}

TEST_F(WaveformFile, ABlockThatWasNeverFinishedIsRefused) {
  write(block(0, 321) + block(255, 700) + block(3, 40));
  EXPECT_THROW(check_waveform(path_), FileError);
}

TEST_F(WaveformFile, OnlyARegularFileMayBeReplaced) {
  EXPECT_THROW(prepare_waveform("/dev/null"), FileError);
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
  EXPECT_THROW(prepare_waveform(directory_ / "nowhere" / "wave.fst"), FileError);
  write("an older one");
  EXPECT_NO_THROW(prepare_waveform(path_));
  EXPECT_EQ(std::filesystem::file_size(path_), 12U) << "it is the writer that replaces it";
  EXPECT_NO_THROW(prepare_waveform(directory_ / "new.fst"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "new.fst"));
}

}  // namespace
}  // namespace flame::accel
