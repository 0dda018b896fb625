#include "flame/text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/utf8.h"
#include "flame/text/tokenizer_parts.h"

namespace flame::text {

Tokenizer Tokenizer::open(const std::filesystem::path& model_directory, io::FileSystem& files) {
  return Tokenizer(read_tokenizer(model_directory, files));
}

Tokenizer::Tokenizer(std::unique_ptr<TokenizerParts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text) const {
  return encode(text, std::numeric_limits<std::size_t>::max());
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, std::size_t longest) const {
  const std::size_t special = parts_->prefix.size() + parts_->suffix.size();
  if (longest < special) {
    throw UsageError(fmt::format("{} tokens leave no room for the {} special ones", longest, special));
  }
  const std::size_t room = longest - parts_->suffix.size();
  if (const auto invalid = first_invalid_utf8(text)) {
    throw UsageError(fmt::format("the text is not valid UTF-8: byte {} is 0x{:02x}", *invalid,
                                 static_cast<unsigned char>(text[*invalid])));
  }
  std::vector<TokenId> ids = parts_->prefix;
  for (const AddedTokens::Part& part : parts_->added_tokens.split(text, parts_->normalizer)) {
    if (ids.size() >= room) break;
    if (part.token) {
      ids.push_back(*part.token);
      continue;
    }
    for (const std::string& word : parts_->pre_tokenizer.split(part.text, part.at_beginning)) {
      if (ids.size() >= room) break;
      parts_->model->encode(word, ids);
    }
  }
  ids.resize(std::min(ids.size(), room));
  ids.insert(ids.end(), parts_->suffix.begin(), parts_->suffix.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const TokenId id : ids) {
    if (id < 0 || static_cast<std::size_t>(id) >= size() || (skip_special_tokens && is_special(id))) continue;
    tokens.push_back(piece(id));
  }
  return parts_->decoder.decode(std::move(tokens));
}

std::size_t Tokenizer::size() const { return parts_->tokens.size(); }
TokenId Tokenizer::pad_id() const { return parts_->pad; }
TokenId Tokenizer::end_id() const { return parts_->end; }
TokenId Tokenizer::unknown_id() const { return parts_->unknown; }

bool Tokenizer::is_special(TokenId id) const {
  const AddedToken* const token = parts_->added_tokens.find(id);
  return token != nullptr && token->special;
}

std::string Tokenizer::piece(TokenId id) const { return parts_->tokens.at(static_cast<std::size_t>(id)); }

std::optional<TokenId> Tokenizer::id_of(std::string_view piece) const {
  const auto found = parts_->ids.find(std::string(piece));
  if (found == parts_->ids.end()) return std::nullopt;
  return found->second;
}

std::string Tokenizer::describe() const { return parts_->description; }
const std::vector<std::filesystem::path>& Tokenizer::files() const { return parts_->files; }

}  // namespace flame::text
