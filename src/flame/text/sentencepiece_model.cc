#include "flame/text/sentencepiece_model.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/utf8.h"

namespace flame::text {
namespace {

/// Walks the fields of a protocol buffer message. The library has parsed the bytes before, but offers no way to ask for
/// the normalizer's map or for a piece's type, so these two are read here.
class ProtobufFields {
 public:
  struct Field {
    std::uint64_t number = 0;
    std::uint64_t integer = 0;  // of a varint field
    std::string_view bytes;     // of a length-delimited field
  };

  ProtobufFields(std::string_view message, const std::filesystem::path& source) : rest_(message), source_(source) {}

  std::optional<Field> next() {
    if (rest_.empty()) return std::nullopt;
    const std::uint64_t tag = read_varint();
    Field field;
    field.number = tag >> 3;
    switch (tag & 7U) {
      case 0:
        field.integer = read_varint();
        break;
      case 1:
        take(8);
        break;
      case 2:
        field.bytes = take(read_varint());
        break;
      case 5:
        take(4);
        break;
      default:
        fail();
    }
    return field;
  }

 private:
  std::uint64_t read_varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1).front());
      value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
      if (byte < 0x80) return value;
    }
    fail();
  }
  std::string_view take(std::uint64_t length) {
    if (length > rest_.size()) fail();
    const std::string_view taken = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return taken;
  }
  [[noreturn]] void fail() const { throw FormatError(source_, "broken protocol buffer"); }

  std::string_view rest_;
  const std::filesystem::path& source_;
};

// Field numbers of sentencepiece_model.proto.
constexpr std::uint64_t kModelPieces = 1;
constexpr std::uint64_t kModelNormalizer = 3;
constexpr std::uint64_t kPieceType = 3;
constexpr std::uint64_t kTypeUserDefined = 4;
constexpr std::uint64_t kNormalizerCharsmap = 2;
constexpr std::uint64_t kNormalizerDummyPrefix = 3;

bool piece_is_user_defined(std::string_view piece, const std::filesystem::path& source) {
  ProtobufFields fields(piece, source);
  bool user_defined = false;
  while (const auto field = fields.next()) {
    if (field->number == kPieceType) user_defined = field->integer == kTypeUserDefined;
  }
  return user_defined;
}

}  // namespace

SentencePieceModel::SentencePieceModel(std::string_view bytes, const std::filesystem::path& source)
    : source_(source), processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
  if (const auto status = processor_->LoadFromSerializedProto(bytes); !status.ok()) {
    throw FormatError(source, fmt::format("not a SentencePiece model: {}", status.message()));
  }
  for (int id = 0; id < processor_->GetPieceSize(); ++id) pieces_.push_back(processor_->IdToPiece(id));
  const auto mark = std::find(pieces_.begin(), pieces_.end(), kSpaceMark);
  space_mark_id_ = mark == pieces_.end() ? unknown_id() : static_cast<TokenId>(mark - pieces_.begin());

  bool dummy_prefix = true;
  ProtobufFields model(bytes, source);
  while (const auto part = model.next()) {
    if (part->number == kModelPieces) user_defined_.push_back(piece_is_user_defined(part->bytes, source));
    if (part->number != kModelNormalizer) continue;
    ProtobufFields normalizer(part->bytes, source);
    while (const auto field = normalizer.next()) {
      if (field->number == kNormalizerCharsmap && !field->bytes.empty()) charsmap_.emplace(field->bytes, source);
      if (field->number == kNormalizerDummyPrefix) dummy_prefix = field->integer != 0;
    }
  }
  user_defined_.resize(pieces_.size());
  if (!dummy_prefix) {
    throw ModelError(
        fmt::format("{}: a SentencePiece model without add_dummy_prefix is not one of T5's kind", source.string()));
  }
}

SentencePieceModel::~SentencePieceModel() = default;

bool SentencePieceModel::is_control(TokenId id) const { return processor_->IsControl(id); }
bool SentencePieceModel::is_user_defined(TokenId id) const { return user_defined_[static_cast<std::size_t>(id)]; }
TokenId SentencePieceModel::unknown_id() const { return processor_->unk_id(); }

void SentencePieceModel::encode(std::string_view word, std::vector<TokenId>& ids) const {
  // The library puts the mark in front of the text itself, and gives nothing for a text that is the mark alone.
  if (word.starts_with(kSpaceMark)) word.remove_prefix(kSpaceMark.size());
  if (word.empty()) {
    ids.push_back(space_mark_id_);
    return;
  }
  std::vector<int> found;
  if (const auto status = processor_->Encode(word, &found); !status.ok()) {
    throw ModelError(fmt::format("{}: SentencePiece failed: {}", source_.string(), status.message()));
  }
  ids.insert(ids.end(), found.begin(), found.end());
}

}  // namespace flame::text
