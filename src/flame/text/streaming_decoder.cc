#include "flame/text/streaming_decoder.h"

#include "flame/text/tokenizer_parts.h"

namespace flame::text {

StreamingDecoder::StreamingDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens) {}

std::string StreamingDecoder::push(TokenId id) {
  const bool known = id >= 0 && static_cast<std::size_t>(id) < tokenizer_->size();
  if (!known || (skip_special_tokens_ && tokenizer_->is_special(id))) return {};
  tokens_.push_back(tokenizer_->piece(id));
  // Decoding all tokens anew keeps one definition of what they mean. A few hundred of them cost microseconds.
  const TokenDecoder& decoder = tokenizer_->parts_->decoder;
  const std::size_t certain = decoder.certain_bytes(tokens_);
  if (certain <= emitted_bytes_) return {};
  std::string text = decoder.decode(tokens_).substr(emitted_bytes_, certain - emitted_bytes_);
  emitted_bytes_ = certain;
  return text;
}

std::string StreamingDecoder::finish() {
  std::string rest = tokenizer_->parts_->decoder.decode(tokens_).substr(emitted_bytes_);
  tokens_.clear();
  emitted_bytes_ = 0;
  return rest;
}

}  // namespace flame::text
