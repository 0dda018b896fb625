#include "flame/routing/profiling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <memory>
#include <utility>
#include <vector>

#include "flame/base/error.h"
#include "flame/io/checkpoint.h"
#include "flame/model/config.h"
#include "flame/model/weights.h"
#include "flame/routing/fit.h"
#include "flame/routing/trace.h"

namespace flame::routing {
namespace {

ProfileOptions counting_options(const CountingRequest& request, std::uint32_t experts) {
  ProfileOptions wanted;
  if (request.order) wanted.max_order = *request.order;
  if (request.depth) wanted.max_depth = *request.depth;
  if (request.token_order) wanted.token_order = *request.token_order;
  // What was asked for is taken at its word; only the defaults bend to what a key has room for.
  if (request.order || request.depth || request.token_order) return wanted;
  return fitting_options(wanted, experts);
}

std::vector<LinearMap> load_routers(const std::filesystem::path& model, std::uint32_t depth) {
  const auto checkpoint = std::make_shared<const io::Checkpoint>(io::Checkpoint::open(model));
  return router_maps(model::load_dense_weights(checkpoint, model::load_config(model)), depth);
}

}  // namespace

bool is_profile_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw FileError(path, "cannot be opened", errno);
  // A profile begins with a brace, a trace (safetensors) with eight bytes of a length far below 2^56.
  return file.peek() == '{';
}

std::optional<Profile> profile_traces(std::span<const std::filesystem::path> traces, const CountingRequest& request,
                                      const Distribution& processes,
                                      const std::function<void(std::size_t traces_done)>& on_progress) {
  std::optional<Profile> profile;
  for (std::size_t i = processes.rank(); i < traces.size(); i += processes.size()) {
    const Trace trace = read_trace(traces[i]);
    if (!profile) profile.emplace(trace.info, counting_options(request, trace.info.experts));
    profile->add(trace);
    if (on_progress) on_progress(i + 1);
  }
  std::optional<Profile> whole = processes.gather(std::move(profile));
  if (processes.rank() > 0) whole.reset();
  return whole;
}

void fit_traces(std::span<const std::filesystem::path> traces, std::optional<std::uint32_t> context,
                const std::optional<std::filesystem::path>& model, Profile& profile) {
  const std::uint32_t counted = profile.options().max_order;
  if (context && *context > counted) {
    throw UsageError(
        fmt::format("a context of {} experts is to be fitted, but the profile counts {} at most", *context, counted));
  }
  Trace all;
  for (const std::filesystem::path& path : traces) {
    Trace trace = read_trace(path, {.hidden = true, .approach = true});
    if (all.decoder.steps() == 0) {
      all = std::move(trace);
    } else {
      all.append(trace);
    }
  }
  std::vector<LinearMap> routers;
  if (model) routers = load_routers(*model, kFittedDepth);
  profile.set_fitted(fit(all, profile.options(), context.value_or(fitted_context(profile.options())), routers));
}

Profile merge_profiles(std::span<const std::filesystem::path> parts) {
  if (parts.empty()) throw UsageError("no profiles to merge");
  Profile whole = Profile::read(parts.front());
  for (const std::filesystem::path& part : parts.subspan(1)) whole.merge(Profile::read(part));
  return whole;
}

}  // namespace flame::routing
