#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>

#include "flame/routing/distributed.h"
#include "flame/routing/profile.h"

namespace flame::routing {

/// True for a profile, false for a trace (or anything else), by the first byte. Throws FileError.
[[nodiscard]] bool is_profile_file(const std::filesystem::path& path);

/// What is counted; what is not given is ProfileOptions' default, or less where a key has no room for that.
struct CountingRequest {
  std::optional<std::uint32_t> order, depth, token_order;
};

/// Counts trace files that are shared out over the processes of a parallel run. The whole profile on process 0, nothing
/// on the others. Throws as read_trace and Profile::add.
[[nodiscard]] std::optional<Profile> profile_traces(std::span<const std::filesystem::path> traces,
                                                    const CountingRequest& request, const Distribution& processes,
                                                    const std::function<void(std::size_t traces_done)>& on_progress);

/// Fits what is learned (fit.h) to the same traces and adds it to their profile. The mixtures' parts have contexts of
/// `context`, or of 4 and what the profile counted where that is less; UsageError for more than it counted. `model`,
/// where given, is the checkpoint whose routers are applied.
void fit_traces(std::span<const std::filesystem::path> traces, std::optional<std::uint32_t> context,
                const std::optional<std::filesystem::path>& model, Profile& profile);

/// The profile of all that the parts' profiles counted. Throws UsageError as Profile::merge.
[[nodiscard]] Profile merge_profiles(std::span<const std::filesystem::path> parts);

}  // namespace flame::routing
