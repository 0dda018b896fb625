#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flame/text/charsmap.h"
#include "flame/text/word_encoder.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace flame::text {

/// A spiece.model, cut by the SentencePiece library itself.
class SentencePieceModel : public WordEncoder {
 public:
  /// `bytes` is the file's content; `source` its path for messages. Throws FormatError when the library refuses it, and
  /// ModelError for a model without the space mark before the text (add_dummy_prefix), which T5's tokenizer needs.
  SentencePieceModel(std::string_view bytes, const std::filesystem::path& source);
  ~SentencePieceModel() override;

  void encode(std::string_view word, std::vector<TokenId>& ids) const override;
  [[nodiscard]] const std::vector<std::string>& pieces() const override { return pieces_; }

  /// Pieces that text is searched for before it is cut: control pieces (pad, end of text) and user-defined ones.
  [[nodiscard]] bool is_control(TokenId id) const;
  [[nodiscard]] bool is_user_defined(TokenId id) const;
  [[nodiscard]] TokenId unknown_id() const;
  /// Nothing when the model normalizes nothing.
  [[nodiscard]] const std::optional<Charsmap>& charsmap() const { return charsmap_; }

 private:
  std::filesystem::path source_;
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  std::vector<std::string> pieces_;
  std::vector<bool> user_defined_;
  std::optional<Charsmap> charsmap_;
  TokenId space_mark_id_ = -1;
};

}  // namespace flame::text
