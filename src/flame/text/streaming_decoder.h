#pragma once

#include <string>
#include <vector>

#include "flame/text/tokenizer.h"

namespace flame::text {

/// Text that appears as its ids are decoded. All that push() and finish() return, joined, is Tokenizer::decode of all
/// ids; no piece ends inside a UTF-8 character, and nothing once returned is taken back.
class StreamingDecoder {
 public:
  /// `tokenizer` must outlive this object.
  explicit StreamingDecoder(const Tokenizer& tokenizer, bool skip_special_tokens = true);

  /// The text that has become certain with this id; often empty.
  [[nodiscard]] std::string push(TokenId id);
  /// The rest. The decoder is then as new.
  [[nodiscard]] std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::vector<std::string> tokens_;
  std::size_t emitted_bytes_ = 0;
};

}  // namespace flame::text
