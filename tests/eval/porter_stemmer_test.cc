#include "flame/eval/porter_stemmer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "support/test_data.h"

namespace flame::eval {
namespace {

TEST(PorterStemmer, StemsWordsAsNltkDoes) {
  std::ifstream file(test::data_path("eval/stems.txt"));
  std::string word;
  std::string stem;
  std::size_t words = 0;
  while (file >> word >> stem) {
    EXPECT_EQ(porter_stem(word), stem) << word;
    ++words;
  }
  EXPECT_GT(words, 3000U);
}

TEST(PorterStemmer, LeavesShortWordsAlone) {
  EXPECT_EQ(porter_stem(""), "");
  EXPECT_EQ(porter_stem("s"), "s");
  EXPECT_EQ(porter_stem("is"), "is");
}

}  // namespace
}  // namespace flame::eval
