#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flame/io/file.h"
#include "flame/text/token_id.h"

namespace flame::text {

struct TokenizerParts;

/// Text to ids and back, as transformers' T5Tokenizer does it for the same model directory. Immutable, so any number of
/// threads may use one.
class Tokenizer {
 public:
  /// Reads spiece.model (SentencePiece), or tokenizer.json (Unigram) when only that is there, and the added tokens of
  /// tokenizer_config.json, added_tokens.json and special_tokens_map.json; T5's extra ids are always there.
  /// Throws FileError, FormatError, or ModelError: no tokenizer (what was looked for is named), or a tokenizer.json
  /// that asks for a part FLAME does not have (named).
  [[nodiscard]] static Tokenizer open(const std::filesystem::path& model_directory,
                                      io::FileSystem& files = io::FileSystem::real());
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  /// The text's ids, </s> at the end. Empty text gives </s> alone. Throws UsageError for invalid UTF-8, naming the
  /// byte.
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text) const;
  /// At most `longest` ids, as tokenizers' truncation leaves them: the text's first ones, and </s> behind them. Text
  /// that is cut off is not looked at beyond its UTF-8. Throws UsageError as encode(), and when `longest` leaves no
  /// room for the special tokens.
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text, std::size_t longest) const;
  /// The ids' text. Ids out of range are skipped, as transformers does. Special tokens (pad, end, unknown, extra ids)
  /// are left out when `skip_special_tokens`.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids, bool skip_special_tokens = true) const;

  /// Ids are 0 to size() - 1.
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] TokenId pad_id() const;
  [[nodiscard]] TokenId end_id() const;
  [[nodiscard]] TokenId unknown_id() const;
  [[nodiscard]] bool is_special(TokenId id) const;
  /// The token as the vocabulary writes it ("▁the", "<extra_id_0>").
  [[nodiscard]] std::string piece(TokenId id) const;
  [[nodiscard]] std::optional<TokenId> id_of(std::string_view piece) const;

  /// What was read: "spiece.model, 32000 pieces + 100 added tokens".
  [[nodiscard]] std::string describe() const;
  /// The files it was read from: what a bundle must carry along.
  [[nodiscard]] const std::vector<std::filesystem::path>& files() const;

 private:
  friend class StreamingDecoder;
  explicit Tokenizer(std::unique_ptr<TokenizerParts> parts);

  std::unique_ptr<TokenizerParts> parts_;
};

}  // namespace flame::text
