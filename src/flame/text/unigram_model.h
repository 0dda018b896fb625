#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flame/base/json.h"
#include "flame/text/word_encoder.h"

namespace flame::text {

/// The Unigram model of a tokenizer.json (Kudo, ACL 2018): the cut into pieces whose summed log probability is highest,
/// found by the Viterbi algorithm, with the arithmetic and the treatment of unknown characters of Hugging Face's
/// tokenizers library, so that ties and near-ties fall alike.
class UnigramModel : public WordEncoder {
 public:
  /// From the "model" object. Throws FormatError.
  explicit UnigramModel(const JsonView& model);

  /// Consecutive unknown characters become one unknown token, or, with byte fallback, the tokens of their bytes.
  void encode(std::string_view word, std::vector<TokenId>& ids) const override;
  [[nodiscard]] const std::vector<std::string>& pieces() const override { return pieces_; }
  [[nodiscard]] std::optional<TokenId> unknown_id() const { return unknown_; }

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
  std::vector<std::string> pieces_;
  std::vector<double> scores_;
  double lowest_score_ = 0.0;
  std::optional<TokenId> unknown_;
  std::vector<TokenId> byte_tokens_;  // 256 of them, or none without byte fallback
  std::vector<Node> nodes_;
};

}  // namespace flame::text
