#include "flame/eval/path_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "flame/routing/path_statistics.h"

namespace flame::eval {
namespace {

using routing::PathStatistics;
using routing::Profile;

std::optional<LayerPair> pair_shown(const Profile& profile, std::optional<LayerPair> pair) {
  if (!pair && profile.layers() > 1) pair = {0, 1};
  return pair;
}

double percent(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

std::string path_report_text(const Profile& profile, std::optional<LayerPair> pair) {
  const PathStatistics statistics = routing::path_statistics(profile);
  std::string text =
      fmt::format("{}\n{} examples, {} tokens, {} decoder MoE layers of {} experts\n\n", profile.model().model,
                  profile.examples(), statistics.tokens, profile.layers(), profile.experts());
  text += fmt::format(
      "{} of {:.0f} paths occur; the hottest takes {:.2f} % of the tokens, the ten hottest {:.2f} %\n\n",
      statistics.distinct, statistics.possible, 100.0 * statistics.top1_share, 100.0 * statistics.top10_share);
  text += fmt::format("{:>15}  {:>8}  {:>8}  {:>11}\n", "tokens a path", "paths", "% paths", "% of tokens");
  for (std::size_t i = 0; i < statistics.paths_by_tokens.size(); ++i) {
    text += fmt::format("{:>15}  {:>8}  {:>8.2f}  {:>11.2f}\n", routing::path_class_name(i),
                        statistics.paths_by_tokens[i], percent(statistics.paths_by_tokens[i], statistics.distinct),
                        percent(statistics.tokens_by_class[i], statistics.tokens));
  }
  text += "\nhottest paths\n";
  for (const routing::HotPath& path : statistics.hottest) {
    text += fmt::format("  {}  {:>8}  {:6.2f} %\n", fmt::join(path.experts, "-"), path.tokens,
                        percent(path.tokens, statistics.tokens));
  }
  text += "\nshare of each expert, in %\n";
  for (std::uint32_t layer = 0; layer < profile.layers(); ++layer) {
    text += fmt::format("  layer {:>2} ", layer);
    for (const std::uint64_t count : profile.popularity(layer))
      text += fmt::format(" {:5.1f}", percent(count, profile.steps()));
    text += "\n";
  }
  if (const auto shown = pair_shown(profile, pair)) {
    const std::vector<double> map = routing::conditional_heat_map(profile, shown->first, shown->second);
    text += fmt::format("\nP(expert of layer {} | expert of layer {}), in %\n", shown->second, shown->first);
    for (std::uint32_t row = 0; row < profile.experts(); ++row) {
      text += fmt::format("  {:>4} | ", row);
      for (std::uint32_t column = 0; column < profile.experts(); ++column) {
        text += fmt::format(" {:5.1f}", 100.0 * map[row * profile.experts() + column]);
      }
      text += "\n";
    }
  }
  return text;
}

Json path_report_json(const Profile& profile, std::optional<LayerPair> pair) {
  const PathStatistics statistics = routing::path_statistics(profile);
  Json histogram = Json::array();
  for (std::size_t i = 0; i < statistics.paths_by_tokens.size(); ++i) {
    histogram.push_back({{"tokens_a_path", routing::path_class_name(i)},
                         {"paths", statistics.paths_by_tokens[i]},
                         {"tokens", statistics.tokens_by_class[i]}});
  }
  Json hottest = Json::array();
  for (const routing::HotPath& path : statistics.hottest) {
    hottest.push_back({{"experts", path.experts}, {"tokens", path.tokens}});
  }
  Json popularity = Json::array();
  for (std::uint32_t layer = 0; layer < profile.layers(); ++layer) popularity.push_back(profile.popularity(layer));
  Json encoder = Json::array();
  for (std::uint32_t layer = 0; layer < profile.model().encoder_layers; ++layer) {
    const auto counts = profile.encoder_popularity(layer);
    encoder.push_back(std::vector<std::uint64_t>(counts.begin(), counts.end()));
  }
  Json json = {{"model", profile.model().model},
               {"checksum", profile.model().checksum},
               {"experts", profile.experts()},
               {"layers", profile.layers()},
               {"examples", profile.examples()},
               {"tokens", statistics.tokens},
               {"paths_possible", statistics.possible},
               {"paths_distinct", statistics.distinct},
               {"tokens_by_rank", statistics.tokens_by_rank},
               {"top1_share", statistics.top1_share},
               {"top10_share", statistics.top10_share},
               {"histogram", std::move(histogram)},
               {"hottest", std::move(hottest)},
               {"popularity", std::move(popularity)},
               {"encoder_popularity", std::move(encoder)}};
  if (const auto shown = pair_shown(profile, pair)) {
    json["heat_map"] = {{"from", shown->first},
                        {"to", shown->second},
                        {"probability", routing::conditional_heat_map(profile, shown->first, shown->second)}};
  }
  return json;
}

}  // namespace flame::eval
