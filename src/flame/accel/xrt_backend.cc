#include "flame/accel/xrt_backend.h"

#include <fmt/format.h>

#include "flame/base/error.h"

#ifdef FLAME_WITH_XRT

#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_kernel.h>
#include <xrt/xrt_uuid.h>

#include <chrono>
#include <cstring>
#include <map>
#include <string_view>

// The header moved between releases of XRT.
#if __has_include(<xrt/experimental/xrt_ip.h>)
#include <xrt/experimental/xrt_ip.h>
#else
#include <experimental/xrt_ip.h>
#endif

#include "flame/accel/registers.h"
#include "flame/base/byte_size.h"

namespace flame::accel {

namespace {

/// Argument numbers of the pointers in kernel.xml: commands, then the four weight channels.
constexpr int kCommandsArgument = 0;
constexpr int kFirstWeightsArgument = 1;

class XrtBackend final : public KernelBackend {
 public:
  explicit XrtBackend(const XrtOptions& options)
      : options_(options),
        device_(options.device),
        uuid_(device_.load_xclbin(options.binary)),
        groups_(memory_groups()),
        ip_(device_, uuid_, options.kernel) {}

  std::uint64_t allocate(std::size_t bytes, std::size_t port) override {
    return guarded(fmt::format("reserving {} for port {}", format_byte_size(bytes), port), [&] {
      xrt::bo buffer(device_, bytes, groups_.at(port));
      const std::uint64_t address = buffer.address();
      buffers_.insert_or_assign(address, std::move(buffer));
      return address;
    });
  }

  void release(std::uint64_t address) override { buffers_.erase(address); }

  void upload(std::uint64_t address, std::span<const std::uint8_t> bytes) override {
    guarded("writing to the card's memory", [&] {
      auto [buffer, offset] = buffer_at(address, bytes.size());
      buffer->write(bytes.data(), bytes.size(), offset);
      buffer->sync(XCL_BO_SYNC_BO_TO_DEVICE, bytes.size(), offset);
    });
  }

  void download(std::uint64_t address, std::span<std::uint8_t> bytes) override {
    guarded("reading the card's memory", [&] {
      auto [buffer, offset] = buffer_at(address, bytes.size());
      buffer->sync(XCL_BO_SYNC_BO_FROM_DEVICE, bytes.size(), offset);
      buffer->read(bytes.data(), bytes.size(), offset);
    });
  }

  void write_register(std::uint32_t offset, std::uint32_t value) override {
    guarded("writing a register", [&] { ip_.write_register(offset, value); });
  }
  std::uint32_t read_register(std::uint32_t offset) override {
    return guarded("reading a register", [&] { return ip_.read_register(offset); });
  }

  void run() override {
    write_register(registers::kControl, registers::kControlStart);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(options_.timeout_ms);
    // A layer takes tens of microseconds, less than an interrupt's way through the driver: poll.
    while ((read_register(registers::kControl) & registers::kControlDone) == 0) {
      if (std::chrono::steady_clock::now() > deadline) {
        throw DeviceError(
            fmt::format("the kernel was not done after {} ms (command {}); reset the card with `xbutil reset`",
                        options_.timeout_ms, read_register(registers::kStatus) >> 8));
      }
    }
  }

  void let_pass(std::uint64_t) override {}
  [[nodiscard]] double clock_mhz() const override { return options_.clock_mhz; }
  [[nodiscard]] std::string describe() const override {
    return fmt::format("{} on card {} through XRT", options_.kernel, options_.device);
  }

 private:
  /// What `call` returns; XRT's own exceptions become DeviceError.
  template <class Call>
  auto guarded(std::string_view what, const Call& call) const -> decltype(call()) {
    try {
      return call();
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      throw DeviceError(fmt::format("card {}: {} failed: {}", options_.device, what, error.what()));
    }
  }

  /// The memory bank that each port of the kernel is linked to. xrt::kernel knows them; it must be gone before xrt::ip
  /// asks for the compute unit alone.
  std::map<std::size_t, int> memory_groups() {
    const xrt::kernel kernel(device_, uuid_, options_.kernel);
    std::map<std::size_t, int> groups;
    groups[4] = kernel.group_id(kCommandsArgument);
    for (int channel = 0; channel < 4; ++channel) {
      groups[static_cast<std::size_t>(channel)] = kernel.group_id(kFirstWeightsArgument + channel);
    }
    return groups;
  }

  std::pair<xrt::bo*, std::size_t> buffer_at(std::uint64_t address, std::size_t bytes) {
    auto after = buffers_.upper_bound(address);
    if (after != buffers_.begin()) {
      auto& [start, buffer] = *std::prev(after);
      const std::uint64_t offset = address - start;
      if (offset <= buffer.size() && bytes <= buffer.size() - offset) return {&buffer, offset};
    }
    throw DeviceError(fmt::format("no buffer of this program holds {} bytes at device address {:#x}", bytes, address));
  }

  XrtOptions options_;
  xrt::device device_;
  xrt::uuid uuid_;
  std::map<std::size_t, int> groups_;
  xrt::ip ip_;
  std::map<std::uint64_t, xrt::bo> buffers_;
};

}  // namespace

std::unique_ptr<KernelBackend> make_xrt_backend(const XrtOptions& options) {
  try {
    return std::make_unique<XrtBackend>(options);
  } catch (const std::exception& error) {
    throw DeviceError(
        fmt::format("{}: cannot run on card {} through XRT: {}", options.binary, options.device, error.what()));
  }
}

}  // namespace flame::accel

#else

namespace flame::accel {

std::unique_ptr<KernelBackend> make_xrt_backend(const XrtOptions&) {
  throw DeviceError(
      "this flame was built without XRT, so it cannot drive a card; install libxrt-dev and build again with "
      "-DFLAME_WITH_XRT=ON, or use --device fpga-sim");
}

}  // namespace flame::accel

#endif
