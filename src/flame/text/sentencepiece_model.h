#pragma once

#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "flame/text/charsmap.h"
#include "flame/text/token_id.h"
#include "flame/text/unigram_model.h"

namespace flame::text {

/// What a spiece.model says, read through the SentencePiece library.
struct SentencePieceModel {
  UnigramVocabulary vocabulary;
  std::vector<TokenId> control;       ///< pieces that no text gives: pad, end of text
  std::vector<TokenId> user_defined;  ///< pieces that text is searched for before it is cut
  std::optional<Charsmap> charsmap;   ///< nothing when the model normalizes nothing
};

/// `bytes` is the file's content, `source` its path for messages. Throws FormatError when the library refuses it, and
/// ModelError for a model that is not Unigram (T5's kind).
[[nodiscard]] SentencePieceModel read_sentencepiece_model(std::string_view bytes, const std::filesystem::path& source);

}  // namespace flame::text
