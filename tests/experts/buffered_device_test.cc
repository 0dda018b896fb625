#include "flame/experts/buffered_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <rapidcheck/gtest.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <new>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <thread>

#include "experts/tiny_bundle.h"
#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/base/json.h"
#include "flame/base/thread_pool.h"
#include "flame/experts/mapped_device.h"
#include "flame/io/file.h"
#include "flame/model/generation.h"
#include "support/faulty_reader.h"

// Sanitizers have an operator new of their own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
namespace {

// Allocations of this thread while it asks for them to be counted.
thread_local bool count_allocations = false;
thread_local std::size_t allocations = 0;

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t bytes) {
  if (count_allocations) ++allocations;
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif

namespace flame::experts {
namespace {

using kernels::PackedType;
using test::FaultPlan;
using test::FaultyReader;
using test::TinyModel;
using testing::HasSubstr;

using Tokens = std::vector<std::vector<std::int32_t>>;

const Tokens kInputs{{5, 9, 100, 7, 33, 150, 12, 1}, {44, 8, 1}, {61, 62, 63, 64, 65, 66, 1}};

Tokens generate(const TinyModel& model, model::MoeDevice& device, std::size_t beams = 1, std::size_t length = 12) {
  model::Generator generator(model.config, model.dense, device);
  model::GenerationOptions options;
  options.max_new_tokens = length;
  options.num_beams = beams;
  Tokens outputs;
  for (const model::GenerationResult& result : generator.generate(kInputs, options)) {
    outputs.push_back(result.sequences.front().tokens);
  }
  return outputs;
}

class BufferedDeviceTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    model_ = new TinyModel;
    bundle_ = new std::shared_ptr<const Bundle>(model_->pack("bundle", "2:4", PackedType::kInt8));
    // All experts in memory, on demand: the text that every other way must give.
    expected_ = new Tokens(generate(*model_, *open({})));
  }
  static void TearDownTestSuite() {
    delete expected_;
    delete bundle_;
    delete model_;
  }
  static std::unique_ptr<BufferedDevice> open(const BufferOptions& options) {
    return open_buffered_device(*bundle_, model_->dense, options);
  }
  static std::unique_ptr<BufferedDevice> open_faulty(const BufferOptions& options, const FaultPlan& plan,
                                                     std::uint64_t seed) {
    const std::string text = io::read_file((*bundle_)->experts_file());
    const auto bytes = std::as_bytes(std::span(text));
    return std::make_unique<BufferedDevice>(
        *bundle_, model_->dense, options,
        std::make_unique<FaultyReader>(std::vector<std::byte>(bytes.begin(), bytes.end()), plan, seed));
  }

  static TinyModel* model_;
  static std::shared_ptr<const Bundle>* bundle_;
  static Tokens* expected_;
};
TinyModel* BufferedDeviceTest::model_ = nullptr;
std::shared_ptr<const Bundle>* BufferedDeviceTest::bundle_ = nullptr;
Tokens* BufferedDeviceTest::expected_ = nullptr;

TEST_F(BufferedDeviceTest, ComputesExactlyWhatTheExpertsInMemoryCompute) {
  const std::string file = io::read_file((*bundle_)->experts_file());
  BufferOptions options;
  options.slots = 2;
  const auto device = open(options);
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (const std::size_t tokens : {1U, 2U, 40U}) {
    Matrix<float> hidden(tokens, model_->config.d_model);
    for (std::size_t t = 0; t < tokens; ++t) {
      for (float& value : hidden.row(t)) value = normal(random);
    }
    std::vector<std::uint32_t> sequence(tokens, 0);
    std::vector<model::RoutingDecision> decisions(tokens);
    Matrix<float> output(tokens, model_->config.d_model, 7.0F);
    device->begin_batch(1);
    for (std::uint32_t layer = 0; layer < 3; ++layer) {
      const model::MoeInput input{{model::Stack::kEncoder, layer}, hidden, sequence};
      device->route(input, decisions);
      device->compute(input, decisions, output);
      for (std::size_t t = 0; t < tokens; ++t) {
        const StoredExpert& stored = (*bundle_)->expert((*bundle_)->grid().expert(layer, decisions[t].expert));
        const kernels::PackedExpertLayout& layout = (*bundle_)->layout(layer);
        const auto bytes = std::as_bytes(std::span(file)).subspan(stored.offset, layout.size_bytes());
        Matrix<float> expected(1, model_->config.d_model);
        kernels::run_expert(kernels::parts_of(layout, bytes), hidden.view().rows_from(t, 1),
                            std::span(&decisions[t].probability, 1), expected);
        EXPECT_TRUE(std::ranges::equal(output.row(t), expected.row(0))) << "token " << t;
      }
    }
  }
}

TEST_F(BufferedDeviceTest, TheTextIsTheSameForEveryBudgetPredictorAndReplacement) {
  for (const char* predictor :
       {"cepr", "incremental", "popularity", "random", "previous-token", "online", "none", "lru", "lifo"}) {
    for (const std::size_t slots : {1U, 2U, 5U, 12U, 48U}) {
      BufferOptions options;
      options.predictor = predictor;
      options.slots = slots;
      EXPECT_EQ(generate(*model_, *open(options)), *expected_) << predictor << " " << slots;
    }
  }
  for (const Replacement replacement : {Replacement::kNextUse, Replacement::kLru, Replacement::kLifo, Replacement::kLfu,
                                        Replacement::kLayerDistance, Replacement::kStatic}) {
    BufferOptions options;
    options.slots = 7;
    options.replacement = replacement;
    EXPECT_EQ(generate(*model_, *open(options)), *expected_) << name_of(replacement);
  }
}

TEST_F(BufferedDeviceTest, TheTextIsTheSameForEveryStorageAndThreadCount) {
  for (const auto backend :
       {io::StorageBackend::kAutomatic, io::StorageBackend::kThreads, io::StorageBackend::kMemoryMap}) {
    for (const std::size_t threads : {1U, 2U}) {
      ThreadPool::set_threads(threads);
      BufferOptions options;
      options.slots = 4;
      options.storage = backend;
      options.throttle = {400e6, 50e-6};
      EXPECT_EQ(generate(*model_, *open(options)), *expected_);
      options.verify = false;
      options.prefetch = false;
      EXPECT_EQ(generate(*model_, *open(options)), *expected_);
    }
  }
  ThreadPool::set_threads(0);
}

TEST_F(BufferedDeviceTest, ComputedInAMemoryMapTheTextIsTheSame) {
  MappedDevice device(*bundle_, model_->dense, 30.0);
  EXPECT_EQ(generate(*model_, device), *expected_);
  EXPECT_FALSE(device.statistics().counted) << "a map cannot tell";
  EXPECT_THAT(device.describe(), HasSubstr("memory map"));
}

TEST_F(BufferedDeviceTest, BeamsAreTheSameWithFewSlots) {
  const Tokens resident = generate(*model_, *open({}), 3);
  BufferOptions options;
  options.slots = 3;
  EXPECT_EQ(generate(*model_, *open(options), 3), resident);
}

TEST_F(BufferedDeviceTest, EveryLookupIsCountedOnceAndBytesAddUp) {
  BufferOptions options;
  options.slots = 6;
  const auto device = open(options);
  device->begin_statistics();
  (void)generate(*model_, *device);
  const model::MoeStatistics statistics = device->statistics();
  EXPECT_EQ(statistics.hits + statistics.late + statistics.misses, device->uses().all().size());
  EXPECT_GT(statistics.misses, 0U);
  const BufferReport report = device->report();
  // What is still under way, a load a slot at most, has delivered bytes that no load has answered for yet.
  const std::uint64_t answered =
      statistics.bytes_demand + statistics.bytes_prefetch_used + statistics.bytes_prefetch_wasted;
  EXPECT_LE(answered, report.storage.bytes);
  EXPECT_GE(answered + 6 * report.slot_bytes, report.storage.bytes);
  EXPECT_GE(statistics.bytes_demand, statistics.misses * report.slot_bytes);
  EXPECT_EQ(report.slots, 6U);
  // While the storage is busy at least one load is under way.
  EXPECT_GE(report.queue_depth, 1.0);
  EXPECT_LE(report.queue_depth, 6.0);
  options.slots = 1;
  options.predictor = "none";
  const auto one = open(options);
  (void)generate(*model_, *one);
  EXPECT_NEAR(one->report().queue_depth, 1.0, 1e-9) << "one slot: one load at a time";
}

TEST_F(BufferedDeviceTest, TheWholeRunIsTheSumOfItsBatches) {
  BufferOptions options;
  options.slots = 6;
  const auto device = open(options);
  PipelineStatistics sum;
  std::size_t logged = 0;
  std::uint64_t storage_bytes = 0;
  for (int batch = 0; batch < 3; ++batch) {
    device->begin_statistics();
    (void)generate(*model_, *device);
    sum += device->report().pipeline;
    logged += device->uses().all().size();
    storage_bytes = device->report().storage.bytes;
  }
  const BufferReport whole = device->whole_report();
  EXPECT_EQ(whole.pipeline.decoder.all(), sum.decoder.all());
  EXPECT_EQ(whole.pipeline.encoder.misses, sum.encoder.misses);
  EXPECT_EQ(whole.pipeline.bytes_demand, sum.bytes_demand);
  EXPECT_EQ(whole.pipeline.bytes_prefetch_used, sum.bytes_prefetch_used);
  EXPECT_GE(whole.pipeline.bytes_prefetch_wasted, sum.bytes_prefetch_wasted);  // more may have ended since
  EXPECT_DOUBLE_EQ(whole.pipeline.wait_seconds, sum.wait_seconds);
  EXPECT_EQ(device->whole_uses().all().size(), logged);
  EXPECT_GT(whole.storage.bytes, storage_bytes);
  EXPECT_GE(whole.pipeline.decoder.loaded, whole.pipeline.decoder.misses);
  EXPECT_LE(whole.pipeline.decoder.loaded, whole.pipeline.decoder.all());
}

TEST_F(BufferedDeviceTest, LoadedBeforehandNoExpertIsMissed) {
  const auto device = open({});
  device->load_all();
  device->begin_statistics();
  (void)generate(*model_, *device);
  EXPECT_EQ(device->statistics().misses + device->statistics().late, 0U);
  EXPECT_EQ(device->report().storage.bytes, 0U);
}

TEST_F(BufferedDeviceTest, WithRoomForAllEveryExpertIsLoadedOnce) {
  const auto device = open({});
  (void)generate(*model_, *device);
  device->begin_statistics();
  (void)generate(*model_, *device);
  EXPECT_EQ(device->statistics().misses, 0U);
  EXPECT_EQ(device->statistics().bytes_demand, 0U);
}

/// A device with every expert in memory, and the MoE layers of one decoder step.
class ResidentStep {
 public:
  ResidentStep(const TinyModel& model, std::unique_ptr<BufferedDevice> device)
      : device_(std::move(device)), hidden_(1, model.config.d_model, 0.25F), output_(1, model.config.d_model) {
    device_->begin_batch(1);
    run();
    // Experts that no text has wanted yet are loaded here, until none is missing.
    for (std::uint64_t missing = 1; missing > 0;) {
      device_->begin_statistics();
      run();
      missing = device_->statistics().misses + device_->statistics().late;
    }
  }
  void run() {
    device_->feed(token_);
    for (std::uint32_t layer = 0; layer < 3; ++layer) {
      const std::span<float> row = hidden_.row(0);
      for (std::size_t i = 0; i < row.size(); ++i) row[i] = std::sin(static_cast<float>(i + layer));
      const model::MoeInput input{{model::Stack::kDecoder, layer}, hidden_, sequence_};
      device_->route(input, decisions_);
      device_->compute(input, decisions_, output_);
    }
  }
  BufferedDevice& device() { return *device_; }

 private:
  std::unique_ptr<BufferedDevice> device_;
  Matrix<float> hidden_;
  Matrix<float> output_;
  const std::vector<std::uint32_t> sequence_{0};
  const std::vector<std::int32_t> token_{7};
  std::vector<model::RoutingDecision> decisions_ = std::vector<model::RoutingDecision>(1);
};

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_F(BufferedDeviceTest, WhenAllIsResidentAStepAllocatesNothingAndAsksNothingOfTheStorage) {
  auto device = open({});
  (void)generate(*model_, *device);
  ResidentStep step(*model_, std::move(device));
  const std::uint64_t chunks = step.device().report().storage.chunks;
  count_allocations = true;
  allocations = 0;
  for (int i = 0; i < 20; ++i) step.run();
  count_allocations = false;
  EXPECT_EQ(allocations, 0U);
  EXPECT_EQ(step.device().report().storage.chunks, chunks);
  EXPECT_EQ(step.device().statistics().misses + step.device().statistics().late, 0U);
}

/// From now on the kernel ends this process at the calling thread's first system call, but for reading the clock (where
/// the vDSO cannot) and for exiting. A lock that is waited for is a futex call, and memory from the system an mmap or
/// brk.
void forbid_system_calls() {
  constexpr auto kNumber = static_cast<std::uint32_t>(offsetof(seccomp_data, nr));
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNumber),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{static_cast<unsigned short>(std::size(filter)), filter};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) != 0 ||
      ::prctl(PR_SET_SECCOMP, static_cast<unsigned long>(SECCOMP_MODE_FILTER), &program, 0UL, 0UL) != 0) {
    ::_exit(3);
  }
}

/// Returns when every other thread of the process sleeps. The device's own thread is still on its way there when its
/// last load is handed over, and holds the lock that a step then waits for.
void wait_for_other_threads_to_sleep() {
  const std::string self = std::to_string(::gettid());
  for (int quiet = 0; quiet < 100;) {
    bool asleep = true;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      if (task.path().filename() == self) continue;
      std::ifstream file(task.path() / "stat");
      const std::string line(std::istreambuf_iterator<char>(file), {});
      const std::size_t name_end = line.rfind(')');
      asleep = asleep && name_end != std::string::npos && line.compare(name_end, 3, ") S") == 0;
    }
    quiet = asleep ? quiet + 1 : 0;
    ::sched_yield();
  }
}

using SystemCallDeathTest = BufferedDeviceTest;

TEST_F(SystemCallDeathTest, WhenAllIsResidentAStepMakesNoSystemCallAndWaitsForNoLock) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const test::TemporariesIn childrens(*model_ / "childrens");
  const auto run = [](bool break_the_rule) {
    ThreadPool::set_threads(1);
    ResidentStep step(*model_, open({}));
    wait_for_other_threads_to_sleep();
    forbid_system_calls();
    for (int i = 0; i < 20; ++i) step.run();
    if (break_the_rule) ::sched_yield();
    ::_exit(0);
  };
  EXPECT_EXIT(run(false), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(run(true), testing::KilledBySignal(SIGSYS), "");  // the net has no holes
}
#endif

TEST_F(BufferedDeviceTest, RandomFaultsGiveTheRightTextOrAClearError) {
  int right = 0;
  int errors = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    FaultPlan plan;
    plan.error = seed % 3 == 0 ? 0.15 : 0.01;
    plan.short_read = 0.1;
    plan.corrupt = seed % 4 == 0 ? 0.2 : 0.02;
    plan.slow = 0.2;
    plan.reorder = true;
    BufferOptions options;
    options.slots = 1 + seed % 9;
    const auto device = open_faulty(options, plan, seed);
    try {
      EXPECT_EQ(generate(*model_, *device), *expected_) << seed;
      ++right;
    } catch (const DeviceError& error) {
      EXPECT_THAT(error.what(), HasSubstr("expert_"));
      EXPECT_THAT(error.what(), HasSubstr("offset"));
      ++errors;
    }
  }
  EXPECT_GT(right, 20);
  EXPECT_GT(errors, 0);
}

// Errors, short reads, flipped bits, slow and reordered reads, and a storage that falls silent: till ten thousand
// tokens have come right. After an error the same device goes on as soon as the storage does.
TEST_F(BufferedDeviceTest, TenThousandTokensUnderRandomFaultsAreRightOrAClearError) {
  constexpr std::size_t kLength = 60;
  const Tokens expected = generate(*model_, *open({}), 1, kLength);
  std::size_t tokens_a_run = 0;
  for (const auto& row : expected) tokens_a_run += row.size();
  const std::string text = io::read_file((*bundle_)->experts_file());
  const auto bytes = std::as_bytes(std::span(text));
  std::size_t right = 0;
  std::size_t errors = 0;
  std::size_t silences = 0;
  for (std::uint64_t seed = 0; right < 10'000; ++seed) {
    ASSERT_LT(seed, 1000U);
    FaultPlan plan;
    plan.error = seed % 5 == 0 ? 0.15 : 0.01;
    plan.short_read = 0.1;
    plan.corrupt = seed % 7 == 0 ? 0.2 : 0.02;
    plan.slow = 0.2;
    plan.reorder = true;
    if (seed % 4 == 3) plan.stuck_after = seed * 13 % 300;
    BufferOptions options;
    options.slots = 1 + seed % 24;
    options.predictor = seed % 2 == 0 ? "cepr" : "random";
    options.speculate_always = seed % 3 == 0;
    options.timeout_seconds = 0.2;
    auto reader = std::make_unique<FaultyReader>(std::vector<std::byte>(bytes.begin(), bytes.end()), plan, seed);
    FaultyReader* storage = reader.get();
    BufferedDevice device(*bundle_, model_->dense, options, std::move(reader));
    try {
      ASSERT_EQ(generate(*model_, device, 1, kLength), expected) << seed;
    } catch (const DeviceError& error) {
      const std::string message = error.what();
      EXPECT_THAT(message, HasSubstr("experts.safetensors"));
      const bool silent = message.find("within 0.2 s") != std::string::npos;
      if (!silent) {
        EXPECT_THAT(message, testing::AllOf(HasSubstr("expert_"), HasSubstr("offset")));
      }
      ++(silent ? silences : errors);
      storage->set_plan({});
      storage->wake();
      device.begin_statistics();
      ASSERT_EQ(generate(*model_, device, 1, kLength), expected) << seed << " after: " << message;
    }
    right += tokens_a_run;
  }
  EXPECT_GT(errors, 0U);
  EXPECT_GT(silences, 0U);
}

TEST_F(BufferedDeviceTest, AFileCutWhileInUseIsAClearErrorAndNoWrongText) {
  const auto bundle = model_->pack("cut", "2:4", PackedType::kInt8);
  const std::uintmax_t whole = std::filesystem::file_size(bundle->experts_file());
  const std::string text = io::read_file(bundle->experts_file());
  for (const auto backend :
       {io::StorageBackend::kAutomatic, io::StorageBackend::kThreads, io::StorageBackend::kMemoryMap}) {
    BufferOptions options;
    options.slots = 2;
    options.storage = backend;
    const auto device = open_buffered_device(bundle, model_->dense, options);
    EXPECT_EQ(generate(*model_, *device), *expected_);
    std::filesystem::resize_file(bundle->experts_file(), bundle->expert(1).offset + 5000);
    try {
      (void)generate(*model_, *device);
      ADD_FAILURE() << "experts that are gone gave a text";
    } catch (const DeviceError& error) {
      EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("experts.safetensors"), HasSubstr("has been cut"),
                                               HasSubstr("expert_"), HasSubstr("offset")));
    }
    std::ofstream(bundle->experts_file(), std::ios::binary | std::ios::in) << text;
    ASSERT_EQ(std::filesystem::file_size(bundle->experts_file()), whole);
    EXPECT_EQ(generate(*model_, *device), *expected_) << "whole again";
  }
}

TEST_F(BufferedDeviceTest, ACorruptExpertIsNeverComputedWith) {
  const std::string text = io::read_file((*bundle_)->experts_file());
  const auto bytes = std::as_bytes(std::span(text));
  std::vector<std::byte> damaged(bytes.begin(), bytes.end());
  for (ExpertIndex expert = 0; expert < (*bundle_)->grid().size(); ++expert) {
    const StoredExpert& stored = (*bundle_)->expert(expert);
    damaged.at(stored.offset + stored.stored_bytes / 2) ^= std::byte{4};
  }
  BufferOptions options;
  options.slots = 3;
  BufferedDevice device(*bundle_, model_->dense, options, std::make_unique<FaultyReader>(damaged, FaultPlan{}, 1));
  try {
    (void)generate(*model_, device);
    FAIL() << "damaged experts gave a text";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(), HasSubstr("checksum"));
    EXPECT_THAT(error.what(), HasSubstr("experts.expert_"));
  }
}

TEST_F(BufferedDeviceTest, AStorageThatHangsIsAnErrorInTime) {
  FaultPlan plan;
  plan.stuck = true;
  BufferOptions options;
  options.slots = 3;
  options.timeout_seconds = 0.05;
  const std::string text = io::read_file((*bundle_)->experts_file());
  const auto bytes = std::as_bytes(std::span(text));
  auto reader = std::make_unique<FaultyReader>(std::vector<std::byte>(bytes.begin(), bytes.end()), plan, 1);
  FaultyReader* storage = reader.get();
  BufferedDevice device(*bundle_, model_->dense, options, std::move(reader));
  try {
    (void)generate(*model_, device);
    FAIL() << "nothing can have been loaded";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(), HasSubstr("within 0.05 s"));
  }
  // And it can be used again when the storage answers.
  storage->set_plan({});
  storage->wake();
  EXPECT_EQ(generate(*model_, device), *expected_);
}

TEST_F(BufferedDeviceTest, AStorageThatNeverSpeaksAgainIsAnErrorAndNoHang) {
  const std::string text = io::read_file((*bundle_)->experts_file());
  const auto bytes = std::as_bytes(std::span(text));
  for (const std::uint64_t silent_after : {0U, 1U, 7U}) {
    FaultPlan plan;
    plan.stuck_after = silent_after;
    BufferOptions options;
    options.slots = 3;
    options.timeout_seconds = 0.05;
    auto reader = std::make_unique<FaultyReader>(std::vector<std::byte>(bytes.begin(), bytes.end()), plan, 1);
    EXPECT_THROW(
        {
          BufferedDevice device(*bundle_, model_->dense, options, std::move(reader));
          (void)generate(*model_, device);
        },
        DeviceError);
  }
}

TEST_F(BufferedDeviceTest, CtrlCIsNoticedWhileTheStorageIsSilent) {
  const std::string text = io::read_file((*bundle_)->experts_file());
  const auto bytes = std::as_bytes(std::span(text));
  FaultPlan plan;
  plan.stuck = true;
  BufferOptions options;
  options.timeout_seconds = 3600.0;
  auto reader = std::make_unique<FaultyReader>(std::vector<std::byte>(bytes.begin(), bytes.end()), plan, 1);
  FaultyReader* const storage = reader.get();
  BufferedDevice device(*bundle_, model_->dense, options, std::move(reader));
  std::thread user([storage] {
    while (storage->order().empty()) std::this_thread::yield();
    request_interrupt();
  });
  EXPECT_THROW((void)generate(*model_, device), Interrupted);
  user.join();
  clear_interrupt();
}

TEST_F(BufferedDeviceTest, ABudgetBelowOneExpertSaysWhatIsNeeded) {
  BufferOptions options;
  options.budget_bytes = 1000;
  try {
    (void)open(options);
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr(std::to_string((*bundle_)->slot_bytes())));
  }
  options.slots = 3;
  EXPECT_THROW((void)open(options), UsageError);
  options.slots = 0;
  options.budget_bytes = 3 * (*bundle_)->slot_bytes() + 5;
  EXPECT_EQ(slots_for(**bundle_, options), 3U);
}

TEST_F(BufferedDeviceTest, BoundsAreNoPredictors) {
  BufferOptions options;
  options.predictor = "oracle";
  EXPECT_THROW((void)open(options), UsageError);
  options.predictor = "tea-leaves";
  EXPECT_THROW((void)open(options), UsageError);
}

TEST_F(BufferedDeviceTest, SaysWhatItIs) {
  BufferOptions options;
  options.slots = 6;
  EXPECT_THAT(open(options)->describe(),
              testing::AllOf(HasSubstr("6 slots"), HasSubstr("48 experts"), HasSubstr("2:4 int8"), HasSubstr("cepr(3)"),
                             HasSubstr("next-use")));
}

// Storage so slow that nearly every load ahead is contradicted before half of it has come, and slots so few that
// computing waits for one to drain.
TEST_F(BufferedDeviceTest, TheTimelineHasEveryLoadAndAllWaiting) {
  const std::filesystem::path path = *model_ / "every.json";
  BufferOptions options;
  options.predictor = "cepr";
  options.speculate_always = true;
  options.throttle.bytes_per_second = 20e6;
  options.timeline = path;
  std::uint64_t broken_off = 0;
  std::uint64_t waits_for_a_slot = 0;
  for (const std::size_t slots : {1, 2, 3}) {
    options.slots = slots;
    const auto device = open(options);
    EXPECT_EQ(generate(*model_, *device), *expected_);
    device->finish();
    const PipelineStatistics counted = device->whole_report().pipeline;
    const Json events = parse_json(io::read_file(path), path);
    double waited = 0.0;
    std::map<std::string, std::uint64_t> kinds;
    for (const Json& event : events) {
      if (event["ph"] != "X") continue;
      const auto kind = event["cat"].get<std::string>();
      ++kinds[kind];
      if (kind.starts_with("wait for")) waited += 1e-6 * event["dur"].get<double>();
    }
    const double rounding = 1e-9 * static_cast<double>(events.size());  // three digits of a microsecond
    EXPECT_NEAR(waited, counted.wait_seconds, rounding) << slots;
    EXPECT_GT(counted.wait_seconds, 0.0);
    EXPECT_EQ(kinds["load"] + kinds["broken-off load"] + kinds["unfinished load"],
              counted.loads_demand + counted.loads_prefetch)
        << slots;
    EXPECT_EQ(kinds["broken-off load"], counted.cancelled) << slots;
    broken_off += counted.cancelled;
    waits_for_a_slot += kinds["wait for a slot in"];
  }
  EXPECT_GT(broken_off, 0U);
  EXPECT_GT(waits_for_a_slot, 0U);
}

TEST_F(BufferedDeviceTest, TheTimelineIsAChromeTrace) {
  const std::filesystem::path path = *model_ / "timeline.json";
  BufferOptions options;
  options.slots = 3;
  options.timeline = path;
  const auto device = open(options);
  (void)generate(*model_, *device);
  device->finish();
  const Json events = parse_json(io::read_file(path), path);
  std::map<std::string, int> kinds;
  std::map<int, std::map<double, double>> rows;  // begin to end
  for (const Json& event : events) {
    if (event["ph"] != "X") continue;
    ++kinds[event["cat"].get<std::string>()];
    EXPECT_GE(event["dur"].get<double>(), 0.0);
    const double begin = event["ts"].get<double>();
    rows[event["tid"].get<int>()][begin] = begin + event["dur"].get<double>();
  }
  for (const auto& [row, spans] : rows) {
    double last = 0.0;
    for (const auto& [begin, end] : spans) {
      EXPECT_GE(begin, last - 0.01) << "events of row " << row << " overlap";
      last = end;
    }
  }
  for (const char* kind : {"route", "compute", "load", "wait for"}) EXPECT_GT(kinds[kind], 0) << kind;
}

}  // namespace
}  // namespace flame::experts
