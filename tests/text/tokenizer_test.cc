#include "flame/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/io/memory_file_system.h"
#include "flame/text/streaming_decoder.h"
#include "support/test_data.h"
#include "text/t5_files.h"

namespace flame::text {
namespace {

using test::expected_file;
using test::t5_spiece;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Ids = std::vector<TokenId>;

/// What transformers or tokenizers made of a text must be what ours makes of it.
void expect_same(const Tokenizer& tokenizer, const Json& text, const std::string& where) {
  const auto input = text.at("text").get<std::string>();
  const auto ids = text.at("ids").get<Ids>();
  EXPECT_EQ(tokenizer.encode(input), ids) << where << ": " << to_text(text.at("text"));
  EXPECT_EQ(tokenizer.decode(ids, false), text.at("decoded").get<std::string>()) << where << ": " << to_text(text);
  EXPECT_EQ(tokenizer.decode(ids), text.at("without_special").get<std::string>()) << where << ": " << to_text(text);
}

// tokenizers: truncation to max_length keeps so many tokens of the text that the special ones fit behind them.
void expect_truncation_keeps_the_end_token(const Tokenizer& tokenizer, const std::string& text, const Ids& ids) {
  for (std::size_t longest = 1; longest <= ids.size() + 1; ++longest) {
    Ids expected(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(std::min(longest, ids.size())));
    expected.back() = ids.back();
    EXPECT_EQ(tokenizer.encode(text, longest), expected) << longest << " of " << text;
  }
}

void expect_streaming_is_decoding(const Tokenizer& tokenizer, const Ids& ids) {
  for (const bool skip : {false, true}) {
    StreamingDecoder decoder(tokenizer, skip);
    std::string all;
    for (const TokenId id : ids) all += decoder.push(id);
    all += decoder.finish();
    EXPECT_EQ(all, tokenizer.decode(ids, skip));
  }
}

TEST(Tokenizer, RefusesALengthThatTheEndTokenDoesNotFitInto) {
  io::MemoryFileSystem files;
  files.put("/m/spiece.model", t5_spiece());
  EXPECT_THROW(static_cast<void>(Tokenizer::open("/m", files).encode("a", 0)), UsageError);
}

TEST(Tokenizer, GivesTheIdsAndTextsOfTransformersForT5) {
  std::size_t texts = 0;
  const Json expected = expected_file("t5_expected.json");
  for (const Json& one : expected.at("cases")) {
    io::MemoryFileSystem files;
    files.put("/m/spiece.model", t5_spiece());
    for (const auto& [name, content] : one.at("files").items()) files.put("/m/" + name, to_text(content));
    const Tokenizer tokenizer = Tokenizer::open("/m", files);
    const auto name = one.at("name").get<std::string>();
    EXPECT_EQ(tokenizer.size(), one.at("size").get<std::size_t>()) << name;
    for (const Json& text : one.at("texts")) {
      expect_same(tokenizer, text, name);
      expect_streaming_is_decoding(tokenizer, text.at("ids").get<Ids>());
      expect_truncation_keeps_the_end_token(tokenizer, text.at("text").get<std::string>(), text.at("ids").get<Ids>());
      ++texts;
    }
  }
  EXPECT_GT(texts, 170U);
}

TEST(Tokenizer, ReadsTheSameVocabularyFromTokenizerJson) {
  io::MemoryFileSystem files;
  files.put("/m/tokenizer.json", to_text(test::t5_tokenizer_json()));
  const Tokenizer tokenizer = Tokenizer::open("/m", files);
  EXPECT_EQ(tokenizer.size(), 32100U);
  const Json expected = expected_file("t5_expected.json");
  const Json& texts = expected.at("cases").at(0).at("texts");
  EXPECT_GT(texts.size(), 150U);
  for (const Json& text : texts) expect_same(tokenizer, text, "tokenizer.json");
}

TEST(Tokenizer, RunsTheOtherPipelinesOfTokenizers) {
  const Json expected = expected_file("pipelines.json");
  EXPECT_EQ(expected.at("cases").size(), 4U);
  for (const Json& one : expected.at("cases")) {
    io::MemoryFileSystem files;
    files.put("/m/tokenizer.json", to_text(one.at("tokenizer")));
    const Tokenizer tokenizer = Tokenizer::open("/m", files);
    const auto name = one.at("name").get<std::string>();
    for (const Json& text : one.at("texts")) {
      expect_same(tokenizer, text, name);
      expect_streaming_is_decoding(tokenizer, text.at("ids").get<Ids>());
    }
    const Json broken = one.value("decoded_ids", Json::array());
    for (const Json& ids : broken) {
      EXPECT_EQ(tokenizer.decode(ids.at("ids").get<Ids>(), false), ids.at("decoded").get<std::string>()) << name;
      expect_streaming_is_decoding(tokenizer, ids.at("ids").get<Ids>());
    }
  }
}

class T5Tokenizer : public ::testing::Test {
 protected:
  void SetUp() override { files_.put("/m/spiece.model", t5_spiece()); }
  Tokenizer open() { return Tokenizer::open("/m", files_); }

  io::MemoryFileSystem files_;
};

TEST_F(T5Tokenizer, KnowsItsSpecialTokensAndExtraIds) {
  const Tokenizer tokenizer = open();
  EXPECT_EQ(tokenizer.size(), 32100U);
  EXPECT_EQ(tokenizer.pad_id(), 0);
  EXPECT_EQ(tokenizer.end_id(), 1);
  EXPECT_EQ(tokenizer.unknown_id(), 2);
  EXPECT_EQ(tokenizer.id_of("<extra_id_0>"), 32099);
  EXPECT_EQ(tokenizer.id_of("<extra_id_99>"), 32000);
  EXPECT_EQ(tokenizer.id_of("<extra_id_100>"), std::nullopt);
  EXPECT_EQ(tokenizer.piece(8), "▁the");
  EXPECT_TRUE(tokenizer.is_special(32099));
  EXPECT_FALSE(tokenizer.is_special(8));
  EXPECT_EQ(tokenizer.describe(), "spiece.model, 32000 pieces + 100 added tokens");
  EXPECT_THAT(tokenizer.files(), ElementsAre("/m/spiece.model"));
}

TEST_F(T5Tokenizer, EncodesEmptyTextAsTheEndAlone) { EXPECT_THAT(open().encode(""), ElementsAre(1)); }

TEST_F(T5Tokenizer, RefusesInvalidUtf8AndNamesTheByte) {
  try {
    static_cast<void>(open().encode("abc\xff"));
    FAIL() << "it was accepted";
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "the text is not valid UTF-8: byte 3 is 0xff");
  }
}

TEST_F(T5Tokenizer, SkipsIdsOutOfRangeWhenDecoding) {
  const Ids ids = {-1, 8, 32100, 1'000'000, 1712};
  EXPECT_EQ(open().decode(ids), open().decode(Ids{8, 1712}));
}

TEST_F(T5Tokenizer, PrefersSentencePieceWhereBothFilesAre) {
  files_.put("/m/tokenizer.json", "broken");
  EXPECT_EQ(open().size(), 32100U);
}

// ---- refusals

class TokenizerRefusal : public ::testing::Test {
 protected:
  template <typename Error>
  std::string refusal() {
    try {
      static_cast<void>(Tokenizer::open("/m", files_));
    } catch (const Error& error) {
      return error.what();
    }
    ADD_FAILURE() << "the tokenizer was accepted";
    return {};
  }
  void put_json(const std::string& parts) {
    files_.put("/m/tokenizer.json",
               R"({"model": {"type": "Unigram", "vocab": [["<pad>", 0], ["</s>", 0], ["<unk>", 0], ["a", -1]],
                                       "unk_id": 2})" +
                   parts + "}");
  }

  io::MemoryFileSystem files_;
};

TEST_F(TokenizerRefusal, SaysWhichFilesWereLookedFor) {
  files_.create_directories("/m");
  EXPECT_EQ(refusal<ModelError>(), "/m: no tokenizer; looked for spiece.model and tokenizer.json");
}

TEST_F(TokenizerRefusal, NamesABrokenSentencePieceModel) {
  files_.put("/m/spiece.model", "nonsense");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("/m/spiece.model: not a SentencePiece model"));
  files_.put("/m/spiece.model", std::string_view(t5_spiece()).substr(0, 400'000));
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("/m/spiece.model: not a SentencePiece model"));
}

TEST_F(TokenizerRefusal, NamesThePartsThatAreNotThere) {
  put_json(R"(, "normalizer": {"type": "BertNormalizer"})");
  EXPECT_EQ(refusal<ModelError>(),
            "/m/tokenizer.json: normalizer: FLAME does not have the normalizer \"BertNormalizer\"");
  put_json(R"(, "normalizer": {"type": "Sequence", "normalizers": [{"type": "StripAccents"}]})");
  EXPECT_THAT(refusal<ModelError>(),
              HasSubstr("normalizer.normalizers[0]: FLAME does not have the normalizer \"StripAccents\""));
  put_json(R"(, "normalizer": {"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"})");
  EXPECT_THAT(refusal<ModelError>(), HasSubstr("does not have the pattern {\"Regex\":\"a+\"}"));
  put_json(R"(, "pre_tokenizer": {"type": "ByteLevel"})");
  EXPECT_THAT(refusal<ModelError>(), HasSubstr("does not have the pre-tokenizer \"ByteLevel\""));
  put_json(R"(, "decoder": {"type": "WordPiece"})");
  EXPECT_THAT(refusal<ModelError>(), HasSubstr("does not have the decoder \"WordPiece\""));
  put_json(R"(, "decoder": {"type": "Strip", "content": " ", "start": 0, "stop": 1})");
  EXPECT_THAT(refusal<ModelError>(), HasSubstr("the decoder \"Strip\" from the right"));
  put_json(R"(, "decoder": {"type": "Replace", "pattern": {"Regex": "a"}, "content": "b"})");
  EXPECT_THAT(refusal<ModelError>(), HasSubstr("the decoder \"Replace\" with a regular expression"));
  put_json(R"(, "post_processor": {"type": "BertProcessing"})");
  EXPECT_THAT(refusal<ModelError>(), HasSubstr("does not have the post-processor \"BertProcessing\""));
  put_json(R"(, "added_tokens": [{"id": 4, "content": "x", "single_word": true}])");
  EXPECT_THAT(refusal<ModelError>(), HasSubstr("added_tokens[0]: FLAME does not have added tokens with single_word"));
  files_.put("/m/tokenizer.json", R"({"model": {"type": "BPE", "vocab": {}}})");
  EXPECT_EQ(refusal<ModelError>(), "/m/tokenizer.json: a model of type \"BPE\"; FLAME has Unigram only");
}

TEST_F(TokenizerRefusal, NamesBrokenValues) {
  files_.put("/m/tokenizer.json", "{}");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("the key \"model\" is missing"));
  files_.put("/m/tokenizer.json", R"({"model": {"vocab": []}})");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("a vocabulary of 0 pieces"));
  files_.put("/m/tokenizer.json", R"({"model": {"vocab": [["a"]]}})");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("model.vocab[0]: expected [piece, score]"));
  files_.put("/m/tokenizer.json", R"({"model": {"vocab": [["a", 0]], "unk_id": 1}})");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("model.unk_id: expected an integer from 0 to 0, found 1"));
  files_.put("/m/tokenizer.json", R"({"model": {"vocab": [["a", 0]], "byte_fallback": true}})");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("byte_fallback without a piece <0x00>"));
  put_json(R"(, "added_tokens": [{"id": 9, "content": "x"}])");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("the token \"x\" has id 9, but its place in the vocabulary is 4"));
  put_json(R"(, "added_tokens": [{"id": 4, "content": ""}])");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("an added token without content"));
  put_json(R"(, "normalizer": {"type": "Precompiled", "precompiled_charsmap": "!!!"})");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("precompiled_charsmap: expected base64"));
  put_json(R"(, "normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"})");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("a character map of 3 bytes claims a trie of 0"));
  put_json(R"(, "pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "sometimes"})");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("expected always, first or never, found \"sometimes\""));
  put_json(R"(, "post_processor": {"type": "TemplateProcessing", "single": [], "special_tokens": {}})");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("the text is not in its template"));
  put_json("");
  files_.put("/m/tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "y"}}})");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("the key \"x\" is not a token id"));
}

TEST_F(TokenizerRefusal, AChainOfDoublingsIsStopped) {
  std::string steps;
  for (int i = 0; i < 60; ++i) {
    steps += R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"},)";
  }
  steps += R"({"type": "Replace", "pattern": {"String": "b"}, "content": "b"})";
  put_json(R"(, "normalizer": {"type": "Sequence", "normalizers": [)" + steps + "]}");
  EXPECT_THROW(static_cast<void>(Tokenizer::open("/m", files_).encode("a")), ModelError);
  put_json(R"(, "decoder": {"type": "Sequence", "decoders": [)" + steps + "]}");
  EXPECT_THROW(static_cast<void>(Tokenizer::open("/m", files_).decode(Ids{3})), ModelError);
}

TEST_F(TokenizerRefusal, AVocabularyWithoutUnknownTokenSaysWhatItLacks) {
  files_.put("/m/tokenizer.json", R"({"model": {"vocab": [["a", 0], ["▁", 0]]}})");
  const Tokenizer tokenizer = Tokenizer::open("/m", files_);
  try {
    static_cast<void>(tokenizer.encode("ab"));
    FAIL() << "it was accepted";
  } catch (const ModelError& error) {
    EXPECT_STREQ(error.what(), "/m/tokenizer.json: the vocabulary lacks \"b\" and has no unknown token");
  }
}

}  // namespace
}  // namespace flame::text
