#include "flame/text/streaming_decoder.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "flame/base/utf8.h"
#include "flame/io/memory_file_system.h"
#include "text/t5_files.h"

namespace flame::text {
namespace {

Tokenizer open_with(const std::string& config) {
  io::MemoryFileSystem files;
  files.put("/m/spiece.model", test::t5_spiece());
  if (!config.empty()) files.put("/m/tokenizer_config.json", config);
  return Tokenizer::open("/m", files);
}

/// The pieces as they come, joined with "|".
std::string streamed(const Tokenizer& tokenizer, const std::string& text) {
  StreamingDecoder decoder(tokenizer);
  std::string all;
  for (const TokenId id : tokenizer.encode(text)) all += decoder.push(id) + "|";
  return all + decoder.finish();
}

TEST(StreamingDecoder, GivesEachWordAsSoonAsItIsThere) {
  EXPECT_EQ(streamed(open_with(""), "The house is wonderful."), "The| house| is| wonderful|.||");
}

TEST(StreamingDecoder, IsAsNewAfterFinish) {
  const Tokenizer tokenizer = open_with("");
  StreamingDecoder decoder(tokenizer);
  for (int run = 0; run < 2; ++run) {
    EXPECT_EQ(decoder.push(8), "the");
    EXPECT_EQ(decoder.push(-5), "");
    EXPECT_EQ(decoder.push(40'000), "");
    EXPECT_EQ(decoder.push(8), " the");
    EXPECT_EQ(decoder.finish(), "");
  }
}

TEST(StreamingDecoder, KeepsBackWhatCleaningUpMayStillChange) {
  const Tokenizer tokenizer = open_with(R"({"clean_up_tokenization_spaces": true})");
  // Each word waits for the space behind it; the space in front of the full stop never comes.
  EXPECT_EQ(streamed(tokenizer, "a b c ."), "||a|| b|| c|||.");
}

TEST(StreamingDecoder, KeepsBackAnApostropheBetweenSpacesHoweverManyFollow) {
  const Tokenizer tokenizer = open_with(R"({"clean_up_tokenization_spaces": true})");
  const std::vector<TokenId> ids = {162, 3, 31, 3, 4304, 3, 11};  // "get '", a Cyrillic letter, two spaces, "and"
  StreamingDecoder decoder(tokenizer);
  std::string all;
  for (const TokenId id : ids) all += decoder.push(id);
  EXPECT_EQ(all + decoder.finish(), tokenizer.decode(ids));
}

/// Ids that are likely to meet: punctuation, contractions, spaces, specials, and others.
rc::Gen<std::vector<TokenId>> some_ids(const Tokenizer& tokenizer) {
  std::vector<TokenId> frequent = {0, 1, 2, 3, 32099};
  for (const char* text : {". ? ! ,", "' n't 'm 's 've 're", "n ' t", "i ' ve"}) {
    for (const TokenId id : tokenizer.encode(text)) frequent.push_back(id);
  }
  return rc::gen::container<std::vector<TokenId>>(
      rc::gen::weightedOneOf<TokenId>({{3, rc::gen::elementOf(frequent)}, {1, rc::gen::inRange<TokenId>(0, 32100)}}));
}

RC_GTEST_PROP(StreamingDecoder, JoinsToTheDecodedTextAndCutsNoCharacter, ()) {
  static const Tokenizer plain = open_with("");
  static const Tokenizer cleaned = open_with(R"({"clean_up_tokenization_spaces": true})");
  const auto ids = *some_ids(plain);
  const bool skip = *rc::gen::arbitrary<bool>();
  for (const Tokenizer* tokenizer : {&plain, &cleaned}) {
    StreamingDecoder decoder(*tokenizer, skip);
    std::string all;
    for (const TokenId id : ids) {
      const std::string piece = decoder.push(id);
      RC_ASSERT(!first_invalid_utf8(piece));
      all += piece;
    }
    all += decoder.finish();
    RC_ASSERT(all == tokenizer->decode(ids, skip));
  }
}

TEST(StreamingDecoder, WaitsForAllBytesOfACharacter) {
  const Json cases = test::expected_file("pipelines.json").at("cases");
  io::MemoryFileSystem files;
  files.put("/m/tokenizer.json", to_text(cases.back().at("tokenizer")));
  const Tokenizer tokenizer = Tokenizer::open("/m", files);
  StreamingDecoder decoder(tokenizer);
  // The four bytes of U+1F600 as byte tokens, then a letter that ends the run.
  std::string before;
  for (const int byte : {0xf0, 0x9f, 0x98, 0x80}) before += decoder.push(3 + byte);
  EXPECT_EQ(before, "");
  EXPECT_EQ(decoder.push(*tokenizer.id_of("cat")), "😀cat");
  EXPECT_EQ(decoder.finish(), "");
}

}  // namespace
}  // namespace flame::text
