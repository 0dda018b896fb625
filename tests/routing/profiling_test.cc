#include "flame/routing/profiling.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "flame/base/error.h"
#include "routing/synthetic_trace.h"
#include "support/test_data.h"

namespace flame::routing {
namespace {

class ProfilingTest : public ::testing::Test {
 protected:
  std::filesystem::path trace(const std::string& name, std::uint64_t seed) {
    const auto next = [](const std::vector<std::uint16_t>& path, std::uint32_t, std::int32_t token) {
      return static_cast<std::uint16_t>((path.size() + static_cast<std::size_t>(token)) % 4);
    };
    write_trace(directory_ / name, test::synthetic_trace(4, 3, 2, 5, seed, next));
    return directory_ / name;
  }
  std::string text_of(const Profile& profile) {
    profile.write(directory_ / "written");
    std::ifstream file(directory_ / "written", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  flame::test::TemporaryDirectory directory_;
  Distribution processes_;
};

TEST_F(ProfilingTest, MergedPartsAreTheProfileOfTheWhole) {
  const std::vector<std::filesystem::path> traces{trace("a", 1), trace("b", 2)};
  const std::optional<Profile> whole = profile_traces(traces, {}, processes_, {});
  ASSERT_TRUE(whole);
  std::vector<std::filesystem::path> parts;
  for (const std::filesystem::path& one : traces) {
    parts.push_back(one.string() + ".profile");
    profile_traces({&one, 1}, {}, processes_, {})->write(parts.back());
  }
  EXPECT_EQ(text_of(merge_profiles(parts)), text_of(*whole));
}

TEST_F(ProfilingTest, TellsProfilesFromTraces) {
  const std::filesystem::path file = trace("a", 1);
  EXPECT_FALSE(is_profile_file(file));
  profile_traces({&file, 1}, {}, processes_, {})->write(directory_ / "p");
  EXPECT_TRUE(is_profile_file(directory_ / "p"));
  EXPECT_THROW((void)is_profile_file(directory_ / "none"), FileError);
}

TEST_F(ProfilingTest, CountsWhatWasAskedFor) {
  const std::filesystem::path file = trace("a", 1);
  const std::optional<Profile> profile =
      profile_traces({&file, 1}, {.order = 2, .depth = 1, .token_order = 0}, processes_, {});
  EXPECT_EQ(profile->options().max_order, 2U);
  EXPECT_EQ(profile->options().max_depth, 1U);
  EXPECT_EQ(profile->options().token_order, 0U);
}

}  // namespace
}  // namespace flame::routing
