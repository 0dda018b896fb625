#include "flame/experts/replacement.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <limits>
#include <string>
#include <utility>

#include "flame/base/error.h"

namespace flame::experts {
namespace {

constexpr std::array<std::pair<Replacement, const char*>, 6> kNames{{
    {Replacement::kNextUse, "next-use"},
    {Replacement::kLru, "lru"},
    {Replacement::kLifo, "lifo"},
    {Replacement::kLfu, "lfu"},
    {Replacement::kLayerDistance, "layer-distance"},
    {Replacement::kStatic, "static"},
}};

/// One virtual call a decision, not one an expert.
template <typename Worth>
std::size_t weakest_by(std::span<const ExpertIndex> resident, const Worth& worth) {
  std::size_t weakest = 0;
  auto least = worth(resident[0]);
  for (std::size_t i = 1; i < resident.size(); ++i) {
    const auto value = worth(resident[i]);
    if (value < least) {
      weakest = i;
      least = value;
    }
  }
  return weakest;
}

/// Least expected next use: the one policy that looks at the predictor.
class NextUse final : public ReplacementPolicy {
 public:
  [[nodiscard]] std::unique_ptr<ReplacementPolicy> clone() const override { return std::make_unique<NextUse>(*this); }
  [[nodiscard]] std::size_t weakest(std::span<const ExpertIndex> resident, const Outlook& outlook) const override {
    return weakest_by(resident, [&](ExpertIndex expert) { return outlook.use_rate(expert); });
  }
};

class Lru final : public ReplacementPolicy {
 public:
  explicit Lru(std::size_t experts) : last_(experts) {}
  [[nodiscard]] std::unique_ptr<ReplacementPolicy> clone() const override { return std::make_unique<Lru>(*this); }
  void loaded(ExpertIndex expert) override { last_[expert] = ++time_; }
  void used(ExpertIndex expert) override { last_[expert] = ++time_; }
  [[nodiscard]] std::size_t weakest(std::span<const ExpertIndex> resident, const Outlook&) const override {
    return weakest_by(resident, [&](ExpertIndex expert) { return last_[expert]; });
  }

 private:
  std::vector<std::uint64_t> last_;
  std::uint64_t time_ = 0;
};

class Lifo final : public ReplacementPolicy {
 public:
  explicit Lifo(std::size_t experts) : loaded_(experts) {}
  [[nodiscard]] std::unique_ptr<ReplacementPolicy> clone() const override { return std::make_unique<Lifo>(*this); }
  void loaded(ExpertIndex expert) override { loaded_[expert] = ++time_; }
  [[nodiscard]] std::size_t weakest(std::span<const ExpertIndex> resident, const Outlook&) const override {
    // The last to come has the lowest of the counts of what came after it.
    return weakest_by(resident, [&](ExpertIndex expert) { return time_ - loaded_[expert]; });
  }

 private:
  std::vector<std::uint64_t> loaded_;
  std::uint64_t time_ = 0;
};

class Lfu : public ReplacementPolicy {
 public:
  explicit Lfu(std::size_t experts) : uses_(experts) {}
  [[nodiscard]] std::unique_ptr<ReplacementPolicy> clone() const override { return std::make_unique<Lfu>(*this); }
  void used(ExpertIndex expert) override { uses_[expert] += 1.0; }
  [[nodiscard]] std::size_t weakest(std::span<const ExpertIndex> resident, const Outlook&) const override {
    return weakest_by(resident, [&](ExpertIndex expert) { return uses_[expert]; });
  }

 protected:
  std::vector<double> uses_;
};

/// EdgeMoE (Yi et al. 2023, section 3.3): activation frequency, weighed down by the distance of the layer in the order
/// in which layers run.
class LayerDistance final : public Lfu {
 public:
  using Lfu::Lfu;
  [[nodiscard]] std::unique_ptr<ReplacementPolicy> clone() const override {
    return std::make_unique<LayerDistance>(*this);
  }
  [[nodiscard]] std::size_t weakest(std::span<const ExpertIndex> resident, const Outlook& outlook) const override {
    const ExpertGrid& grid = outlook.grid();
    return weakest_by(resident, [&](ExpertIndex expert) {
      return (1.0 + uses_[expert]) / static_cast<double>(outlook.distance(grid.layer_of(expert)));
    });
  }
};

class StaticPopular final : public ReplacementPolicy {
 public:
  StaticPopular(std::size_t experts, std::span<const float> popularity) : popularity_(experts, 0.0F) {
    for (std::size_t i = 0; i < popularity.size(); ++i) popularity_[i] = popularity[i];
  }
  [[nodiscard]] std::unique_ptr<ReplacementPolicy> clone() const override {
    return std::make_unique<StaticPopular>(*this);
  }
  [[nodiscard]] std::size_t weakest(std::span<const ExpertIndex> resident, const Outlook&) const override {
    return weakest_by(resident, [&](ExpertIndex expert) { return popularity_[expert]; });
  }

 private:
  std::vector<float> popularity_;
};

}  // namespace

std::vector<std::string_view> replacement_names() {
  std::vector<std::string_view> names;
  for (const auto& [replacement, text] : kNames) names.emplace_back(text);
  return names;
}

Replacement parse_replacement(const std::string& name) {
  for (const auto& [replacement, text] : kNames) {
    if (name == text) return replacement;
  }
  throw UsageError(
      fmt::format("unknown replacement policy \"{}\": use one of {}", name, fmt::join(replacement_names(), ", ")));
}

const char* name_of(Replacement replacement) {
  for (const auto& [value, text] : kNames) {
    if (value == replacement) return text;
  }
  return "unknown";
}

std::unique_ptr<ReplacementPolicy> make_replacement(Replacement replacement, const ExpertGrid& grid,
                                                    std::span<const float> popularity) {
  const std::size_t experts = grid.size();
  switch (replacement) {
    case Replacement::kNextUse:
      return std::make_unique<NextUse>();
    case Replacement::kLru:
      return std::make_unique<Lru>(experts);
    case Replacement::kLifo:
      return std::make_unique<Lifo>(experts);
    case Replacement::kLfu:
      return std::make_unique<Lfu>(experts);
    case Replacement::kLayerDistance:
      return std::make_unique<LayerDistance>(experts);
    case Replacement::kStatic:
      return std::make_unique<StaticPopular>(experts, popularity);
  }
  throw UsageError("unknown replacement policy");
}

BeladyReplacement::BeladyReplacement(const ExpertGrid& grid, std::span<const ExpertIndex> uses)
    : next_(uses.size()), next_of_(grid.size(), std::numeric_limits<std::uint32_t>::max()) {
  if (uses.size() >= std::numeric_limits<std::uint32_t>::max()) {
    throw UsageError(fmt::format("{} lookups are more than Belady's bound can be reckoned for", uses.size()));
  }
  for (std::size_t i = uses.size(); i > 0; --i) {
    next_[i - 1] = next_of_[uses[i - 1]];
    next_of_[uses[i - 1]] = static_cast<std::uint32_t>(i - 1);
  }
}

void BeladyReplacement::used(ExpertIndex expert) {
  assert(next_of_[expert] == position_);
  next_of_[expert] = next_[position_];
  ++position_;
}

std::size_t BeladyReplacement::weakest(std::span<const ExpertIndex> resident, const Outlook&) const {
  return weakest_by(resident, [&](ExpertIndex expert) { return ~next_of_[expert]; });
}

}  // namespace flame::experts
