// Profiles as versioned JSON; docs/routing.md gives the format.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/io/atomic_output.h"
#include "flame/io/file.h"
#include "flame/routing/predictor.h"
#include "flame/routing/profile.h"

namespace flame::routing {
namespace {

constexpr std::string_view kFormat = "flame-profile";
constexpr int kVersion = 1;
constexpr std::size_t kFingerprintDigits = 10;  // 40 bits

/// {"layer", "length", "keys": differences of the rising keys, "counts"}
Json counter_json(std::uint32_t layer, std::uint32_t length, const FlatCounter& counter) {
  Json keys = Json::array();
  Json counts = Json::array();
  std::uint64_t last = 0;
  for (const auto& [key, count] : counter.sorted()) {
    keys.push_back(key - last);
    counts.push_back(count);
    last = key;
  }
  return {{"layer", layer}, {"length", length}, {"keys", std::move(keys)}, {"counts", std::move(counts)}};
}

/// Six significant digits: what a float needs here, in the fewest characters.
Json number_json(float value) { return std::strtod(fmt::format("{:.6g}", value).c_str(), nullptr); }

Json numbers_json(const std::vector<float>& values) {
  Json array = Json::array();
  for (const float value : values) array.push_back(number_json(value));
  return array;
}

Json maps_json(const std::vector<LinearMap>& maps) {
  Json array = Json::array();
  for (const LinearMap& map : maps) {
    array.push_back({{"layer", map.layer},
                     {"depth", map.depth},
                     {"normalise", map.normalise},
                     {"weight", numbers_json(map.weight)},
                     {"bias", numbers_json(map.bias)}});
  }
  return array;
}

Json mixture_json(const Mixture& mixture) {
  Json weights = Json::array();
  for (const MixWeights& entry : mixture.weights) {
    weights.push_back({{"layer", entry.layer}, {"depth", entry.depth}, {"weight", numbers_json(entry.weight)}});
  }
  return {
      {"name", mixture.name}, {"context", mixture.context}, {"parts", mixture.parts}, {"weights", std::move(weights)}};
}

std::vector<std::uint64_t> unsigned_array(const JsonView& view) {
  if (!view.is_array()) view.fail("expected an array of whole numbers");
  std::vector<std::uint64_t> values;
  values.reserve(view.size());
  for (const Json& element : view.value()) {  // not through JsonView: there may be millions
    if (!element.is_number_unsigned()) view.fail(fmt::format("element {}: expected a whole number", values.size()));
    values.push_back(element.get<std::uint64_t>());
  }
  return values;
}

std::vector<float> float_array(const JsonView& view, std::size_t size) {
  if (!view.is_array() || view.size() != size) view.fail(fmt::format("expected an array of {} numbers", size));
  std::vector<float> values;
  values.reserve(size);
  for (const Json& element : view.value()) {
    if (!element.is_number()) view.fail(fmt::format("element {}: expected a number", values.size()));
    const double value = element.get<double>();
    if (!(std::abs(value) <= 1e30)) view.fail(fmt::format("element {}: {} is out of range", values.size(), value));
    values.push_back(static_cast<float>(value));
  }
  return values;
}

std::uint32_t small(const JsonView& view, std::string_view key, std::uint64_t maximum) {
  return static_cast<std::uint32_t>(view.at(key).as_unsigned(maximum));
}

void add_checked(const JsonView& where, std::uint64_t& sum, std::uint64_t count) {
  if (count > (std::uint64_t{1} << 60) - sum) where.fail("the counts add up to more than 2^60");
  sum += count;
}

/// Reads what counter_json wrote into `counter`. The keys' expert (and what lies above it) must be in range; the sum of
/// the counts is added to `sum`. `above`: how many values there may be above the context; 1: nothing is.
void read_counter(const JsonView& view, FlatCounter& counter, std::uint32_t bits, std::uint32_t length,
                  std::uint32_t experts, std::uint64_t above, std::uint64_t& sum) {
  const std::vector<std::uint64_t> keys = unsigned_array(view.at("keys"));
  const std::vector<std::uint64_t> counts = unsigned_array(view.at("counts"));
  if (keys.size() != counts.size()) view.fail(fmt::format("{} keys, but {} counts", keys.size(), counts.size()));
  const std::uint32_t context_bits = (length + 1) * bits;
  const bool fits = context_bits < 64 && above <= ~std::uint64_t{0} >> context_bits;
  const std::uint64_t largest = fits ? (above << context_bits) - 1 : ~std::uint64_t{0};
  std::uint64_t key = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if ((i > 0 && keys[i] == 0) || keys[i] > largest - key) view.fail(fmt::format("key {} is out of range", i));
    key += keys[i];
    for (std::uint32_t place = 0; place <= length; ++place) {
      if ((key >> (place * bits) & ((std::uint64_t{1} << bits) - 1)) >= experts) {
        view.fail(fmt::format("key {} names an expert that the model does not have", i));
      }
    }
    if (counts[i] == 0) view.fail(fmt::format("count {} is 0", i));
    add_checked(view, sum, counts[i]);
    counter.add(key, counts[i]);
  }
}

/// A number of layers ahead, `least` or more.
std::uint32_t depth_of(const JsonView& view, std::uint32_t least, std::uint32_t most) {
  const std::uint32_t depth = small(view, "depth", most);
  if (depth < least) view.at("depth").fail(fmt::format("expected {} to {}, found {}", least, most, depth));
  return depth;
}

/// Of what is fitted for a layer and depth there is one: which of two would count?
template <typename Fit>
void refuse_twice(const JsonView& entry, const std::vector<Fit>& others, const Fit& one) {
  const auto same = [&](const Fit& other) { return other.layer == one.layer && other.depth == one.depth; };
  if (std::any_of(others.begin(), others.end(), same)) entry.fail("this layer and depth are there twice");
}

/// Maps from the states of a layer are for it or those behind it; `nearest` is 0 where its own router is still to come.
std::vector<LinearMap> read_maps(const JsonView& view, const TraceInfo& model, std::uint32_t nearest) {
  std::vector<LinearMap> maps;
  for (std::size_t i = 0; i < view.size(); ++i) {
    const JsonView entry = view.element(i);
    LinearMap map;
    map.layer = small(entry, "layer", model.decoder_layers - 1);
    map.depth = depth_of(entry, nearest, kFittedDepth - 1 + nearest);
    refuse_twice(entry, maps, map);
    map.normalise = entry.at("normalise").as_bool();
    map.weight = float_array(entry.at("weight"), std::size_t{model.experts} * model.d_model);
    map.bias = float_array(entry.at("bias"), model.experts);
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace

/// Knows the profile's members, so that Profile itself needs no JSON in its header.
class ProfileJson {
 public:
  static Json write(const Profile& profile) {
    const TraceInfo& model = profile.model_;
    Json json = {{"format", kFormat}, {"version", kVersion}};
    json["model"] = {{"name", model.model},
                     {"checksum", model.checksum},
                     {"data", model.data},
                     {"decoding", model.decoding},
                     {"experts", model.experts},
                     {"encoder_layers", model.encoder_layers},
                     {"decoder_layers", model.decoder_layers},
                     {"d_model", model.d_model},
                     {"vocabulary", model.vocabulary}};
    json["options"] = {{"max_order", profile.options_.max_order},
                       {"max_depth", profile.options_.max_depth},
                       {"token_order", profile.options_.token_order}};
    json["steps"] = profile.steps_;
    std::string fingerprints;
    for (const std::uint64_t fingerprint : profile.fingerprints_) {
      fingerprints += fmt::format("{:0{}x}", fingerprint, kFingerprintDigits);
    }
    json["examples"] = std::move(fingerprints);
    json["contexts"] = counters(profile.contexts_, profile.history_ + 1);
    json["tokens"] = counters(profile.tokens_, profile.options_.token_order + 1);
    json["previous"] = profile.previous_;
    json["encoder"] = profile.encoder_;
    Json paths = Json::array();
    Json path_counts = Json::array();
    for (const auto& [path, tokens] : profile.paths_) {
      for (const std::uint16_t expert : path) paths.push_back(expert);
      path_counts.push_back(tokens);
    }
    json["paths"] = {{"experts", std::move(paths)}, {"counts", std::move(path_counts)}};
    Json fitted = Json::object();
    const Fitted& learned = profile.fitted_;
    if (!learned.router.empty()) fitted["router"] = maps_json(learned.router);
    if (!learned.maps.empty()) fitted["maps"] = maps_json(learned.maps);
    if (!learned.approach.empty()) fitted["approach"] = maps_json(learned.approach);
    for (const Mixture& mixture : learned.mixtures) fitted["mixtures"].push_back(mixture_json(mixture));
    if (!fitted.empty()) json["fitted"] = std::move(fitted);
    return json;
  }

  static Profile read(const JsonView& root) {
    if (const auto format = root.find("format"); !format || format->as_string() != kFormat) {
      root.fail("not a profile: \"format\" is not \"flame-profile\"");
    }
    if (const std::int64_t version = root.at("version").as_integer(); version != kVersion) {
      root.fail(
          fmt::format("profile version {} is not {}: make the profile again with flame profile", version, kVersion));
    }
    Profile profile(read_model(root.at("model")), read_options(root.at("options")));
    profile.steps_ = root.at("steps").as_unsigned(std::uint64_t{1} << 60);
    read_fingerprints(root.at("examples"), profile);
    read_counters(root.at("contexts"), profile, profile.contexts_, profile.history_ + 1, 1);
    const std::uint64_t tokens = profile.model_.vocabulary > 0 ? profile.model_.vocabulary : std::uint64_t{1} << 31;
    read_counters(root.at("tokens"), profile, profile.tokens_, profile.options_.token_order + 1, tokens);
    read_array(root.at("previous"), profile.previous_);
    read_array(root.at("encoder"), profile.encoder_);
    read_paths(root.at("paths"), profile);
    if (const auto fitted = root.find("fitted")) read_fitted(*fitted, profile);
    return profile;
  }

 private:
  static Json counters(const std::vector<FlatCounter>& counters, std::uint32_t lengths) {
    Json array = Json::array();
    for (std::size_t i = 0; i < counters.size(); ++i) {
      if (counters[i].size() == 0) continue;
      array.push_back(
          counter_json(static_cast<std::uint32_t>(i / lengths), static_cast<std::uint32_t>(i % lengths), counters[i]));
    }
    return array;
  }

  static TraceInfo read_model(const JsonView& view) {
    TraceInfo model;
    model.model = view.at("name").as_string();
    model.checksum = view.at("checksum").as_string();
    model.data = view.at("data").as_string();
    model.decoding = view.at("decoding").as_string();
    model.experts = small(view, "experts", 65535);
    model.encoder_layers = small(view, "encoder_layers", 4096);
    model.decoder_layers = small(view, "decoder_layers", 4096);
    model.d_model = small(view, "d_model", 1U << 20);
    model.vocabulary = small(view, "vocabulary", 1U << 30);
    if (model.experts == 0 || model.decoder_layers == 0) view.fail("a model without MoE layers in its decoder");
    // A few bytes of JSON must not ask for gigabytes.
    if (std::uint64_t{model.experts} * model.experts * model.decoder_layers > Profile::kMaximumPairs) {
      view.fail("more experts and layers than a profile can hold");
    }
    return model;
  }

  static ProfileOptions read_options(const JsonView& view) {
    ProfileOptions options;
    options.max_order = small(view, "max_order", 64);
    options.max_depth = small(view, "max_depth", 3);
    options.token_order = small(view, "token_order", 1);
    return options;
  }

  static void read_fingerprints(const JsonView& view, Profile& profile) {
    const std::string text = view.as_string();
    if (text.size() % kFingerprintDigits != 0 || text.find_first_not_of("0123456789abcdef") != std::string::npos) {
      view.fail("expected 10 hexadecimal digits an example");
    }
    for (std::size_t i = 0; i < text.size(); i += kFingerprintDigits) {
      profile.fingerprints_.push_back(std::strtoull(text.substr(i, kFingerprintDigits).c_str(), nullptr, 16));
    }
    if (!std::is_sorted(profile.fingerprints_.begin(), profile.fingerprints_.end())) {
      view.fail("the examples' fingerprints are not in rising order");
    }
  }

  static void read_counters(const JsonView& view, const Profile& profile, std::vector<FlatCounter>& counters,
                            std::uint32_t lengths, std::uint64_t above) {
    std::vector<std::uint64_t> sums(profile.layers(), 0);
    for (std::size_t i = 0; i < view.size(); ++i) {
      const JsonView entry = view.element(i);
      const std::uint32_t layer = small(entry, "layer", profile.layers() - 1);
      const std::uint32_t length = small(entry, "length", lengths - 1);
      FlatCounter& counter = counters[std::size_t{layer} * lengths + length];
      if (counter.size() != 0) entry.fail("this layer and length are there twice");
      read_counter(entry, counter, profile.bits_, length, profile.experts(), above, sums[layer]);
    }
    for (std::size_t layer = 0; layer < sums.size(); ++layer) {
      if (sums[layer] != profile.steps_) {
        view.fail(fmt::format("the counts of layer {} add up to {}, not to the {} steps", layer, sums[layer],
                              profile.steps_));
      }
    }
  }

  static void read_array(const JsonView& view, std::vector<std::uint64_t>& into) {
    std::vector<std::uint64_t> values = unsigned_array(view);
    if (values.size() != into.size())
      view.fail(fmt::format("expected {} numbers, found {}", into.size(), values.size()));
    std::uint64_t sum = 0;
    for (const std::uint64_t value : values) add_checked(view, sum, value);
    into = std::move(values);
  }

  static void read_paths(const JsonView& view, Profile& profile) {
    const std::vector<std::uint64_t> experts = unsigned_array(view.at("experts"));
    const std::vector<std::uint64_t> counts = unsigned_array(view.at("counts"));
    const std::size_t layers = profile.layers();
    if (experts.size() % layers != 0 || experts.size() / layers != counts.size()) {
      view.fail(fmt::format("expected {} experts a path", layers));
    }
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      std::vector<std::uint16_t> path;
      for (std::size_t layer = 0; layer < layers; ++layer) {
        if (experts[i * layers + layer] >= profile.experts()) view.fail(fmt::format("path {} has no such expert", i));
        path.push_back(static_cast<std::uint16_t>(experts[i * layers + layer]));
      }
      if (counts[i] == 0) view.fail(fmt::format("path {} has the count 0", i));
      add_checked(view, sum, counts[i]);
      if (!profile.paths_.emplace(std::move(path), counts[i]).second) view.fail(fmt::format("path {} comes twice", i));
    }
    if (sum != profile.steps_) view.fail("the paths' counts do not add up to the steps");
  }

  static std::string read_part(const JsonView& view) {
    const std::string name = view.as_string();
    const std::span<const std::string_view> known = predictor_names();
    if (std::find(known.begin(), known.end(), name) == known.end() || is_mixture(name) || !says_probabilities(name)) {
      view.fail(fmt::format("\"{}\" cannot be a part of a mixture", name));
    }
    return name;
  }

  static Mixture read_mixture(const JsonView& view, const Profile& profile) {
    Mixture mixture;
    mixture.name = view.at("name").as_string();
    if (!is_mixture(mixture.name)) view.at("name").fail(fmt::format("\"{}\" is no mixture", mixture.name));
    mixture.context = small(view, "context", profile.options_.max_order);
    if (mixture.context == 0) view.at("context").fail("a context of no experts");
    const JsonView parts = view.at("parts");
    if (parts.size() == 0) parts.fail("a mixture of nothing");
    for (std::size_t i = 0; i < parts.size(); ++i) {
      std::string part = read_part(parts.element(i));
      if (std::find(mixture.parts.begin(), mixture.parts.end(), part) != mixture.parts.end()) {
        parts.element(i).fail(fmt::format("the part {} is there twice", part));
      }
      mixture.parts.push_back(std::move(part));
    }
    const JsonView weights = view.at("weights");
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const JsonView entry = weights.element(i);
      MixWeights weight{small(entry, "layer", profile.layers() - 1), depth_of(entry, 1, kFittedDepth),
                        float_array(entry.at("weight"), mixture.parts.size())};
      refuse_twice(entry, mixture.weights, weight);
      mixture.weights.push_back(std::move(weight));
    }
    return mixture;
  }

  static void read_fitted(const JsonView& view, Profile& profile) {
    Fitted& fitted = profile.fitted_;
    if (const auto maps = view.find("router")) fitted.router = read_maps(*maps, profile.model_, 1);
    if (const auto maps = view.find("maps")) fitted.maps = read_maps(*maps, profile.model_, 1);
    if (const auto maps = view.find("approach")) fitted.approach = read_maps(*maps, profile.model_, 0);
    if (const auto mixtures = view.find("mixtures")) {
      for (std::size_t i = 0; i < mixtures->size(); ++i) {
        Mixture mixture = read_mixture(mixtures->element(i), profile);
        const auto same = [&](const Mixture& other) { return other.name == mixture.name; };
        if (std::any_of(fitted.mixtures.begin(), fitted.mixtures.end(), same)) {
          mixtures->element(i).at("name").fail(fmt::format("{} is there twice", mixture.name));
        }
        fitted.mixtures.push_back(std::move(mixture));
      }
    }
  }
};

Profile Profile::parse(const std::string& text, const std::filesystem::path& name) {
  const Json json = parse_json(text, name, {.bytes = std::size_t{1} << 30});
  return ProfileJson::read(JsonView(json, name));
}

Profile Profile::read(const std::filesystem::path& path) {
  return parse(io::read_file(path, io::FileSystem::real(), std::uint64_t{1} << 30), path);
}

std::string Profile::to_json() const { return to_text(ProfileJson::write(*this)); }

void Profile::write(const std::filesystem::path& path) const {
  io::AtomicFile output(path);
  output.file().append(to_json());
  output.file().append(std::string_view("\n"));
  output.commit();
}

}  // namespace flame::routing
