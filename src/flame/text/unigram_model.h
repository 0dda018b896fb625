#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flame/base/json.h"
#include "flame/text/token_id.h"

namespace flame::text {

/// What a Unigram model consists of.
struct UnigramVocabulary {
  struct Piece {
    std::string text;
    double score = 0.0;  ///< log probability
  };
  std::vector<Piece> pieces;       ///< by id; a text that is there twice counts with its last id
  std::optional<TokenId> unknown;  ///< must be there for text with characters that no piece has
  bool byte_fallback = false;      ///< unknown characters become their bytes, pieces "<0x00>" to "<0xFF>"
};

/// The "model" object of a tokenizer.json. Throws FormatError, and ModelError for another type than Unigram.
[[nodiscard]] UnigramVocabulary read_unigram_vocabulary(const JsonView& model);

/// The Unigram model (Kudo, ACL 2018): the cut into pieces whose summed log probability is highest, found by the
/// Viterbi algorithm, with the arithmetic and the treatment of unknown characters of Hugging Face's tokenizers library,
/// so that ties and near-ties fall alike. (SentencePiece itself sums in single precision, and cuts "Ahhhh" in another
/// way.) Immutable.
class UnigramModel {
 public:
  /// Throws FormatError naming `source` for a vocabulary that is empty or lacks the pieces its byte_fallback needs.
  UnigramModel(UnigramVocabulary vocabulary, const std::filesystem::path& source);

  /// Appends the ids of the best cut of `word`, which is valid UTF-8. Consecutive unknown characters become one unknown
  /// token, or, with byte fallback, the tokens of their bytes.
  void encode(std::string_view word, std::vector<TokenId>& ids) const;
  [[nodiscard]] const std::vector<UnigramVocabulary::Piece>& pieces() const { return vocabulary_.pieces; }

 private:
  /// Node of a byte trie; its children lie side by side in nodes_, sorted by label.
  struct Node {
    std::uint32_t first_child = 0;
    std::uint16_t children = 0;
    std::uint8_t label = 0;
    TokenId token = -1;
  };

  void build_trie();
  [[nodiscard]] const Node* child(const Node& node, std::uint8_t label) const;
  void append_unknown(std::string_view text, std::vector<TokenId>& ids) const;

  std::filesystem::path source_;
  UnigramVocabulary vocabulary_;
  double lowest_score_ = 0.0;
  std::vector<TokenId> byte_tokens_;  // 256 of them, or none without byte fallback
  std::vector<Node> nodes_;
};

}  // namespace flame::text
