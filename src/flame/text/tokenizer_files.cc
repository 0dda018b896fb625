#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/text/sentencepiece_model.h"
#include "flame/text/tokenizer_parts.h"

namespace flame::text {
namespace {

constexpr std::string_view kSentencePieceFile = "spiece.model";
constexpr std::string_view kTokenizerJson = "tokenizer.json";
constexpr std::int64_t kMostExtraIds = 100'000;

/// Reads one model directory into TokenizerParts, as transformers 5's T5Tokenizer.from_pretrained does.
class Reader {
 public:
  Reader(const std::filesystem::path& directory, io::FileSystem& files)
      : directory_(directory), files_(files), parts_(std::make_unique<TokenizerParts>()) {}

  std::unique_ptr<TokenizerParts> read() {
    const bool sentencepiece = files_.exists(directory_ / kSentencePieceFile);
    if (!sentencepiece && !files_.exists(directory_ / kTokenizerJson)) {
      throw ModelError(fmt::format("{}: no tokenizer; looked for {} and {}", directory_.string(), kSentencePieceFile,
                                   kTokenizerJson));
    }
    config_ = read_json("tokenizer_config.json");
    const std::string source(sentencepiece ? kSentencePieceFile : kTokenizerJson);
    if (sentencepiece) {
      read_sentencepiece();
    } else {
      read_tokenizer_json();
    }
    add_configured_tokens();
    parts_->added_tokens.prepare(parts_->normalizer);
    for (const AddedToken& token : parts_->added_tokens.tokens()) {
      // tokenizers decodes such a token to the form in which it is searched for.
      if (token.normalized) {
        parts_->tokens[static_cast<std::size_t>(token.id)] = parts_->normalizer.normalize(token.content);
      }
    }
    if (!sentencepiece) read_post_processor();
    if (const auto clean_up = config_value("clean_up_tokenization_spaces")) {
      parts_->decoder.set_clean_up(clean_up->as_bool());
    }
    parts_->description =
        fmt::format("{}, {} pieces + {} added tokens", source, pieces_, parts_->tokens.size() - pieces_);
    return std::move(parts_);
  }

 private:
  // ---- files

  std::optional<Json> read_json(std::string_view name) {
    const std::filesystem::path path = directory_ / name;
    if (!files_.exists(path)) return std::nullopt;
    parts_->files.push_back(path);
    return parse_json(io::read_file(path, files_), path);
  }

  std::optional<JsonView> config_value(std::string_view key) const {
    if (!config_) return std::nullopt;
    return JsonView(*config_, directory_ / "tokenizer_config.json").find(key);
  }

  // ---- vocabulary

  void set_model(UnigramVocabulary vocabulary, const std::filesystem::path& path) {
    parts_->model = std::make_unique<UnigramModel>(std::move(vocabulary), path);
    for (const auto& piece : parts_->model->pieces()) {
      parts_->ids[piece.text] = static_cast<TokenId>(parts_->tokens.size());
      parts_->tokens.push_back(piece.text);
    }
  }

  /// The id of a token that may be new; new ones go behind all others.
  TokenId id_for(const std::string& content) {
    const auto [place, added] = parts_->ids.emplace(content, static_cast<TokenId>(parts_->tokens.size()));
    if (added) parts_->tokens.push_back(content);
    return place->second;
  }

  void add_token(AddedToken token) {
    token.id = id_for(token.content);
    parts_->added_tokens.add(std::move(token));
  }
  void add_special(const std::string& content) {
    if (parts_->added_tokens.find(content) == nullptr) add_token({.content = content, .special = true});
  }

  void read_sentencepiece() {
    const std::filesystem::path path = directory_ / kSentencePieceFile;
    parts_->files.push_back(path);
    SentencePieceModel read = read_sentencepiece_model(io::read_file(path, files_), path);
    pieces_ = read.vocabulary.pieces.size();
    if (read.charsmap) parts_->normalizer = Normalizer(*std::move(read.charsmap));
    // transformers makes the extra ids part of the vocabulary, with a score of 0.
    const auto extra_ids = config_value("extra_ids");
    std::vector<std::string> extra;
    for (std::int64_t i = extra_ids ? extra_ids->as_integer(0, kMostExtraIds) : 100; i-- > 0;) {
      extra.push_back(fmt::format("<extra_id_{}>", i));
      read.vocabulary.pieces.push_back({extra.back(), 0.0});
    }
    set_model(std::move(read.vocabulary), path);
    for (const std::string& token : extra) add_special(token);
    for (const TokenId id : read.control) add_special(parts_->tokens[static_cast<std::size_t>(id)]);
    for (const TokenId id : read.user_defined) add_token({.content = parts_->tokens[static_cast<std::size_t>(id)]});
  }

  void read_tokenizer_json() {
    const std::filesystem::path path = directory_ / kTokenizerJson;
    tokenizer_json_ = read_json(kTokenizerJson);
    const JsonView root(*tokenizer_json_, path);
    set_model(read_unigram_vocabulary(root.at("model")), path);
    pieces_ = parts_->tokens.size();
    // A missing part is what T5Tokenizer would put there.
    if (const auto normalizer = root.find("normalizer")) parts_->normalizer = Normalizer(*normalizer);
    if (const auto pre_tokenizer = root.find("pre_tokenizer")) parts_->pre_tokenizer = PreTokenizer(*pre_tokenizer);
    if (const auto decoder = root.find("decoder")) parts_->decoder = TokenDecoder(*decoder);
    if (const auto added = root.find("added_tokens")) {
      for (std::size_t i = 0; i < added->size(); ++i) {
        const AddedToken token = read_added_token(added->element(i), 0);
        add_token(token);
        if (const TokenId id = parts_->ids.at(token.content); id != token.id) {
          added->element(i).fail(fmt::format("the token \"{}\" has id {}, but its place in the vocabulary is {}",
                                             token.content, token.id, id));
        }
      }
    }
  }

  // ---- added tokens

  /// "</s>" or {"content": "</s>", …}
  static std::string content_of(const JsonView& token) {
    return token.is_object() ? token.at("content").as_string() : token.as_string();
  }

  void add_configured_tokens() {
    const std::optional<Json> map = read_json("special_tokens_map.json");
    std::vector<JsonView> sources;
    if (config_) sources.emplace_back(*config_, directory_ / "tokenizer_config.json");
    if (map) sources.emplace_back(*map, directory_ / "special_tokens_map.json");

    bool has_decoder = false;
    if (const auto decoder = config_value("added_tokens_decoder")) {
      has_decoder = true;
      std::map<std::int64_t, std::string> by_id;  // keys are numbers written as texts: sorted as numbers
      for (const std::string& key : decoder->keys()) {
        const bool number = !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos;
        if (!number) decoder->fail(fmt::format("the key \"{}\" is not a token id", key));
        by_id[std::stoll(key)] = key;
      }
      for (const auto& [id, key] : by_id) add_token(read_added_token(decoder->at(key), static_cast<TokenId>(id)));
    }
    add_named_tokens(sources);
    if (const std::optional<Json> added = read_json("added_tokens.json"); added && !has_decoder) {
      const JsonView root(*added, directory_ / "added_tokens.json");
      std::map<std::int64_t, std::string> by_id;
      for (const std::string& content : root.keys()) by_id[root.at(content).as_integer(0, 1 << 30)] = content;
      for (const auto& [id, content] : by_id) {
        if (parts_->added_tokens.find(content) == nullptr) add_token({.content = content, .normalized = true});
      }
    }
  }

  void add_named_tokens(const std::vector<JsonView>& sources) {
    std::map<std::string, std::string> named = {{"eos_token", "</s>"}, {"pad_token", "<pad>"}, {"unk_token", "<unk>"}};
    std::vector<std::string> others;
    for (const JsonView& source : sources) {
      for (auto& [key, content] : named) {
        if (const auto token = source.find(key)) content = content_of(*token);
      }
      for (const std::string_view key : {"bos_token", "sep_token", "cls_token", "mask_token"}) {
        if (const auto token = source.find(key)) others.push_back(content_of(*token));
      }
      for (const std::string_view key : {"additional_special_tokens", "extra_special_tokens"}) {
        const auto list = source.find(key);
        if (!list || !list->is_array()) continue;
        for (std::size_t i = 0; i < list->size(); ++i) others.push_back(content_of(list->element(i)));
      }
    }
    for (const auto& [key, content] : named) add_special(content);
    for (const std::string& content : others) add_special(content);
    parts_->pad = parts_->ids.at(named["pad_token"]);
    parts_->end = parts_->ids.at(named["eos_token"]);
    parts_->unknown = parts_->ids.at(named["unk_token"]);
    parts_->suffix = {parts_->end};
  }

  /// TemplateProcessing: special tokens before and behind the text. Without one, T5's: the end token behind it.
  void read_post_processor() {
    const auto processor = JsonView(*tokenizer_json_, directory_ / kTokenizerJson).find("post_processor");
    if (!processor) return;
    if (const std::string type = processor->at("type").as_string(); type != "TemplateProcessing") {
      throw ModelError(fmt::format("{}: {}: FLAME does not have the post-processor \"{}\"",
                                   processor->source().string(), processor->location(), type));
    }
    parts_->prefix.clear();
    parts_->suffix.clear();
    const JsonView single = processor->at("single");
    bool text_seen = false;
    for (std::size_t i = 0; i < single.size(); ++i) {
      const JsonView part = single.element(i);
      if (part.find("Sequence")) {
        if (text_seen) part.fail("the text stands in its template twice");
        text_seen = true;
        continue;
      }
      const std::string name = part.at("SpecialToken").at("id").as_string();
      const JsonView ids = processor->at("special_tokens").at(name).at("ids");
      for (std::size_t k = 0; k < ids.size(); ++k) {
        const auto id =
            static_cast<TokenId>(ids.element(k).as_integer(0, static_cast<std::int64_t>(parts_->tokens.size()) - 1));
        (text_seen ? parts_->suffix : parts_->prefix).push_back(id);
      }
    }
    if (!text_seen) single.fail("the text is not in its template");
  }

  std::filesystem::path directory_;
  io::FileSystem& files_;
  std::unique_ptr<TokenizerParts> parts_;
  std::size_t pieces_ = 0;  // in the file
  std::optional<Json> config_;
  std::optional<Json> tokenizer_json_;
};

}  // namespace

std::unique_ptr<TokenizerParts> read_tokenizer(const std::filesystem::path& directory, io::FileSystem& files) {
  return Reader(directory, files).read();
}

}  // namespace flame::text
