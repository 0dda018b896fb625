#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "flame/io/file.h"
#include "flame/text/added_tokens.h"
#include "flame/text/normalizer.h"
#include "flame/text/pre_tokenizer.h"
#include "flame/text/token_decoder.h"
#include "flame/text/token_id.h"
#include "flame/text/unigram_model.h"

namespace flame::text {

/// What a tokenizer is made of. Private to this folder: text goes through added_tokens, normalizer, pre_tokenizer and
/// model, in this order; ids go through tokens and decoder.
struct TokenizerParts {
  AddedTokens added_tokens;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<UnigramModel> model;
  TokenDecoder decoder;

  std::vector<std::string> tokens;  // by id: the model's pieces, then the added tokens behind them
  std::unordered_map<std::string, TokenId> ids;
  std::vector<TokenId> prefix;  // around every encoded text
  std::vector<TokenId> suffix;
  TokenId pad = 0;
  TokenId end = 1;
  TokenId unknown = 2;
  std::string description;
  std::vector<std::filesystem::path> files;
};

/// Reads the tokenizer files of a model directory. Errors: Tokenizer::open.
[[nodiscard]] std::unique_ptr<TokenizerParts> read_tokenizer(const std::filesystem::path& directory,
                                                             io::FileSystem& files);

}  // namespace flame::text
