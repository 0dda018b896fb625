#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fuzz/targets.h"
#include "support/test_data.h"

namespace flame::fuzz {
namespace {

/// Runs the committed corpus of each target through the same function that libFuzzer drives, with any compiler. Inputs
/// that once broke something stay in the corpus.
class CorpusReplay : public ::testing::TestWithParam<std::size_t> {};

INSTANTIATE_TEST_SUITE_P(Fuzz, CorpusReplay, ::testing::Range<std::size_t>(0, targets().size()),
                         [](const auto& parameter) { return std::string(targets()[parameter.param].name); });

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_P(CorpusReplay, EveryInputIsAcceptedOrRefused) {
  const Target& target = targets()[GetParam()];
  std::size_t inputs = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(test::source_path("tests/fuzz/corpus/" + std::string(target.name)))) {
    const std::string input = content_of(entry.path());
    EXPECT_NO_THROW(target.run(std::as_bytes(std::span(input)))) << entry.path();
    ++inputs;
  }
  EXPECT_GT(inputs, 3U) << "the corpus is missing";
}

/// A poor man's fuzzer for builds without clang: bytes of the corpus changed, cut and doubled by a fixed sequence.
TEST_P(CorpusReplay, EveryMutationIsAcceptedOrRefused) {
  const Target& target = targets()[GetParam()];
  std::uint64_t state = GetParam() + 1;
  const auto random = [&state](std::size_t bound) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::size_t>(state >> 33) % bound;
  };
  constexpr std::size_t kLongestInput = 16'384;  // larger ones only cost time here
  for (const auto& entry :
       std::filesystem::directory_iterator(test::source_path("tests/fuzz/corpus/" + std::string(target.name)))) {
    const std::string input = content_of(entry.path());
    if (input.empty() || input.size() > kLongestInput) continue;
    for (int round = 0; round < 60; ++round) {
      std::string changed = input;
      for (std::size_t change = 0; change <= random(3); ++change) {
        const std::size_t place = random(changed.size());
        switch (random(4)) {
          case 0:
            changed[place] = static_cast<char>(random(256));
            break;
          case 1:
            changed[place] = static_cast<char>(changed[place] ^ (1 << random(8)));
            break;
          case 2:
            changed.insert(place, changed.substr(place, 1 + random(8)));
            break;
          default:
            changed.erase(place, 1 + random(4));
            if (changed.empty()) changed = "x";
        }
      }
      EXPECT_NO_THROW(target.run(std::as_bytes(std::span(changed)))) << entry.path() << ", round " << round;
    }
  }
}

}  // namespace
}  // namespace flame::fuzz
