#include "text/t5_files.h"

#include <nlohmann/json.hpp>

#include "flame/io/file.h"
#include "flame/text/sentencepiece_model.h"
#include "support/test_data.h"

namespace flame::test {
namespace {

std::string base64_of(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      bits = (bits << 8) | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      text += i + k > bytes.size() ? '=' : kDigits[(bits >> (18 - 6 * k)) & 63U];
    }
  }
  return text;
}

/// The normalizer's map in T5's file: the longest length-delimited field 2 of message field 3. Found by its known
/// place, so that this does not depend on the reader under test.
std::string_view charsmap_of(std::string_view spiece) {
  constexpr std::string_view kName = "nmt_nfkc";
  std::size_t place = spiece.rfind(kName) + kName.size() + 1;  // behind the name, at the length of field 2
  std::size_t length = 0;
  for (unsigned shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(spiece[place++]);
    length |= static_cast<std::size_t>(byte & 0x7fU) << shift;
    if (byte < 0x80) break;
  }
  return spiece.substr(place, length);
}

}  // namespace

const std::string& t5_spiece() {
  static const std::string content = io::read_file(data_path("text/t5/spiece.model"));
  return content;
}

Json t5_tokenizer_json() {
  const text::SentencePieceModel model = text::read_sentencepiece_model(t5_spiece(), "spiece.model");
  Json vocabulary = Json::array();
  Json added = Json::array();
  for (const auto& piece : model.vocabulary.pieces) vocabulary.push_back({piece.text, piece.score});
  const auto add = [&](std::size_t id, const std::string& content) {
    added.push_back({{"id", id}, {"content", content}, {"special", true}, {"normalized", false}});
  };
  for (std::size_t id = 0; id < 3; ++id) add(id, model.vocabulary.pieces[id].text);
  for (int i = 99; i >= 0; --i) {
    const std::string name = "<extra_id_" + std::to_string(i) + ">";
    add(vocabulary.size(), name);
    vocabulary.push_back({name, 0.0});
  }
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", base64_of(charsmap_of(t5_spiece()))}}},
          {"pre_tokenizer", nullptr},
          {"post_processor", nullptr},
          {"decoder", nullptr},
          {"model", {{"type", "Unigram"}, {"unk_id", 2}, {"vocab", vocabulary}, {"byte_fallback", false}}}};
}

Json expected_file(const std::string& name) {
  const std::filesystem::path path = data_path("text/" + name);
  return parse_json(io::read_file(path), path);
}

}  // namespace flame::test
