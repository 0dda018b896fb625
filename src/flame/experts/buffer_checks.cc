#include "flame/experts/buffer_checks.h"

#include <fmt/format.h>

#include <optional>

#include "flame/experts/predictor_choice.h"
#include "flame/routing/predictor.h"
#include "flame/routing/profile.h"

namespace flame::experts {

std::vector<std::string> options_without_effect(const Bundle& bundle, const BufferOptions& options,
                                                const GivenOption& given) {
  std::vector<std::string> messages;
  std::optional<routing::Profile> profile;
  if (bundle.has_profile()) profile = bundle.profile();
  const PredictorChoice choice =
      choose_predictor(options.predictor, options.replacement, profile ? &*profile : nullptr);
  if (given("--context") && choice.predictor.empty()) {
    messages.push_back(options.predictor == "auto"
                           ? "--context has no effect: the bundle has no profile to predict from"
                           : fmt::format("--context has no effect with --predictor {}", options.predictor));
  } else if (given("--context") && !routing::has_order(choice.predictor)) {
    messages.push_back(
        fmt::format("--context has no effect with --predictor {}, only with cepr, incremental, backoff and online",
                    choice.predictor));
  }
  if (given("--replacement") && choice.replacement != options.replacement) {
    messages.push_back(fmt::format("--replacement {} has no effect: --predictor {} stands for a replacement itself",
                                   name_of(options.replacement), options.predictor));
  }
  if (given("--predictor") && !choice.predictor.empty() && !options.prefetch &&
      choice.replacement != Replacement::kNextUse) {
    messages.push_back(fmt::format("--predictor {} has no effect with --no-prefetch and --replacement {}",
                                   options.predictor, name_of(choice.replacement)));
  }
  if (given("--no-prefetch") && choice.predictor.empty()) {
    messages.push_back("--no-prefetch has no effect: nothing is predicted, so nothing is loaded ahead");
  }
  return messages;
}

}  // namespace flame::experts
