#include "flame/text/sentencepiece_model.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <cstdint>
#include <optional>

#include "flame/base/error.h"

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
constexpr std::uint64_t kModelTrainer = 2;
constexpr std::uint64_t kModelNormalizer = 3;
constexpr std::uint64_t kPieceType = 3;
constexpr std::uint64_t kTypeUserDefined = 4;
constexpr std::uint64_t kTrainerModelType = 3;
constexpr std::uint64_t kModelTypeUnigram = 1;
constexpr std::uint64_t kNormalizerCharsmap = 2;

/// The last value of an integer field; `missing` when the message does not have it.
std::uint64_t integer_field(std::string_view message, std::uint64_t number, std::uint64_t missing,
                            const std::filesystem::path& source) {
  ProtobufFields fields(message, source);
  std::uint64_t value = missing;
  while (const auto field = fields.next()) {
    if (field->number == number) value = field->integer;
  }
  return value;
}

}  // namespace

SentencePieceModel read_sentencepiece_model(std::string_view bytes, const std::filesystem::path& source) {
  sentencepiece::SentencePieceProcessor processor;
  if (const auto status = processor.LoadFromSerializedProto(bytes); !status.ok()) {
    throw FormatError(source, fmt::format("not a SentencePiece model: {}", status.message()));
  }
  SentencePieceModel model;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    model.vocabulary.pieces.push_back({processor.IdToPiece(id), static_cast<double>(processor.GetScore(id))});
    if (processor.IsControl(id)) model.control.push_back(id);
  }
  model.vocabulary.unknown = processor.unk_id();

  ProtobufFields parts(bytes, source);
  for (TokenId id = 0; const auto part = parts.next();) {
    if (part->number == kModelPieces) {
      if (integer_field(part->bytes, kPieceType, 0, source) == kTypeUserDefined) model.user_defined.push_back(id);
      ++id;
    } else if (part->number == kModelTrainer) {
      const std::uint64_t type = integer_field(part->bytes, kTrainerModelType, kModelTypeUnigram, source);
      if (type != kModelTypeUnigram) {
        throw ModelError(
            fmt::format("{}: a SentencePiece model of type {}; T5's kind is Unigram (1)", source.string(), type));
      }
    } else if (part->number == kModelNormalizer) {
      ProtobufFields normalizer(part->bytes, source);
      while (const auto field = normalizer.next()) {
        if (field->number == kNormalizerCharsmap && !field->bytes.empty()) model.charsmap.emplace(field->bytes, source);
      }
    }
  }
  return model;
}

}  // namespace flame::text
