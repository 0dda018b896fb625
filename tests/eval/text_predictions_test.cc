#include "flame/eval/text_predictions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "flame/base/error.h"
#include "support/test_data.h"
#include "support/tiny_checkpoint.h"

namespace flame::eval {
namespace {

using testing::HasSubstr;
using testing::Pair;
using testing::UnorderedElementsAre;

std::string content_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::vector<TextExample> three_examples() {
  return {{0, "Ann: Are you coming?", {"Ann asks."}},
          {1, "Bob: At six.", {"Bob answers.", "At six."}},
          {2, "Cleo: See you there.", {"Cleo agrees."}}};
}

engine::TextGenerationOptions few_tokens() {
  engine::TextGenerationOptions options;
  options.generation.max_new_tokens = 4;
  options.batch_size = 2;
  return options;
}

TEST(TextPredictions, AreMatchedByTheirIndexOrTheirLine) {
  const test::TemporaryDirectory directory;
  std::ofstream(directory / "indexed") << "{\"index\":2,\"text\":\"c\"}\n{\"index\":0,\"text\":\"a\"}\n";
  EXPECT_THAT(read_predictions(directory / "indexed"), UnorderedElementsAre(Pair(0, "a"), Pair(2, "c")));
  std::ofstream(directory / "plain") << "{\"out\":\"a\"}\n{\"out\":\"b\"}\n";
  EXPECT_THAT(read_predictions(directory / "plain", "out"), UnorderedElementsAre(Pair(0, "a"), Pair(1, "b")));
  std::ofstream(directory / "twice") << "{\"index\":1,\"text\":\"c\"}\n{\"index\":1,\"text\":\"a\"}\n";
  EXPECT_THROW(static_cast<void>(read_predictions(directory / "twice")), FormatError);
}

TEST(TextPredictions, AMissingOneIsNamed) {
  const std::vector<TextExample> examples = three_examples();
  try {
    static_cast<void>(score(examples, {{0, "x"}, {2, "y"}}, true, ManyReferences::kBest));
    FAIL() << "no error";
  } catch (const ModelError& error) {
    EXPECT_THAT(error.what(), HasSubstr("1 of 3 examples have no prediction, the first of them example 1"));
  }
}

TEST(TextPredictions, ARunThatWasCutOffGoesOnAndGivesTheSame) {
  const test::TemporaryDirectory directory;
  engine::Engine engine = engine::Engine::open(test::tiny_checkpoint());
  const std::vector<TextExample> examples = three_examples();
  const TextPredictions whole = generate_predictions(engine, examples, few_tokens(), directory / "whole");
  ASSERT_EQ(whole.size(), 3U);

  const std::string lines = content_of(directory / "whole");
  const std::size_t second = lines.find('\n') + 1;
  std::ofstream(directory / "torn") << lines.substr(0, second + 25);  // one line, and a piece of the next
  EXPECT_EQ(generate_predictions(engine, examples, few_tokens(), directory / "torn"), whole);
  EXPECT_EQ(read_predictions(directory / "torn"), whole);
  EXPECT_THAT(content_of(directory / "torn"), testing::StartsWith(lines.substr(0, second)));
}

/// What the error of `run` says; empty when it throws none.
template <typename Run>
std::string refusal_of(Run run) {
  try {
    static_cast<void>(run());
    return "";
  } catch (const UsageError& error) {
    return error.what();
  }
}

TEST(TextPredictions, AFileOfOtherOptionsTextsOrWeightsIsNotGoneOnFrom) {
  const test::TemporaryDirectory directory;
  const std::filesystem::path file = directory / "predictions";
  engine::Engine engine = engine::Engine::open(test::tiny_checkpoint());
  std::vector<TextExample> examples = three_examples();
  const TextPredictions first = generate_predictions(engine, std::span(examples).first(2), few_tokens(), file);

  engine::TextGenerationOptions other_options = few_tokens();
  other_options.generation.max_new_tokens = 5;
  EXPECT_THAT(refusal_of([&] { return generate_predictions(engine, examples, other_options, file); }),
              HasSubstr("made by another model or with other options"));
  engine::TextGenerationOptions other_prefix = few_tokens();
  other_prefix.prefix = "summarize: ";
  EXPECT_THAT(refusal_of([&] { return generate_predictions(engine, examples, other_prefix, file); }),
              HasSubstr("made by another model or with other options"));
  engine::EngineOptions widened;
  widened.type = DataType::kF32;
  engine::Engine other_engine = engine::Engine::open(test::tiny_checkpoint(), widened);
  EXPECT_THAT(refusal_of([&] { return generate_predictions(other_engine, examples, few_tokens(), file); }),
              HasSubstr("made by another model or with other options"));
  std::swap(examples[0].input, examples[1].input);
  EXPECT_THAT(refusal_of([&] { return generate_predictions(engine, examples, few_tokens(), file); }),
              HasSubstr("\"index\" 0 was made from another prompt"));

  EXPECT_EQ(read_predictions(file), first) << "a refusal must leave the file as it was";
  EXPECT_EQ(generate_predictions(engine, three_examples(), few_tokens(), file).size(), 3U);
}

}  // namespace
}  // namespace flame::eval
