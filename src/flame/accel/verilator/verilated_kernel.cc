// The RTL as Verilator compiles it, behind the RtlKernel interface. Built by rtl/CMakeLists.txt.
#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <memory>

#include "Vflame_lanes16.h"
#include "Vflame_lanes256.h"
#include "Vflame_lanes64.h"
#include "flame/accel/rtl_kernel.h"
#include "flame/accel/verilator/coverage.h"
#include "flame/base/error.h"
#include "verilated.h"
#include "verilated_fst_c.h"

/// Called by the model where an assertion of the RTL fails, which it has printed (rtl/CMakeLists.txt: VL_USER_STOP).
void vl_stop(const char* file, int line, const char* /*hierarchy*/) VL_MT_UNSAFE {
  throw flame::DeviceError(
      fmt::format("an assertion of the accelerator failed ({}:{}): this is a fault of FLAME's RTL, please report it",
                  std::filesystem::path(file).filename().string(), line));
}

namespace flame::accel {

namespace {

template <class Top>
class VerilatedKernel final : public RtlKernel {
 public:
  explicit VerilatedKernel(std::uint64_t seed) {
    context_.randSeed(static_cast<int>(seed & 0x7FFFFFFF));
    context_.randReset(2);
    context_.traceEverOn(true);
    top_ = std::make_unique<Top>(&context_);
  }
  VerilatedKernel(const VerilatedKernel&) = delete;
  VerilatedKernel& operator=(const VerilatedKernel&) = delete;
  ~VerilatedKernel() override {
    end_trace();
    top_->final();
    write_coverage(context_);
  }

  void trace(const std::string& path) override {
    trace_ = std::make_unique<VerilatedFstC>();
    top_->trace(trace_.get(), 99);
    trace_->open(path.c_str());
    if (!trace_->isOpen()) throw FileError(path, "the waveform cannot be opened");
  }

  void end_trace() override {
    if (trace_ != nullptr) trace_->close();
    trace_.reset();
  }

  void cycle(const Inputs& in, Outputs& out) override {
    Top& t = *top_;
    t.ap_rst_n = in.reset_n;
    t.s_axi_control_AWVALID = in.control.aw_valid;
    t.s_axi_control_AWADDR = in.control.aw_address;
    t.s_axi_control_WVALID = in.control.w_valid;
    t.s_axi_control_WDATA = in.control.w_data;
    t.s_axi_control_WSTRB = 0xF;
    t.s_axi_control_BREADY = in.control.b_ready;
    t.s_axi_control_ARVALID = in.control.ar_valid;
    t.s_axi_control_ARADDR = in.control.ar_address;
    t.s_axi_control_RREADY = in.control.r_ready;
    const auto& m = in.memory;
    drive(m[0], t.m_axi_gmem0_ARREADY, t.m_axi_gmem0_RVALID, t.m_axi_gmem0_RLAST, t.m_axi_gmem0_RRESP,
          &t.m_axi_gmem0_RDATA);
    drive(m[1], t.m_axi_gmem1_ARREADY, t.m_axi_gmem1_RVALID, t.m_axi_gmem1_RLAST, t.m_axi_gmem1_RRESP,
          &t.m_axi_gmem1_RDATA);
    drive(m[2], t.m_axi_gmem2_ARREADY, t.m_axi_gmem2_RVALID, t.m_axi_gmem2_RLAST, t.m_axi_gmem2_RRESP,
          &t.m_axi_gmem2_RDATA);
    drive(m[3], t.m_axi_gmem3_ARREADY, t.m_axi_gmem3_RVALID, t.m_axi_gmem3_RLAST, t.m_axi_gmem3_RRESP,
          &t.m_axi_gmem3_RDATA);
    drive(m[4], t.m_axi_gmem_host_ARREADY, t.m_axi_gmem_host_RVALID, t.m_axi_gmem_host_RLAST, t.m_axi_gmem_host_RRESP,
          &t.m_axi_gmem_host_RDATA);
    t.m_axi_gmem_host_AWREADY = m[4].aw_ready;
    t.m_axi_gmem_host_WREADY = m[4].w_ready;
    t.m_axi_gmem_host_BVALID = m[4].b_valid;
    t.m_axi_gmem_host_BRESP = m[4].b_response;

    t.ap_clk = 1;
    t.eval();
    if (trace_ != nullptr) trace_->dump(2 * time_);
    t.ap_clk = 0;
    t.eval();
    if (trace_ != nullptr) trace_->dump(2 * time_ + 1);
    ++time_;

    // Verilator renames the port, a word of C++ to it.
    out.interrupt = t.__SYM__interrupt != 0;
    out.control = {t.s_axi_control_AWREADY != 0, t.s_axi_control_WREADY != 0, t.s_axi_control_BVALID != 0,
                   t.s_axi_control_ARREADY != 0, t.s_axi_control_RVALID != 0, t.s_axi_control_RDATA};
    sample(out.memory[0], t.m_axi_gmem0_ARVALID, t.m_axi_gmem0_ARADDR, t.m_axi_gmem0_ARLEN, t.m_axi_gmem0_RREADY);
    sample(out.memory[1], t.m_axi_gmem1_ARVALID, t.m_axi_gmem1_ARADDR, t.m_axi_gmem1_ARLEN, t.m_axi_gmem1_RREADY);
    sample(out.memory[2], t.m_axi_gmem2_ARVALID, t.m_axi_gmem2_ARADDR, t.m_axi_gmem2_ARLEN, t.m_axi_gmem2_RREADY);
    sample(out.memory[3], t.m_axi_gmem3_ARVALID, t.m_axi_gmem3_ARADDR, t.m_axi_gmem3_ARLEN, t.m_axi_gmem3_RREADY);
    AxiMasterSignals& host = out.memory[4];
    sample(host, t.m_axi_gmem_host_ARVALID, t.m_axi_gmem_host_ARADDR, t.m_axi_gmem_host_ARLEN,
           t.m_axi_gmem_host_RREADY);
    host.aw_valid = t.m_axi_gmem_host_AWVALID != 0;
    host.aw_address = t.m_axi_gmem_host_AWADDR;
    host.aw_length = t.m_axi_gmem_host_AWLEN;
    host.w_valid = t.m_axi_gmem_host_WVALID != 0;
    host.w_last = t.m_axi_gmem_host_WLAST != 0;
    host.b_ready = t.m_axi_gmem_host_BREADY != 0;
    if (host.w_valid) std::memcpy(write_data_.data(), &t.m_axi_gmem_host_WDATA, sizeof t.m_axi_gmem_host_WDATA);
    host.w_data = &write_data_;
  }

 private:
  template <class Data>
  static void drive(const AxiSlaveSignals& in, CData& ar_ready, CData& r_valid, CData& r_last, CData& r_response,
                    Data* r_data) {
    static_assert(sizeof(Data) <= sizeof(Beat));
    ar_ready = in.ar_ready;
    r_valid = in.r_valid;
    r_last = in.r_last;
    r_response = in.r_response;
    if (in.r_valid) std::memcpy(r_data, in.r_data.data(), sizeof(Data));
  }
  static void sample(AxiMasterSignals& out, CData ar_valid, QData ar_address, CData ar_length, CData r_ready) {
    out.ar_valid = ar_valid != 0;
    out.ar_address = ar_address;
    out.ar_length = ar_length;
    out.r_ready = r_ready != 0;
  }

  VerilatedContext context_;
  std::unique_ptr<Top> top_;
  std::unique_ptr<VerilatedFstC> trace_;
  std::uint64_t time_ = 0;
  Beat write_data_{};
};

}  // namespace

std::unique_ptr<RtlKernel> make_rtl_kernel(RtlConfiguration configuration, std::uint64_t seed) {
  switch (configuration) {
    case RtlConfiguration::kLanes16:
      return std::make_unique<VerilatedKernel<Vflame_lanes16>>(seed);
    case RtlConfiguration::kLanes64:
      return std::make_unique<VerilatedKernel<Vflame_lanes64>>(seed);
    case RtlConfiguration::kLanes256:
      break;
  }
  return std::make_unique<VerilatedKernel<Vflame_lanes256>>(seed);
}

}  // namespace flame::accel
