#include "flame/text/charsmap.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "flame/base/error.h"
#include "flame/base/utf8.h"
#include "flame/text/sentencepiece_model.h"
#include "text/t5_files.h"

namespace flame::text {
namespace {

const Charsmap& t5() {
  static const SentencePieceModel model = read_sentencepiece_model(test::t5_spiece(), "spiece.model");
  return *model.charsmap;
}

// Expected texts: tokenizers.normalizers.Precompiled with T5's map, tokenizers 0.23.3.

TEST(Charsmap, BringsCompatibilityCharactersToTheirPlainForms) {
  EXPECT_EQ(t5().normalize("ﬁ ² Ⅳ ｆｕｌｌ"), "fi 2 IV full");
  EXPECT_EQ(t5().normalize("½"), "1⁄2");
  EXPECT_EQ(t5().normalize("plain ASCII."), "plain ASCII.");
  EXPECT_EQ(t5().normalize(""), "");
}

TEST(Charsmap, ComposesAndTakesControlCharactersAway) {
  EXPECT_EQ(t5().normalize("e\u0301"), "é");
  EXPECT_EQ(t5().normalize("a\x07z"), "az");
  EXPECT_EQ(t5().normalize("a\tb\nc\r\nd"), "a b c d");
  EXPECT_EQ(t5().normalize("▁"), " ");
}

TEST(Charsmap, LooksWholeGraphemesUpFirstAndTakesTheirShortestPrefix) {
  // U+FB01 and an accent are one grapheme of five bytes, whose shortest known prefix is U+FB01: the accent is lost.
  // This is how tokenizers has it.
  EXPECT_EQ(t5().normalize("\ufb01\u0301"), "fi");
}

TEST(Charsmap, LeavesSequencesOfUnknownCharactersAlone) { EXPECT_EQ(t5().normalize("中文 😀"), "中文 😀"); }

TEST(Charsmap, RefusesBlobsThatAreNotOne) {
  using namespace std::string_literals;  // NOLINT: only for texts that hold zero bytes
  for (const std::string& blob : {""s, "\x04\0\0"s, "\0\0\0\0"s, "\x03\0\0\0abc"s, "\x08\0\0\0abcd"s,
                                  "\xff\xff\xff\xff"
                                  "abcd"s,
                                  "\x04\0\0\0abcd\xff"s}) {
    EXPECT_THROW(Charsmap(blob, "blob"), FormatError);
  }
}

TEST(Charsmap, ABrokenTrieCannotLeadOutsideOfIt) {
  // Random units: every lookup must end, and give valid UTF-8.
  std::uint32_t state = 1;
  for (int round = 0; round < 200; ++round) {
    std::string blob("\x40\0\0\0", 4);
    for (int i = 0; i < 64; ++i) {
      state = state * 1664525U + 1013904223U;
      blob += static_cast<char>(state >> 24);
    }
    blob += std::string("a\0bc\0", 5);
    const Charsmap map(blob, "blob");
    for (const char* text : {"a", "abc", "ü😀", "\x01\x02"}) EXPECT_FALSE(first_invalid_utf8(map.normalize(text)));
  }
}

}  // namespace
}  // namespace flame::text
