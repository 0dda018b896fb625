#include "flame/text/unigram_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/utf8.h"

namespace flame::text {
namespace {

/// What an unknown character scores below the lowest piece: kUnkPenalty of SentencePiece and tokenizers.
constexpr double kUnknownPenalty = 10.0;
constexpr std::size_t kMostPieces = std::size_t{1} << 24;

}  // namespace

UnigramVocabulary read_unigram_vocabulary(const JsonView& model) {
  if (const auto type = model.find("type"); type && type->as_string() != "Unigram") {
    throw ModelError(
        fmt::format("{}: a model of type \"{}\"; FLAME has Unigram only", model.source().string(), type->as_string()));
  }
  UnigramVocabulary vocabulary;
  const JsonView list = model.at("vocab");
  vocabulary.pieces.reserve(list.size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    const JsonView piece = list.element(i);
    if (piece.size() != 2) piece.fail("expected [piece, score]");
    vocabulary.pieces.push_back({piece.element(0).as_string(), piece.element(1).as_number()});
  }
  if (const auto unknown = model.find("unk_id")) {
    vocabulary.unknown =
        static_cast<TokenId>(unknown->as_integer(0, static_cast<std::int64_t>(vocabulary.pieces.size()) - 1));
  }
  if (const auto fallback = model.find("byte_fallback")) vocabulary.byte_fallback = fallback->as_bool();
  return vocabulary;
}

UnigramModel::UnigramModel(UnigramVocabulary vocabulary, const std::filesystem::path& source)
    : source_(source), vocabulary_(std::move(vocabulary)) {
  const auto& pieces = vocabulary_.pieces;
  if (pieces.empty() || pieces.size() > kMostPieces) {
    throw FormatError(source, fmt::format("a vocabulary of {} pieces; expected 1 to {}", pieces.size(), kMostPieces));
  }
  lowest_score_ = pieces.front().score;
  for (const auto& piece : pieces) lowest_score_ = std::min(lowest_score_, piece.score);
  build_trie();
  if (!vocabulary_.byte_fallback) return;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const std::string name = fmt::format("<0x{:02X}>", byte);
    const auto token =
        std::find_if(pieces.begin(), pieces.end(), [&](const auto& piece) { return piece.text == name; });
    if (token == pieces.end()) throw FormatError(source, fmt::format("byte_fallback without a piece {}", name));
    byte_tokens_.push_back(static_cast<TokenId>(token - pieces.begin()));
  }
}

void UnigramModel::build_trie() {
  std::vector<TokenId> order(vocabulary_.pieces.size());
  std::iota(order.begin(), order.end(), 0);
  const auto text = [&](TokenId id) { return std::string_view(vocabulary_.pieces[static_cast<std::size_t>(id)].text); };
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return text(a) < text(b); });

  // Breadth first, without recursion: pieces come from a file and may be of any length.
  struct Range {
    std::size_t node, begin, end, depth;
  };
  std::deque<Range> pending = {{0, 0, order.size(), 0}};
  nodes_.push_back({});
  while (!pending.empty()) {
    Range range = pending.front();
    pending.pop_front();
    // A piece that is there twice counts with its last id, as in tokenizers.
    for (; range.begin < range.end && text(order[range.begin]).size() == range.depth; ++range.begin) {
      nodes_[range.node].token = order[range.begin];
    }
    nodes_[range.node].first_child = static_cast<std::uint32_t>(nodes_.size());
    while (range.begin < range.end) {
      const char label = text(order[range.begin])[range.depth];
      std::size_t end = range.begin;
      while (end < range.end && text(order[end])[range.depth] == label) ++end;
      pending.push_back({nodes_.size(), range.begin, end, range.depth + 1});
      nodes_.push_back({.label = static_cast<std::uint8_t>(label)});
      ++nodes_[range.node].children;
      range.begin = end;
    }
  }
}

const UnigramModel::Node* UnigramModel::child(const Node& node, std::uint8_t label) const {
  const auto begin = nodes_.begin() + node.first_child;
  const auto end = begin + node.children;
  const auto found = std::lower_bound(begin, end, label, [](const Node& n, std::uint8_t l) { return n.label < l; });
  return found != end && found->label == label ? &*found : nullptr;
}

void UnigramModel::append_unknown(std::string_view text, std::vector<TokenId>& ids) const {
  if (!byte_tokens_.empty()) {
    for (const char c : text) ids.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
    return;
  }
  if (!vocabulary_.unknown) {
    throw ModelError(fmt::format("{}: the vocabulary lacks \"{}\" and has no unknown token", source_.string(), text));
  }
  ids.push_back(*vocabulary_.unknown);
}

void UnigramModel::encode(std::string_view word, std::vector<TokenId>& ids) const {
  /// The best cut that ends at a byte of the word.
  struct End {
    double score = 0.0;
    std::size_t start = 0;
    TokenId token = -1;  // -1: an unknown character
    bool reached = false;
  };
  std::vector<End> ends(word.size() + 1);
  const auto offer = [&](std::size_t start, std::size_t end, double score, TokenId token) {
    const double total = ends[start].score + score;
    if (!ends[end].reached || total > ends[end].score) ends[end] = {total, start, token, true};
  };
  for (std::size_t start = 0; start < word.size();) {
    std::size_t next = start;
    static_cast<void>(next_code_point(word, next));
    bool character_is_piece = false;
    const Node* node = &nodes_[0];
    for (std::size_t end = start; end < word.size();) {
      node = child(*node, static_cast<std::uint8_t>(word[end]));
      if (node == nullptr) break;
      ++end;
      if (node->token < 0) continue;
      offer(start, end, vocabulary_.pieces[static_cast<std::size_t>(node->token)].score, node->token);
      character_is_piece = character_is_piece || end == next;
    }
    if (!character_is_piece) offer(start, next, lowest_score_ - kUnknownPenalty, -1);
    start = next;
  }

  std::vector<std::pair<std::size_t, std::size_t>> cuts;  // [begin, end), last first
  std::vector<TokenId> tokens;
  for (std::size_t end = word.size(); end > 0;) {
    const End& best = ends[end];
    const bool unknown = best.token < 0 || best.token == vocabulary_.unknown;
    if (unknown && !tokens.empty() && tokens.back() < 0) {
      cuts.back().first = best.start;
    } else {
      cuts.emplace_back(best.start, end);
      tokens.push_back(unknown ? -1 : best.token);
    }
    end = best.start;
  }
  for (std::size_t i = cuts.size(); i-- > 0;) {
    if (tokens[i] >= 0) {
      ids.push_back(tokens[i]);
    } else {
      append_unknown(word.substr(cuts[i].first, cuts[i].second - cuts[i].first), ids);
    }
  }
}

}  // namespace flame::text
