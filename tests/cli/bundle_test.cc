#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "cli/program.h"
#include "support/test_data.h"

namespace flame::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

json tokens_of(const std::string& model, std::vector<std::string> options) {
  std::vector<std::string> command{"generate",         model, "--text", "Ann: Are you coming? Bob: At six.",
                                   "--max-new-tokens", "8",   "--json"};
  command.insert(command.end(), options.begin(), options.end());
  const ProgramResult result = run_flame(command);
  EXPECT_EQ(result.exit_code, 0) << result.standard_error;
  return result.exit_code == 0 ? json::parse(result.standard_output).at("tokens") : json();
}

/// Some texts to compile with.
std::string write_texts(const std::filesystem::path& path) {
  std::ofstream file(path);
  for (int i = 0; i < 10; ++i) {
    file << json{{"dialogue", "Ann: Are you coming at " + std::to_string(i) + "? Bob: Yes."}}.dump() << "\n";
  }
  return path.string();
}

TEST(PackCommand, MakesABundleThatSaysTheSameWithAnyMemory) {
  const TemporaryDirectory directory;
  const std::string bundle = (directory / "bundle").string();
  const ProgramResult packed =
      run_flame({"pack", tiny_model().string(), "-o", bundle, "--pattern", "2:4", "--dtype", "int8"});
  EXPECT_EQ(packed.exit_code, 0) << packed.standard_error;
  EXPECT_THAT(packed.standard_output, HasSubstr("pruned to 2:4 by magnitude"));
  const ProgramResult whole = run_flame({"verify", bundle});
  EXPECT_EQ(whole.exit_code, 0) << whole.standard_error;
  EXPECT_THAT(whole.standard_output, HasSubstr("2:4 int8"));

  const json expected = tokens_of(bundle, {});
  EXPECT_FALSE(expected.empty());
  EXPECT_EQ(tokens_of(bundle, {"--slots", "1"}), expected);
  EXPECT_EQ(tokens_of(bundle, {"--slots", "2", "--storage", "threads"}), expected);
  EXPECT_EQ(tokens_of(bundle, {"--expert-memory", "1MiB", "--storage-bandwidth", "50MB/s"}), expected);
  EXPECT_EQ(tokens_of(bundle, {"--mapped", "--storage-timeout", "20s"}), expected);
  EXPECT_EQ(run_flame({"generate", bundle, "--text", "x", "--mapped", "--slots", "2"}).exit_code, 2);
}

TEST(GenerateCommand, AMapHasNoHitsOrBytesToTell) {
  const TemporaryDirectory directory;
  const std::string bundle = (directory / "bundle").string();
  ASSERT_EQ(run_flame({"pack", tiny_model().string(), "-o", bundle}).exit_code, 0);
  const ProgramResult mapped = run_flame(
      {"generate", bundle, "--text", "Ann: At six.", "--max-new-tokens", "3", "--mapped", "--stats", "--json"});
  EXPECT_EQ(mapped.exit_code, 0) << mapped.standard_error;
  const json statistics = json::parse(mapped.standard_output).at("stats");
  for (const char* const figure : {"hits", "late", "misses", "bytes_demand", "wait_seconds"}) {
    EXPECT_TRUE(statistics.at(figure).is_null()) << figure;
  }
  EXPECT_THAT(mapped.standard_error, Not(HasSubstr("hits")));
}

TEST(PackCommand, PackedDenselyInF32ItIsTheCheckpoint) {
  const TemporaryDirectory directory;
  const std::string bundle = (directory / "bundle").string();
  EXPECT_EQ(run_flame({"pack", tiny_model().string(), "-o", bundle, "--dtype", "f32"}).exit_code, 0);
  EXPECT_EQ(tokens_of(bundle, {"--slots", "2"}), tokens_of(tiny_model().string(), {}));
}

TEST(GenerateWithABundle, RefusesOptionsWithoutEffectAndSaysWhatIsOff) {
  const TemporaryDirectory directory;
  const std::string bundle = (directory / "bundle").string();
  ASSERT_EQ(run_flame({"pack", tiny_model().string(), "-o", bundle, "--dtype", "int8"}).exit_code, 0);
  const auto generate = [&](std::vector<std::string> options) {
    options.insert(options.begin(), {"generate", bundle, "--text", "Hello.", "--max-new-tokens", "3"});
    return run_flame(options);
  };
  for (const std::vector<std::string>& options : std::vector<std::vector<std::string>>{
           {"--context", "2"}, {"--predictor", "none", "--context", "2"}, {"--no-prefetch"}, {"--dtype", "f32"}}) {
    const ProgramResult result = generate(options);
    EXPECT_EQ(result.exit_code, 2) << options.front();
    EXPECT_EQ(result.standard_output, "") << options.front();
  }
  const ProgramResult unknown = generate({"--predictor", "ceppr"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.standard_error, HasSubstr("unknown predictor \"ceppr\""));
  const ProgramResult more_slots = generate({"--slots", "1000"});
  EXPECT_EQ(more_slots.exit_code, 0);
  EXPECT_THAT(more_slots.standard_error, HasSubstr("--slots 1000"));
  const ProgramResult unverified = generate({"--no-verify", "--stats"});
  EXPECT_EQ(unverified.exit_code, 0);
  EXPECT_THAT(unverified.standard_error, HasSubstr("not verified"));
}

TEST(GenerateWithABundle, PredictsWithAsMuchContextAsTheProfileCounted) {
  const TemporaryDirectory directory;
  const auto path = [&](const char* name) { return (directory / name).string(); };
  const auto expect_ok = [](const ProgramResult& result) { ASSERT_EQ(result.exit_code, 0) << result.standard_error; };
  expect_ok(
      run_flame({"trace", tiny_model().string(), "--text", "One text.", "--max-new-tokens", "8", "-o", path("trace")}));
  for (const char* order : {"1", "2"}) {
    const std::string profile = path("profile") + order;
    const std::string bundle = path("bundle") + order;
    expect_ok(run_flame({"profile", path("trace"), "-o", profile, "--order", order}));
    expect_ok(run_flame({"pack", tiny_model().string(), "-o", bundle, "--dtype", "int8", "--profile", profile}));
    const auto generate = [&](std::vector<std::string> options) {
      options.insert(options.begin(), {"generate", bundle, "--text", "Hello.", "--max-new-tokens", "3", "--stats"});
      return run_flame(options);
    };
    for (const char* predictor : {"auto", "cepr", "online", "popularity", "token", "random"}) {
      const ProgramResult result = generate({"--predictor", predictor});
      EXPECT_EQ(result.exit_code, 0) << predictor << ": " << result.standard_error;
    }
    EXPECT_THAT(generate({}).standard_error, HasSubstr(std::string("cepr(") + order + ")"));
    const ProgramResult beyond = generate({"--predictor", "cepr", "--context", "3"});
    EXPECT_EQ(beyond.exit_code, 2);
    EXPECT_THAT(beyond.standard_error, HasSubstr("a context of 3 experts is asked for"));
    const ProgramResult measured = run_flame({"bench", bundle, "--only", "both", "--budget", "50%", "--tokens", "3",
                                              "--input-tokens", "4", "--repeats", "1"});
    EXPECT_EQ(measured.exit_code, 0) << measured.standard_error;
  }
}

TEST(GenerateWithABundle, AStorageThatDoesNotAnswerEndsTheRunWithAMessage) {
  const TemporaryDirectory directory;
  const std::string bundle = (directory / "bundle").string();
  ASSERT_EQ(run_flame({"pack", tiny_model().string(), "-o", bundle, "--dtype", "int8"}).exit_code, 0);
  const std::vector<std::string> generate{"generate", bundle, "--text", "x", "--storage-latency", "900000s"};
  const auto with = [&](const char* timeout) {
    std::vector<std::string> command = generate;
    command.insert(command.end(), {"--storage-timeout", timeout});
    return run_flame(command);
  };
  const ProgramResult result = with("50ms");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.standard_error, HasSubstr("within 0.05 s"));
  EXPECT_EQ(with("0s").exit_code, 2);
  EXPECT_EQ(with("1e300s").exit_code, 2);
}

TEST(GenerateWithABundle, AnUnwritableTimelineIsOneMessageAndLeavesNothing) {
  const TemporaryDirectory directory;
  const std::string bundle = (directory / "bundle").string();
  ASSERT_EQ(run_flame({"pack", tiny_model().string(), "-o", bundle, "--dtype", "int8"}).exit_code, 0);
  const ProgramResult result =
      run_flame({"generate", bundle, "--text", "x", "--timeline", (directory / "none" / "t.json").string()});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.standard_error, HasSubstr("no such directory"));
  EXPECT_EQ(std::count(result.standard_error.begin(), result.standard_error.end(), '\n'), 1) << result.standard_error;
  EXPECT_FALSE(std::filesystem::exists(directory / "none"));
}

TEST(PackCommand, OptionsOfAnotherKindAreRefused) {
  const TemporaryDirectory directory;
  const std::string model = tiny_model().string();
  const std::string out = (directory / "out").string();
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"pack", model, "-o", out, "--dtype", "int8", "--int4-group", "32"},
                                             {"prune", model, "-o", out, "--pattern", "2:4", "--samples", "3"},
                                             {"prune", model, "-o", out, "--pattern", "2:4", "--damping", "0.1"},
                                             {"prune", model, "-o", out, "--pattern", "2:4", "--block", "4x4"},
                                             {"compile", model, "-o", out, "--data", "x", "--field", "d", "--method",
                                              "magnitude", "--calibration-samples", "3"}}) {
    const ProgramResult result = run_flame(command);
    EXPECT_EQ(result.exit_code, 2) << command.back();
    EXPECT_THAT(result.standard_error, HasSubstr("has no effect")) << result.standard_error;
  }
}

TEST(GenerateWithABundle, ABundleWithAChangedOrMissingFileIsRefused) {
  const TemporaryDirectory directory;
  const std::string bundle = (directory / "bundle").string();
  ASSERT_EQ(run_flame({"pack", tiny_model().string(), "-o", bundle, "--dtype", "int8"}).exit_code, 0);
  const auto refused = [&](const std::string& because) {
    const ProgramResult result = run_flame({"generate", bundle, "--text", "x"});
    EXPECT_EQ(result.exit_code, 1) << because;
    EXPECT_THAT(result.standard_error, HasSubstr(because));
  };
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(bundle)) files.push_back(entry.path());
  EXPECT_GE(files.size(), 4U);
  for (const std::filesystem::path& file : files) {
    std::filesystem::rename(file, directory / "away");
    refused(file.filename().string());
    std::filesystem::rename(directory / "away", file);
  }
  std::fstream(bundle + "/spiece.model", std::ios::in | std::ios::out | std::ios::binary).put('\x7f');
  refused("spiece.model: its checksum is");
}

TEST(VerifyCommand, NamesWhatIsDamaged) {
  const TemporaryDirectory directory;
  const std::string bundle = (directory / "bundle").string();
  EXPECT_EQ(run_flame({"pack", tiny_model().string(), "-o", bundle}).exit_code, 0);
  std::fstream file(directory / "bundle" / "experts.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(8192);
  file.put('\x7f').put('\x01').put('\x7f');
  file.close();
  const ProgramResult damaged = run_flame({"verify", bundle});
  EXPECT_EQ(damaged.exit_code, 1);
  EXPECT_THAT(damaged.standard_error, HasSubstr("experts.expert_"));
  EXPECT_EQ(run_flame({"verify", tiny_model().string()}).exit_code, 1);
}

TEST(PackCommand, WrongUseExitsWithTwo) {
  const TemporaryDirectory directory;
  const std::string model = tiny_model().string();
  const std::string out = (directory / "out").string();
  EXPECT_EQ(run_flame({"pack", model, "-o", out, "--dtype", "int3"}).exit_code, 2);
  EXPECT_EQ(run_flame({"pack", model, "-o", out, "--pattern", "5:4"}).exit_code, 2);
  EXPECT_EQ(run_flame({"pack", model, "-o", out, "--pattern", "decoder.77=2:4"}).exit_code, 2);
  EXPECT_FALSE(std::filesystem::exists(out));
  const ProgramResult too_little = [&] {
    EXPECT_EQ(run_flame({"pack", model, "-o", out}).exit_code, 0);
    return run_flame({"generate", out, "--text", "x", "--expert-memory", "16"});
  }();
  EXPECT_EQ(too_little.exit_code, 2);
  EXPECT_THAT(too_little.standard_error, HasSubstr("give at least"));
  EXPECT_EQ(run_flame({"pack", out, "-o", (directory / "again").string()}).exit_code, 2);
}

TEST(CompileCommand, DoesTheWholeOfflineStage) {
  const TemporaryDirectory directory;
  const std::string bundle = (directory / "bundle").string();
  const std::string texts = write_texts(directory / "texts.jsonl");
  const ProgramResult compiled = run_flame({"compile", tiny_model().string(), "--data", texts, "--field", "dialogue",
                                            "--max-new-tokens", "6", "-o", bundle});
  EXPECT_EQ(compiled.exit_code, 0) << compiled.standard_error;
  EXPECT_THAT(compiled.standard_output, HasSubstr("expected hit ratio"));
  EXPECT_THAT(compiled.standard_output, HasSubstr("predictor that its profile is best for: cepr"));
  EXPECT_FALSE(std::filesystem::exists(bundle + ".stages"));
  EXPECT_EQ(run_flame({"verify", bundle}).exit_code, 0);
  EXPECT_EQ(tokens_of(bundle, {"--slots", "3"}), tokens_of(bundle, {"--predictor", "none"}));
  EXPECT_EQ(tokens_of(bundle, {"--slots", "2", "--predictor", "online"}), tokens_of(bundle, {}));
  EXPECT_EQ(
      run_flame({"compile", tiny_model().string(), "--data", texts, "--field", "dialogue", "-o", bundle}).exit_code, 2);
}

TEST(CompileCommand, ProfilesWhatATraceOfTheBundleRecords) {
  const TemporaryDirectory directory;
  const std::string bundle = (directory / "bundle").string();
  const std::string trace = (directory / "trace").string();
  const std::string profile = (directory / "profile").string();
  const std::string texts = write_texts(directory / "texts.jsonl");
  const std::vector<std::string> input = {"--field", "dialogue", "--max-new-tokens", "6"};
  const auto run = [&](std::vector<std::string> command, const std::vector<std::string>& more) {
    command.insert(command.end(), more.begin(), more.end());
    const ProgramResult result = run_flame(command);
    ASSERT_EQ(result.exit_code, 0) << result.standard_error;
  };
  run({"compile", tiny_model().string(), "--data", texts, "--pattern", "1:4", "-o", bundle}, input);
  run({"trace", bundle, "--input", texts, "-o", trace}, input);
  run({"profile", trace, "-o", profile}, {});
  const auto read = [](const std::string& path) { return json::parse(std::ifstream(path)); };
  const json traced = read(profile);
  const json compiled = read(bundle + "/profile.json");
  for (const char* key : {"examples", "steps", "contexts", "tokens", "previous", "encoder", "paths"}) {
    EXPECT_EQ(traced.at(key), compiled.at(key)) << key;
  }
  EXPECT_EQ(traced.at("model").at("checksum"), compiled.at("model").at("checksum"));
  EXPECT_EQ(compiled.at("model").at("name"), tiny_model().string());
  // So a profile of a bundle's trace is one for the bundle, whatever expert memory it was traced with.
  run({"trace", bundle, "--text", "A text that the profile has not seen.", "--slots", "3", "-o", trace + "2"}, {});
  run({"eval", "prediction", trace + "2", "--profile", bundle + "/profile.json"}, {});
}

TEST(CompileCommand, CalibratesForTheMethodsThatNeedIt) {
  const TemporaryDirectory directory;
  const std::string texts = write_texts(directory / "texts.jsonl");
  for (const char* method : {"wanda", "sparsegpt"}) {
    const std::string bundle = (directory / method).string();
    const ProgramResult compiled =
        run_flame({"compile", tiny_model().string(), "--data", texts, "--field", "dialogue", "--max-new-tokens", "4",
                   "--method", method, "--calibration-samples", "4", "-o", bundle});
    EXPECT_EQ(compiled.exit_code, 0) << compiled.standard_error;
    EXPECT_THAT(compiled.standard_error, HasSubstr(std::string("prune: 2:4 by ") + method));
    EXPECT_EQ(run_flame({"verify", bundle}).exit_code, 0);
  }
}

TEST(CompileCommand, KnowsTheMethodsThatMakeAPattern) {
  const ProgramResult help = run_flame({"compile", "--help"});
  EXPECT_THAT(help.standard_output, HasSubstr("magnitude, wanda, sparsegpt"));
  const TemporaryDirectory directory;
  const ProgramResult result =
      run_flame({"compile", tiny_model().string(), "--data", write_texts(directory / "t.jsonl"), "--field", "dialogue",
                 "--method", "unstructured", "-o", (directory / "bundle").string()});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.standard_error, HasSubstr("method unstructured makes no N:M"));
  EXPECT_FALSE(std::filesystem::exists(directory / "bundle.stages"));
}

TEST(CompileCommand, MissingDataIsNamedAndLeavesNoStages) {
  const TemporaryDirectory directory;
  const ProgramResult result = run_flame({"compile", tiny_model().string(), "--data", (directory / "none").string(),
                                          "--field", "dialogue", "-o", (directory / "bundle").string()});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.standard_error, HasSubstr("none: cannot open: No such file"));
  EXPECT_FALSE(std::filesystem::exists(directory / "bundle.stages"));
}

TEST(CompileCommand, GoesOnFromFinishedStagesAndRefusesOthers) {
  const TemporaryDirectory directory;
  const std::string bundle = (directory / "bundle").string();
  const std::string texts = write_texts(directory / "texts.jsonl");
  std::vector<std::string> command{"compile",
                                   tiny_model().string(),
                                   "--data",
                                   texts,
                                   "--field",
                                   "dialogue",
                                   "--max-new-tokens",
                                   "6",
                                   "-o",
                                   bundle,
                                   "--dtype",
                                   "int3"};
  EXPECT_EQ(run_flame(command).exit_code, 2);
  // The stages of a run that was killed before packing: all but the bundle.
  command.back() = "int8";
  EXPECT_EQ(run_flame(command).exit_code, 0);
  std::filesystem::remove_all(bundle);
  std::filesystem::create_directories(bundle + ".stages");
  std::ofstream(bundle + ".stages/options") << "of another run";
  EXPECT_EQ(run_flame(command).exit_code, 2);
}

TEST(BenchCommand, RefusesOptionsThatChangeNothing) {
  const TemporaryDirectory directory;
  const std::string bundle = (directory / "bundle").string();
  ASSERT_EQ(run_flame({"pack", tiny_model().string(), "-o", bundle, "--dtype", "int8"}).exit_code, 0);
  const std::string work = (directory / "work").string();
  const std::string model = tiny_model().string();
  using Words = std::vector<std::string>;
  for (const auto& [words, said] : std::vector<std::pair<Words, std::string>>{
           {{bundle, "--pattern", "1:4"}, "--pattern has no effect on a bundle"},
           {{bundle, "--dtype", "int4"}, "--dtype has no effect on a bundle"},
           {{bundle, "--work", work}, "--work has no effect on a bundle"},
           {{bundle, "--only", "neither"}, "--only neither: a bundle has no dense experts"},
           {{bundle, "--only", "fastest"}, "fastest not in"},
           {{bundle, "--only", "resident", "--budget", "50%"}, "--budget has no effect on the configurations"},
           {{bundle, "--only", "resident", "--predictor", "cepr"}, "--predictor has no effect on the configurations"},
           {{bundle, "--predictor", "none", "--context", "2"}, "--context has no effect with --predictor none"},
           {{bundle, "--budget", "25x%"}, "neither a share"},
           {{bundle, "--storage-bandwidth", "0"}, "more than 0 bytes a second"},
           {{bundle, "--storage-latency-us", "1e300"}, "--storage-latency-us"},
           {{bundle, "--storage-latency-us", "nan"}, "--storage-latency-us"},
           {{"storage", bundle, "--storage-latency-us", "1e300"}, "--storage-latency-us"},
           {{bundle, "--budget", "1%"}, "--budget 1%: is"},
           {{bundle, "--route-trace", "t", "--work", work}, "--route-trace on a bundle"},
           {{bundle, "--only", "both", "mapped", "--storage-bandwidth", "1GB/s"}, "has no effect on mapped"},
           {{bundle, "--only", "mapped", "--storage", "threads"}, "has no effect on mapped"},
           {{model, "--work", bundle}, "is a model itself"},
           {{model, "--work", work, "--only", "N:M", "--dense-dtype", "bf16"}, "--dense-dtype has no effect"},
           {{model, "--work", work, "--only", "N:M", "--predictor", "auto"}, "--predictor has no effect"},
           {{model, "--work", work, "--only", "resident, reading"}, "name both too"},
           {{model, "--device", "fpga-sim", "--repeats", "5"}, "--repeats has no effect with --device fpga-sim"},
           {{model, "--device", "fpga-sim", "--budget", "1MiB", "2MiB"}, "takes one"},
           {{"--threads", "1", "storage", bundle}, "--threads has no effect on `flame bench storage`"}}) {
    Words command = words;
    command.insert(command.begin(), "bench");
    const ProgramResult result = run_flame(command);
    EXPECT_EQ(result.exit_code, 2) << said << result.standard_error;
    EXPECT_THAT(result.standard_error, HasSubstr(said));
  }
  EXPECT_FALSE(std::filesystem::exists(work)) << "nothing was packed before it was refused";
}

TEST(BenchCommand, PredictsFromTheHiddenStatesOfTheTraceThatItIsRoutedBy) {
  const TemporaryDirectory directory;
  const auto path = [&](const char* name) { return (directory / name).string(); };
  const std::string model = tiny_model().string();
  const std::string texts = write_texts(directory / "texts.jsonl");
  const auto trace = [&](const char* name, const std::vector<std::string>& more) {
    std::vector<std::string> command{"trace", model, "--input", texts, "--field", "dialogue", "--max-new-tokens",
                                     "4",     "-o",  path(name)};
    command.insert(command.end(), more.begin(), more.end());
    const ProgramResult result = run_flame(command);
    ASSERT_EQ(result.exit_code, 0) << result.standard_error;
  };
  trace("plain", {});
  trace("states", {"--hidden"});
  const auto bench = [&](const char* routed, const std::string& predictor, const std::vector<std::string>& more = {}) {
    std::vector<std::string> command{"bench",    model,  "--work",         path("work"), "--route-trace", path(routed),
                                     "--only",   "both", "--predictor",    predictor,    "--budget",      "50%",
                                     "--tokens", "2",    "--input-tokens", "4",          "--repeats",     "1"};
    command.insert(command.end(), more.begin(), more.end());
    return run_flame(command);
  };
  for (const char* predictor : {"lookahead", "pre-attention", "mix-hidden", "auto"}) {
    const ProgramResult seen = bench("states", predictor);
    EXPECT_EQ(seen.exit_code, 0) << predictor << seen.standard_error;
  }
  std::ifstream profile(path("work/profile.json"));
  EXPECT_THAT(std::string(std::istreambuf_iterator<char>(profile), {}), HasSubstr("mix-hidden"));
  for (const char* predictor : {"lookahead", "pre-attention", "mix-hidden"}) {
    const ProgramResult unseen = bench("plain", predictor);
    EXPECT_EQ(unseen.exit_code, 2) << predictor;
    EXPECT_THAT(unseen.standard_error, HasSubstr("flame trace --hidden"));
  }
  const ProgramResult routers = bench("states", "next-router");
  EXPECT_EQ(routers.exit_code, 2);
  EXPECT_THAT(routers.standard_error, HasSubstr("--profile of flame profile --fit --model"));
  const ProgramResult made = run_flame({"profile", path("states"), "--fit", "--model", model, "-o", path("own")});
  ASSERT_EQ(made.exit_code, 0) << made.standard_error;
  const ProgramResult applied = bench("states", "next-router", {"--profile", path("own")});
  EXPECT_EQ(applied.exit_code, 0) << applied.standard_error;
}

TEST(BenchCommand, ChangesNoBundleAndNoProfileThatItDidNotMake) {
  const TemporaryDirectory directory;
  const auto path = [&](const char* name) { return (directory / name).string(); };
  const std::string model = tiny_model().string();
  const std::string texts = write_texts(directory / "texts.jsonl");
  const auto expect_ok = [](const ProgramResult& result) { ASSERT_EQ(result.exit_code, 0) << result.standard_error; };
  expect_ok(run_flame(
      {"trace", model, "--input", texts, "--field", "dialogue", "--max-new-tokens", "4", "-o", path("trace")}));
  expect_ok(run_flame({"profile", path("trace"), "-o", path("profile")}));
  const auto bench = [&](const std::string& work) {
    return run_flame({"bench", model, "--work", path(work.c_str()), "--route-trace", path("trace"), "--only", "both",
                      "--budget", "50%", "--tokens", "2", "--input-tokens", "4", "--repeats", "1"});
  };
  expect_ok(bench("ours"));
  expect_ok(bench("ours"));
  const std::string theirs = path("theirs") + "/2_4-int8";
  expect_ok(run_flame({"pack", model, "-o", theirs, "--pattern", "2:4", "--profile", path("profile")}));
  const ProgramResult packed = bench("theirs");
  EXPECT_EQ(packed.exit_code, 2);
  EXPECT_THAT(packed.standard_error, HasSubstr("was not packed by flame bench"));
  expect_ok(run_flame({"verify", theirs}));
  std::ifstream before(path("profile"));
  std::ifstream after(theirs + "/profile.json");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(after), {}),
            std::string(std::istreambuf_iterator<char>(before), {}));
  std::filesystem::create_directories(path("other"));
  std::filesystem::copy_file(path("profile"), path("other") + "/profile.json");
  const ProgramResult profiled = bench("other");
  EXPECT_EQ(profiled.exit_code, 2);
  EXPECT_THAT(profiled.standard_error, HasSubstr("was not made by flame bench"));
}

TEST(OutputFiles, AreNeverWhatIsReadNorSomethingElsesFile) {
  const TemporaryDirectory directory;
  const auto path = [&](const char* name) { return (directory / name).string(); };
  const std::string bundle = path("bundle");
  ASSERT_EQ(run_flame({"pack", tiny_model().string(), "-o", bundle, "--dtype", "int8"}).exit_code, 0);
  ASSERT_EQ(run_flame({"trace", bundle, "--text", "x", "--max-new-tokens", "3", "-o", path("trace")}).exit_code, 0);
  const auto traced = std::filesystem::file_size(path("trace"));
  std::ofstream(path("notes.txt")) << "precious notes, longer than the beginning of a timeline";
  const auto generate = [&](const std::string& timeline) {
    return std::vector<std::string>{"generate", bundle,    "--text", "x",          "--max-new-tokens",
                                    "3",        "--slots", "3",      "--timeline", timeline};
  };
  for (const auto& [command, said] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {generate(bundle + "/flame.json"), "which is read here"},
           {generate(bundle + "/new.json"), "which is read here"},
           {generate(path("notes.txt")), "is no timeline"},
           {{"profile", path("trace"), "-o", path("trace")}, "is what is read here"},
           {{"profile", path("trace"), "-o", bundle + "/model.safetensors"}, "lies in a bundle"},
           {{"profile", path("trace"), "-o", path("notes.txt")}, "is no profile"},
           {{"trace", bundle, "--text", "x", "-o", bundle + "/trace"}, "which is read here"},
           {{"trace", bundle, "--text", "x", "-o", path("t2"), "--timeline", path("t2")}, "is what is written here"}}) {
    const ProgramResult result = run_flame(command);
    EXPECT_EQ(result.exit_code, 2) << said << result.standard_error;
    EXPECT_THAT(result.standard_error, HasSubstr(said));
  }
  EXPECT_EQ(run_flame({"verify", bundle}).exit_code, 0);
  EXPECT_EQ(std::filesystem::file_size(path("trace")), traced);
  for (int i = 0; i < 2; ++i) {  // a second one over the first
    EXPECT_EQ(run_flame(generate(path("timeline"))).exit_code, 0);
    EXPECT_EQ(run_flame({"profile", path("trace"), "-o", path("profile")}).exit_code, 0);
  }
}

TEST(PackCommand, ReplacesNothingThatItDidNotWrite) {
  const TemporaryDirectory directory;
  const std::string bundle = (directory / "bundle").string();
  const auto pack = [&](const std::string& output) {
    return run_flame({"pack", tiny_model().string(), "-o", output, "--dtype", "int8", "--replace"});
  };
  ASSERT_EQ(pack(bundle).exit_code, 0);
  ASSERT_EQ(pack(bundle + "/").exit_code, 0);
  std::filesystem::create_directory_symlink("bundle", directory / "link");
  ASSERT_EQ(pack((directory / "link").string()).exit_code, 0);
  EXPECT_TRUE(std::filesystem::is_symlink(directory / "link"));
  std::filesystem::create_directories(bundle + "/photos");
  std::ofstream(bundle + "/photos/a") << "x";
  const ProgramResult refused = pack(bundle);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.standard_error, HasSubstr("photos: flame.json does not name it"));
  EXPECT_TRUE(std::filesystem::exists(bundle + "/photos/a"));
}

TEST(GenerateWithABundle, TheTimeAllowedIsThatOfAWholeExpert) {
  const TemporaryDirectory directory;
  json config = json::parse(std::ifstream(data_path("cli/tiny.json")));
  config["d_model"] = 64;
  config["d_ff"] = 8192;
  config["num_experts"] = 2;
  std::ofstream(directory / "config.json") << config.dump();
  const std::string model = (directory / "model").string();
  const std::string bundle = (directory / "bundle").string();
  ASSERT_EQ(run_flame({"synth", (directory / "config.json").string(), "-o", model, "--tokenizer",
                       data_path("text/t5/spiece.model").string()})
                .exit_code,
            0);
  ASSERT_EQ(run_flame({"pack", model, "-o", bundle, "--dtype", "f32"}).exit_code, 0);
  // Each 256 KiB comes in 0.07 s, the 4 MiB of the expert in 1 s.
  const ProgramResult result = run_flame({"generate", bundle, "--text", "x", "--slots", "1", "--storage-bandwidth",
                                          "4MB/s", "--storage-timeout", "300ms"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.standard_error, HasSubstr("within 0.3 s"));
}

TEST(BenchCommand, RefusesAStorageThatCannotBeMeasured) {
  const TemporaryDirectory directory;
  const std::string file = (directory / "file").string();
  std::ofstream(file) << std::string(8192, 'x');
  const auto measure = [](std::vector<std::string> words) {
    words.insert(words.begin(), {"bench", "storage"});
    return run_flame(words);
  };
  const ProgramResult absent = measure({(directory / "none").string()});
  EXPECT_EQ(absent.exit_code, 1);
  EXPECT_THAT(absent.standard_error, HasSubstr("none: cannot open: No such file"));
  for (const std::string& path : {std::string("/dev/zero"), directory.path().string()}) {
    const ProgramResult result = measure({path});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.standard_error, HasSubstr("is not a regular file"));
  }
  for (const char* piece : {"0", "2GiB"}) {
    const ProgramResult result = measure({file, "--piece", piece});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.standard_error, HasSubstr("--piece"));
  }
  const ProgramResult measured = measure({file, "--piece", "4KiB", "--repeats", "1"});
  EXPECT_EQ(measured.exit_code, 0) << measured.standard_error;
  EXPECT_THAT(measured.standard_output, HasSubstr("memory map, page cache included"));
}

TEST(GenerateWithABundle, CountsThatNoNumberHoldsAreRefused) {
  const ProgramResult result =
      run_flame({"generate", tiny_model().string(), "--text", "x", "--slots", "18446744073709551616"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.standard_error, HasSubstr("more than can be counted"));
}

TEST(BenchCommand, MeasuresABundleAndTheStorage) {
  const TemporaryDirectory directory;
  const std::string bundle = (directory / "bundle").string();
  EXPECT_EQ(run_flame({"pack", tiny_model().string(), "-o", bundle, "--pattern", "2:4", "--dtype", "int8"}).exit_code,
            0);
  const ProgramResult measured = run_flame({"bench", bundle, "--predictor", "none", "--budget", "50%", "--tokens", "4",
                                            "--input-tokens", "8", "--repeats", "1", "--json"});
  ASSERT_EQ(measured.exit_code, 0) << measured.standard_error;
  const json results = json::parse(measured.standard_output).at("results");
  EXPECT_GE(results.size(), 6U);
  for (const char* batch : {"2", "4"}) {
    const ProgramResult together = run_flame({"bench", bundle, "--predictor", "none", "--only", "both", "--tokens", "4",
                                              "--input-tokens", "8", "--repeats", "1", "--batch", batch, "--json"});
    ASSERT_EQ(together.exit_code, 0) << together.standard_error;
    const json measured_together = json::parse(together.standard_output);
    EXPECT_EQ(measured_together.at("batch").get<int>(), std::stoi(batch));
    const json& first = measured_together.at("results").at(0);
    const json& lookups = first.at("decoder_lookups");
    EXPECT_GT(lookups.at("hits").get<int>() + lookups.at("late").get<int>() + lookups.at("misses").get<int>(), 0);
  }
  const ProgramResult reading =
      run_flame({"bench", bundle, "--predictor", "none", "--budget", "50%", "--only", "both", "resident, reading",
                 "--tokens", "8", "--input-tokens", "8", "--repeats", "1", "--json"});
  ASSERT_EQ(reading.exit_code, 0) << reading.standard_error;
  const json read = json::parse(reading.standard_output).at("results").at(2);
  EXPECT_EQ(read.at("configuration"), "resident, reading");
  EXPECT_EQ(read.at("hit_ratio").get<double>(), 1.0);
  EXPECT_EQ(read.at("wait_seconds").get<double>(), 0.0);
  EXPECT_GT(read.at("reading").at("asked_bytes_per_token").get<double>(), 0.0);
  EXPECT_LE(read.at("reading").at("read_bytes_per_token").get<double>(),
            2.0 * read.at("reading").at("asked_bytes_per_token").get<double>());
  EXPECT_EQ(read.at("reading").at("beside_budget_bytes"),
            json::parse(reading.standard_output).at("results").at(0).at("budget_bytes"));
  const ProgramResult alone = run_flame({"bench", bundle, "--only", "resident, reading"});
  EXPECT_EQ(alone.exit_code, 2);
  EXPECT_THAT(alone.standard_error, HasSubstr("name both too"));
  const ProgramResult mapped =
      run_flame({"bench", bundle, "--only", "mapped", "--tokens", "4", "--input-tokens", "8", "--repeats", "1"});
  EXPECT_EQ(mapped.exit_code, 0) << mapped.standard_error;
  EXPECT_THAT(mapped.standard_output, HasSubstr("mapped"));
  const ProgramResult in_a_map = run_flame(
      {"bench", bundle, "--only", "mapped", "--tokens", "4", "--input-tokens", "8", "--repeats", "1", "--json"});
  ASSERT_EQ(in_a_map.exit_code, 0) << in_a_map.standard_error;
  const json map = json::parse(in_a_map.standard_output).at("results").at(0);
  EXPECT_GT(map.at("seconds_per_token").at("median").get<double>(), 0.0);
  for (const char* figure : {"hit_ratio", "slots", "predictor", "wait_seconds", "ceilings", "queue_depth"}) {
    EXPECT_TRUE(map.at(figure).is_null()) << figure << ": a map has no such figure";
  }
  for (const json& result : results) {
    const double seconds = result.at("seconds_per_token").at("median").get<double>();
    EXPECT_GT(seconds, 0.0);
    if (result.at("scope") == "decoder") {
      const json& ceilings = result.at("ceilings");
      EXPECT_LE(result.at("kept_ratio"), ceilings.at("kept_ratio"));
      EXPECT_TRUE(ceilings.at("first_lookups").is_null()) << "they are of all";
      if (ceilings.at("hits_are_the_runs").get<bool>()) {
        EXPECT_EQ(ceilings.at("hit_ratio"), result.at("hit_ratio"));
      }
      if (ceilings.at("wait_is_the_runs").get<bool>()) {
        EXPECT_EQ(ceilings.at("wait_seconds"), result.at("wait_seconds"));
      }
      const json& encoder = result.at("encoder_lookups");
      EXPECT_LE(encoder.at("misses").get<int>(), encoder.at("loaded").get<int>()) << "each was loaded for";
      for (const char* bound : {"resident", "least", "needed"}) {
        EXPECT_GT(ceilings.at(bound + std::string("_seconds_per_token")).get<double>(), 0.0) << bound;
      }
    }
    EXPECT_EQ(result.at("device"), "cpu");
  }
  const ProgramResult storage = run_flame({"bench", "storage", bundle, "--repeats", "1", "--json"});
  ASSERT_EQ(storage.exit_code, 0) << storage.standard_error;
  EXPECT_GT(json::parse(storage.standard_output).at("results").at(0).at("bytes_per_second").get<double>(), 0.0);
}

}  // namespace
}  // namespace flame::test
