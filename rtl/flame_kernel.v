// Kernel top in the form that XRT loads: plain Verilog, ap_clk, ap_rst_n, s_axi_control, m_axi_*, interrupt.
// gmem0 .. gmem3 read expert weights (as many as Channels are used), gmem_host moves commands, tokens and results.
`default_nettype none

module flame_kernel #(
    parameter integer Positions = 1,
    parameter integer Channels = 1,
    parameter integer BankWords = 65536,
    parameter integer MaxDModel = 1024,
    parameter integer MaxDff = 4096,
    parameter integer MaxExperts = 8,
    parameter integer MaxLayers = 12,
    parameter integer MaxSlots = 64,
    parameter integer TableAddressBits = 16,
    parameter integer BurstBeats = 64,
    parameter integer AxiBytes = 64
) (
    input  wire         ap_clk,
    input  wire         ap_rst_n,
    output wire         interrupt,
    // s_axi_control
    input  wire         s_axi_control_AWVALID,
    output wire         s_axi_control_AWREADY,
    input  wire [ 11:0] s_axi_control_AWADDR,
    input  wire         s_axi_control_WVALID,
    output wire         s_axi_control_WREADY,
    input  wire [ 31:0] s_axi_control_WDATA,
    input  wire [  3:0] s_axi_control_WSTRB,
    output wire         s_axi_control_BVALID,
    input  wire         s_axi_control_BREADY,
    output wire [  1:0] s_axi_control_BRESP,
    input  wire         s_axi_control_ARVALID,
    output wire         s_axi_control_ARREADY,
    input  wire [ 11:0] s_axi_control_ARADDR,
    output wire         s_axi_control_RVALID,
    input  wire         s_axi_control_RREADY,
    output wire [ 31:0] s_axi_control_RDATA,
    output wire [  1:0] s_axi_control_RRESP,
    // gmem0
    output wire         m_axi_gmem0_AWVALID,
    input  wire         m_axi_gmem0_AWREADY,
    output wire [ 63:0] m_axi_gmem0_AWADDR,
    output wire [  0:0] m_axi_gmem0_AWID,
    output wire [  7:0] m_axi_gmem0_AWLEN,
    output wire [  2:0] m_axi_gmem0_AWSIZE,
    output wire [  1:0] m_axi_gmem0_AWBURST,
    output wire [  1:0] m_axi_gmem0_AWLOCK,
    output wire [  3:0] m_axi_gmem0_AWCACHE,
    output wire [  2:0] m_axi_gmem0_AWPROT,
    output wire [  3:0] m_axi_gmem0_AWQOS,
    output wire [  3:0] m_axi_gmem0_AWREGION,
    output wire         m_axi_gmem0_WVALID,
    input  wire         m_axi_gmem0_WREADY,
    output wire [8*AxiBytes-1:0] m_axi_gmem0_WDATA,
    output wire [AxiBytes-1:0] m_axi_gmem0_WSTRB,
    output wire         m_axi_gmem0_WLAST,
    input  wire         m_axi_gmem0_BVALID,
    output wire         m_axi_gmem0_BREADY,
    input  wire [  1:0] m_axi_gmem0_BRESP,
    input  wire [  0:0] m_axi_gmem0_BID,
    output wire         m_axi_gmem0_ARVALID,
    input  wire         m_axi_gmem0_ARREADY,
    output wire [ 63:0] m_axi_gmem0_ARADDR,
    output wire [  0:0] m_axi_gmem0_ARID,
    output wire [  7:0] m_axi_gmem0_ARLEN,
    output wire [  2:0] m_axi_gmem0_ARSIZE,
    output wire [  1:0] m_axi_gmem0_ARBURST,
    output wire [  1:0] m_axi_gmem0_ARLOCK,
    output wire [  3:0] m_axi_gmem0_ARCACHE,
    output wire [  2:0] m_axi_gmem0_ARPROT,
    output wire [  3:0] m_axi_gmem0_ARQOS,
    output wire [  3:0] m_axi_gmem0_ARREGION,
    input  wire         m_axi_gmem0_RVALID,
    output wire         m_axi_gmem0_RREADY,
    input  wire [8*AxiBytes-1:0] m_axi_gmem0_RDATA,
    input  wire         m_axi_gmem0_RLAST,
    input  wire [  1:0] m_axi_gmem0_RRESP,
    input  wire [  0:0] m_axi_gmem0_RID,
    // gmem1
    output wire         m_axi_gmem1_AWVALID,
    input  wire         m_axi_gmem1_AWREADY,
    output wire [ 63:0] m_axi_gmem1_AWADDR,
    output wire [  0:0] m_axi_gmem1_AWID,
    output wire [  7:0] m_axi_gmem1_AWLEN,
    output wire [  2:0] m_axi_gmem1_AWSIZE,
    output wire [  1:0] m_axi_gmem1_AWBURST,
    output wire [  1:0] m_axi_gmem1_AWLOCK,
    output wire [  3:0] m_axi_gmem1_AWCACHE,
    output wire [  2:0] m_axi_gmem1_AWPROT,
    output wire [  3:0] m_axi_gmem1_AWQOS,
    output wire [  3:0] m_axi_gmem1_AWREGION,
    output wire         m_axi_gmem1_WVALID,
    input  wire         m_axi_gmem1_WREADY,
    output wire [8*AxiBytes-1:0] m_axi_gmem1_WDATA,
    output wire [AxiBytes-1:0] m_axi_gmem1_WSTRB,
    output wire         m_axi_gmem1_WLAST,
    input  wire         m_axi_gmem1_BVALID,
    output wire         m_axi_gmem1_BREADY,
    input  wire [  1:0] m_axi_gmem1_BRESP,
    input  wire [  0:0] m_axi_gmem1_BID,
    output wire         m_axi_gmem1_ARVALID,
    input  wire         m_axi_gmem1_ARREADY,
    output wire [ 63:0] m_axi_gmem1_ARADDR,
    output wire [  0:0] m_axi_gmem1_ARID,
    output wire [  7:0] m_axi_gmem1_ARLEN,
    output wire [  2:0] m_axi_gmem1_ARSIZE,
    output wire [  1:0] m_axi_gmem1_ARBURST,
    output wire [  1:0] m_axi_gmem1_ARLOCK,
    output wire [  3:0] m_axi_gmem1_ARCACHE,
    output wire [  2:0] m_axi_gmem1_ARPROT,
    output wire [  3:0] m_axi_gmem1_ARQOS,
    output wire [  3:0] m_axi_gmem1_ARREGION,
    input  wire         m_axi_gmem1_RVALID,
    output wire         m_axi_gmem1_RREADY,
    input  wire [8*AxiBytes-1:0] m_axi_gmem1_RDATA,
    input  wire         m_axi_gmem1_RLAST,
    input  wire [  1:0] m_axi_gmem1_RRESP,
    input  wire [  0:0] m_axi_gmem1_RID,
    // gmem2
    output wire         m_axi_gmem2_AWVALID,
    input  wire         m_axi_gmem2_AWREADY,
    output wire [ 63:0] m_axi_gmem2_AWADDR,
    output wire [  0:0] m_axi_gmem2_AWID,
    output wire [  7:0] m_axi_gmem2_AWLEN,
    output wire [  2:0] m_axi_gmem2_AWSIZE,
    output wire [  1:0] m_axi_gmem2_AWBURST,
    output wire [  1:0] m_axi_gmem2_AWLOCK,
    output wire [  3:0] m_axi_gmem2_AWCACHE,
    output wire [  2:0] m_axi_gmem2_AWPROT,
    output wire [  3:0] m_axi_gmem2_AWQOS,
    output wire [  3:0] m_axi_gmem2_AWREGION,
    output wire         m_axi_gmem2_WVALID,
    input  wire         m_axi_gmem2_WREADY,
    output wire [8*AxiBytes-1:0] m_axi_gmem2_WDATA,
    output wire [AxiBytes-1:0] m_axi_gmem2_WSTRB,
    output wire         m_axi_gmem2_WLAST,
    input  wire         m_axi_gmem2_BVALID,
    output wire         m_axi_gmem2_BREADY,
    input  wire [  1:0] m_axi_gmem2_BRESP,
    input  wire [  0:0] m_axi_gmem2_BID,
    output wire         m_axi_gmem2_ARVALID,
    input  wire         m_axi_gmem2_ARREADY,
    output wire [ 63:0] m_axi_gmem2_ARADDR,
    output wire [  0:0] m_axi_gmem2_ARID,
    output wire [  7:0] m_axi_gmem2_ARLEN,
    output wire [  2:0] m_axi_gmem2_ARSIZE,
    output wire [  1:0] m_axi_gmem2_ARBURST,
    output wire [  1:0] m_axi_gmem2_ARLOCK,
    output wire [  3:0] m_axi_gmem2_ARCACHE,
    output wire [  2:0] m_axi_gmem2_ARPROT,
    output wire [  3:0] m_axi_gmem2_ARQOS,
    output wire [  3:0] m_axi_gmem2_ARREGION,
    input  wire         m_axi_gmem2_RVALID,
    output wire         m_axi_gmem2_RREADY,
    input  wire [8*AxiBytes-1:0] m_axi_gmem2_RDATA,
    input  wire         m_axi_gmem2_RLAST,
    input  wire [  1:0] m_axi_gmem2_RRESP,
    input  wire [  0:0] m_axi_gmem2_RID,
    // gmem3
    output wire         m_axi_gmem3_AWVALID,
    input  wire         m_axi_gmem3_AWREADY,
    output wire [ 63:0] m_axi_gmem3_AWADDR,
    output wire [  0:0] m_axi_gmem3_AWID,
    output wire [  7:0] m_axi_gmem3_AWLEN,
    output wire [  2:0] m_axi_gmem3_AWSIZE,
    output wire [  1:0] m_axi_gmem3_AWBURST,
    output wire [  1:0] m_axi_gmem3_AWLOCK,
    output wire [  3:0] m_axi_gmem3_AWCACHE,
    output wire [  2:0] m_axi_gmem3_AWPROT,
    output wire [  3:0] m_axi_gmem3_AWQOS,
    output wire [  3:0] m_axi_gmem3_AWREGION,
    output wire         m_axi_gmem3_WVALID,
    input  wire         m_axi_gmem3_WREADY,
    output wire [8*AxiBytes-1:0] m_axi_gmem3_WDATA,
    output wire [AxiBytes-1:0] m_axi_gmem3_WSTRB,
    output wire         m_axi_gmem3_WLAST,
    input  wire         m_axi_gmem3_BVALID,
    output wire         m_axi_gmem3_BREADY,
    input  wire [  1:0] m_axi_gmem3_BRESP,
    input  wire [  0:0] m_axi_gmem3_BID,
    output wire         m_axi_gmem3_ARVALID,
    input  wire         m_axi_gmem3_ARREADY,
    output wire [ 63:0] m_axi_gmem3_ARADDR,
    output wire [  0:0] m_axi_gmem3_ARID,
    output wire [  7:0] m_axi_gmem3_ARLEN,
    output wire [  2:0] m_axi_gmem3_ARSIZE,
    output wire [  1:0] m_axi_gmem3_ARBURST,
    output wire [  1:0] m_axi_gmem3_ARLOCK,
    output wire [  3:0] m_axi_gmem3_ARCACHE,
    output wire [  2:0] m_axi_gmem3_ARPROT,
    output wire [  3:0] m_axi_gmem3_ARQOS,
    output wire [  3:0] m_axi_gmem3_ARREGION,
    input  wire         m_axi_gmem3_RVALID,
    output wire         m_axi_gmem3_RREADY,
    input  wire [8*AxiBytes-1:0] m_axi_gmem3_RDATA,
    input  wire         m_axi_gmem3_RLAST,
    input  wire [  1:0] m_axi_gmem3_RRESP,
    input  wire [  0:0] m_axi_gmem3_RID,
    // gmem_host
    output wire         m_axi_gmem_host_AWVALID,
    input  wire         m_axi_gmem_host_AWREADY,
    output wire [ 63:0] m_axi_gmem_host_AWADDR,
    output wire [  0:0] m_axi_gmem_host_AWID,
    output wire [  7:0] m_axi_gmem_host_AWLEN,
    output wire [  2:0] m_axi_gmem_host_AWSIZE,
    output wire [  1:0] m_axi_gmem_host_AWBURST,
    output wire [  1:0] m_axi_gmem_host_AWLOCK,
    output wire [  3:0] m_axi_gmem_host_AWCACHE,
    output wire [  2:0] m_axi_gmem_host_AWPROT,
    output wire [  3:0] m_axi_gmem_host_AWQOS,
    output wire [  3:0] m_axi_gmem_host_AWREGION,
    output wire         m_axi_gmem_host_WVALID,
    input  wire         m_axi_gmem_host_WREADY,
    output wire [8*AxiBytes-1:0] m_axi_gmem_host_WDATA,
    output wire [AxiBytes-1:0] m_axi_gmem_host_WSTRB,
    output wire         m_axi_gmem_host_WLAST,
    input  wire         m_axi_gmem_host_BVALID,
    output wire         m_axi_gmem_host_BREADY,
    input  wire [  1:0] m_axi_gmem_host_BRESP,
    input  wire [  0:0] m_axi_gmem_host_BID,
    output wire         m_axi_gmem_host_ARVALID,
    input  wire         m_axi_gmem_host_ARREADY,
    output wire [ 63:0] m_axi_gmem_host_ARADDR,
    output wire [  0:0] m_axi_gmem_host_ARID,
    output wire [  7:0] m_axi_gmem_host_ARLEN,
    output wire [  2:0] m_axi_gmem_host_ARSIZE,
    output wire [  1:0] m_axi_gmem_host_ARBURST,
    output wire [  1:0] m_axi_gmem_host_ARLOCK,
    output wire [  3:0] m_axi_gmem_host_ARCACHE,
    output wire [  2:0] m_axi_gmem_host_ARPROT,
    output wire [  3:0] m_axi_gmem_host_ARQOS,
    output wire [  3:0] m_axi_gmem_host_ARREGION,
    input  wire         m_axi_gmem_host_RVALID,
    output wire         m_axi_gmem_host_RREADY,
    input  wire [8*AxiBytes-1:0] m_axi_gmem_host_RDATA,
    input  wire         m_axi_gmem_host_RLAST,
    input  wire [  1:0] m_axi_gmem_host_RRESP,
    input  wire [  0:0] m_axi_gmem_host_RID
);

  // XRT's reset is synchronous to the clock; one register stage eases its fan-out.
  reg reset_n_q;
  always @(posedge ap_clk) reset_n_q <= ap_rst_n;

  wire [2:0] beat_size = (AxiBytes == 64) ? 3'd6 : (AxiBytes == 32) ? 3'd5 : 3'd4;
  wire [3:0] arvalid, rready;
  wire [255:0] araddr;
  wire [31:0] arlen;
  wire [3:0] arready = {m_axi_gmem3_ARREADY, m_axi_gmem2_ARREADY, m_axi_gmem1_ARREADY, m_axi_gmem0_ARREADY};
  wire [3:0] rvalid = {m_axi_gmem3_RVALID, m_axi_gmem2_RVALID, m_axi_gmem1_RVALID, m_axi_gmem0_RVALID};
  wire [32*AxiBytes-1:0] rdata = {m_axi_gmem3_RDATA, m_axi_gmem2_RDATA, m_axi_gmem1_RDATA, m_axi_gmem0_RDATA};
  wire [7:0] rresp = {m_axi_gmem3_RRESP, m_axi_gmem2_RRESP, m_axi_gmem1_RRESP, m_axi_gmem0_RRESP};
  wire [3:0] rlast = {m_axi_gmem3_RLAST, m_axi_gmem2_RLAST, m_axi_gmem1_RLAST, m_axi_gmem0_RLAST};

  flame_core #(
      .Positions(Positions),
      .Channels(Channels),
      .BankWords(BankWords),
      .MaxDModel(MaxDModel),
      .MaxDff(MaxDff),
      .MaxExperts(MaxExperts),
      .MaxLayers(MaxLayers),
      .MaxSlots(MaxSlots),
      .TableAddressBits(TableAddressBits),
      .BurstBeats(BurstBeats),
      .AxiBytes(AxiBytes)
  ) u_core (
      .clk_i(ap_clk),
      .rst_ni(reset_n_q),
      .interrupt_o(interrupt),
      .s_awvalid_i(s_axi_control_AWVALID),
      .s_awready_o(s_axi_control_AWREADY),
      .s_awaddr_i(s_axi_control_AWADDR),
      .s_wvalid_i(s_axi_control_WVALID),
      .s_wready_o(s_axi_control_WREADY),
      .s_wdata_i(s_axi_control_WDATA),
      .s_wstrb_i(s_axi_control_WSTRB),
      .s_bvalid_o(s_axi_control_BVALID),
      .s_bready_i(s_axi_control_BREADY),
      .s_bresp_o(s_axi_control_BRESP),
      .s_arvalid_i(s_axi_control_ARVALID),
      .s_arready_o(s_axi_control_ARREADY),
      .s_araddr_i(s_axi_control_ARADDR),
      .s_rvalid_o(s_axi_control_RVALID),
      .s_rready_i(s_axi_control_RREADY),
      .s_rdata_o(s_axi_control_RDATA),
      .s_rresp_o(s_axi_control_RRESP),
      .m_arvalid_o(arvalid[Channels-1:0]),
      .m_arready_i(arready[Channels-1:0]),
      .m_araddr_o(araddr[64*Channels-1:0]),
      .m_arlen_o(arlen[8*Channels-1:0]),
      .m_rvalid_i(rvalid[Channels-1:0]),
      .m_rready_o(rready[Channels-1:0]),
      .m_rdata_i(rdata[8*AxiBytes*Channels-1:0]),
      .m_rresp_i(rresp[2*Channels-1:0]),
      .m_rlast_i(rlast[Channels-1:0]),
      .h_arvalid_o(m_axi_gmem_host_ARVALID),
      .h_arready_i(m_axi_gmem_host_ARREADY),
      .h_araddr_o(m_axi_gmem_host_ARADDR),
      .h_arlen_o(m_axi_gmem_host_ARLEN),
      .h_rvalid_i(m_axi_gmem_host_RVALID),
      .h_rready_o(m_axi_gmem_host_RREADY),
      .h_rdata_i(m_axi_gmem_host_RDATA),
      .h_rresp_i(m_axi_gmem_host_RRESP),
      .h_rlast_i(m_axi_gmem_host_RLAST),
      .h_awvalid_o(m_axi_gmem_host_AWVALID),
      .h_awready_i(m_axi_gmem_host_AWREADY),
      .h_awaddr_o(m_axi_gmem_host_AWADDR),
      .h_awlen_o(m_axi_gmem_host_AWLEN),
      .h_wvalid_o(m_axi_gmem_host_WVALID),
      .h_wready_i(m_axi_gmem_host_WREADY),
      .h_wdata_o(m_axi_gmem_host_WDATA),
      .h_wlast_o(m_axi_gmem_host_WLAST),
      .h_bvalid_i(m_axi_gmem_host_BVALID),
      .h_bready_o(m_axi_gmem_host_BREADY),
      .h_bresp_i(m_axi_gmem_host_BRESP)
  );

  generate
    if (Channels < 4) begin : g_unused_channels
      assign arvalid[3:Channels] = {(4 - Channels) {1'b0}};
      assign rready[3:Channels] = {(4 - Channels) {1'b1}};
      assign araddr[255:64*Channels] = {(64 * (4 - Channels)) {1'b0}};
      assign arlen[31:8*Channels] = {(8 * (4 - Channels)) {1'b0}};
    end
  endgenerate

  assign m_axi_gmem0_ARVALID = arvalid[0];
  assign m_axi_gmem0_ARADDR = araddr[63:0];
  assign m_axi_gmem0_ARLEN = arlen[7:0];
  assign m_axi_gmem0_RREADY = rready[0];
  assign m_axi_gmem0_ARID = 1'b0;
  assign m_axi_gmem0_ARSIZE = beat_size;
  assign m_axi_gmem0_ARBURST = 2'b01;
  assign m_axi_gmem0_ARLOCK = 2'b00;
  assign m_axi_gmem0_ARCACHE = 4'b0011;
  assign m_axi_gmem0_ARPROT = 3'b000;
  assign m_axi_gmem0_ARQOS = 4'd0;
  assign m_axi_gmem0_ARREGION = 4'd0;
  assign m_axi_gmem0_AWID = 1'b0;
  assign m_axi_gmem0_AWSIZE = beat_size;
  assign m_axi_gmem0_AWBURST = 2'b01;
  assign m_axi_gmem0_AWLOCK = 2'b00;
  assign m_axi_gmem0_AWCACHE = 4'b0011;
  assign m_axi_gmem0_AWPROT = 3'b000;
  assign m_axi_gmem0_AWQOS = 4'd0;
  assign m_axi_gmem0_AWREGION = 4'd0;
  assign m_axi_gmem0_WSTRB = {AxiBytes{1'b1}};
  assign m_axi_gmem0_AWVALID = 1'b0;
  assign m_axi_gmem0_AWADDR = 64'd0;
  assign m_axi_gmem0_AWLEN = 8'd0;
  assign m_axi_gmem0_WVALID = 1'b0;
  assign m_axi_gmem0_WDATA = {8 * AxiBytes{1'b0}};
  assign m_axi_gmem0_WLAST = 1'b0;
  assign m_axi_gmem0_BREADY = 1'b1;

  assign m_axi_gmem1_ARVALID = arvalid[1];
  assign m_axi_gmem1_ARADDR = araddr[127:64];
  assign m_axi_gmem1_ARLEN = arlen[15:8];
  assign m_axi_gmem1_RREADY = rready[1];
  assign m_axi_gmem1_ARID = 1'b0;
  assign m_axi_gmem1_ARSIZE = beat_size;
  assign m_axi_gmem1_ARBURST = 2'b01;
  assign m_axi_gmem1_ARLOCK = 2'b00;
  assign m_axi_gmem1_ARCACHE = 4'b0011;
  assign m_axi_gmem1_ARPROT = 3'b000;
  assign m_axi_gmem1_ARQOS = 4'd0;
  assign m_axi_gmem1_ARREGION = 4'd0;
  assign m_axi_gmem1_AWID = 1'b0;
  assign m_axi_gmem1_AWSIZE = beat_size;
  assign m_axi_gmem1_AWBURST = 2'b01;
  assign m_axi_gmem1_AWLOCK = 2'b00;
  assign m_axi_gmem1_AWCACHE = 4'b0011;
  assign m_axi_gmem1_AWPROT = 3'b000;
  assign m_axi_gmem1_AWQOS = 4'd0;
  assign m_axi_gmem1_AWREGION = 4'd0;
  assign m_axi_gmem1_WSTRB = {AxiBytes{1'b1}};
  assign m_axi_gmem1_AWVALID = 1'b0;
  assign m_axi_gmem1_AWADDR = 64'd0;
  assign m_axi_gmem1_AWLEN = 8'd0;
  assign m_axi_gmem1_WVALID = 1'b0;
  assign m_axi_gmem1_WDATA = {8 * AxiBytes{1'b0}};
  assign m_axi_gmem1_WLAST = 1'b0;
  assign m_axi_gmem1_BREADY = 1'b1;

  assign m_axi_gmem2_ARVALID = arvalid[2];
  assign m_axi_gmem2_ARADDR = araddr[191:128];
  assign m_axi_gmem2_ARLEN = arlen[23:16];
  assign m_axi_gmem2_RREADY = rready[2];
  assign m_axi_gmem2_ARID = 1'b0;
  assign m_axi_gmem2_ARSIZE = beat_size;
  assign m_axi_gmem2_ARBURST = 2'b01;
  assign m_axi_gmem2_ARLOCK = 2'b00;
  assign m_axi_gmem2_ARCACHE = 4'b0011;
  assign m_axi_gmem2_ARPROT = 3'b000;
  assign m_axi_gmem2_ARQOS = 4'd0;
  assign m_axi_gmem2_ARREGION = 4'd0;
  assign m_axi_gmem2_AWID = 1'b0;
  assign m_axi_gmem2_AWSIZE = beat_size;
  assign m_axi_gmem2_AWBURST = 2'b01;
  assign m_axi_gmem2_AWLOCK = 2'b00;
  assign m_axi_gmem2_AWCACHE = 4'b0011;
  assign m_axi_gmem2_AWPROT = 3'b000;
  assign m_axi_gmem2_AWQOS = 4'd0;
  assign m_axi_gmem2_AWREGION = 4'd0;
  assign m_axi_gmem2_WSTRB = {AxiBytes{1'b1}};
  assign m_axi_gmem2_AWVALID = 1'b0;
  assign m_axi_gmem2_AWADDR = 64'd0;
  assign m_axi_gmem2_AWLEN = 8'd0;
  assign m_axi_gmem2_WVALID = 1'b0;
  assign m_axi_gmem2_WDATA = {8 * AxiBytes{1'b0}};
  assign m_axi_gmem2_WLAST = 1'b0;
  assign m_axi_gmem2_BREADY = 1'b1;

  assign m_axi_gmem3_ARVALID = arvalid[3];
  assign m_axi_gmem3_ARADDR = araddr[255:192];
  assign m_axi_gmem3_ARLEN = arlen[31:24];
  assign m_axi_gmem3_RREADY = rready[3];
  assign m_axi_gmem3_ARID = 1'b0;
  assign m_axi_gmem3_ARSIZE = beat_size;
  assign m_axi_gmem3_ARBURST = 2'b01;
  assign m_axi_gmem3_ARLOCK = 2'b00;
  assign m_axi_gmem3_ARCACHE = 4'b0011;
  assign m_axi_gmem3_ARPROT = 3'b000;
  assign m_axi_gmem3_ARQOS = 4'd0;
  assign m_axi_gmem3_ARREGION = 4'd0;
  assign m_axi_gmem3_AWID = 1'b0;
  assign m_axi_gmem3_AWSIZE = beat_size;
  assign m_axi_gmem3_AWBURST = 2'b01;
  assign m_axi_gmem3_AWLOCK = 2'b00;
  assign m_axi_gmem3_AWCACHE = 4'b0011;
  assign m_axi_gmem3_AWPROT = 3'b000;
  assign m_axi_gmem3_AWQOS = 4'd0;
  assign m_axi_gmem3_AWREGION = 4'd0;
  assign m_axi_gmem3_WSTRB = {AxiBytes{1'b1}};
  assign m_axi_gmem3_AWVALID = 1'b0;
  assign m_axi_gmem3_AWADDR = 64'd0;
  assign m_axi_gmem3_AWLEN = 8'd0;
  assign m_axi_gmem3_WVALID = 1'b0;
  assign m_axi_gmem3_WDATA = {8 * AxiBytes{1'b0}};
  assign m_axi_gmem3_WLAST = 1'b0;
  assign m_axi_gmem3_BREADY = 1'b1;

  assign m_axi_gmem_host_ARID = 1'b0;
  assign m_axi_gmem_host_ARSIZE = beat_size;
  assign m_axi_gmem_host_ARBURST = 2'b01;
  assign m_axi_gmem_host_ARLOCK = 2'b00;
  assign m_axi_gmem_host_ARCACHE = 4'b0011;
  assign m_axi_gmem_host_ARPROT = 3'b000;
  assign m_axi_gmem_host_ARQOS = 4'd0;
  assign m_axi_gmem_host_ARREGION = 4'd0;
  assign m_axi_gmem_host_AWID = 1'b0;
  assign m_axi_gmem_host_AWSIZE = beat_size;
  assign m_axi_gmem_host_AWBURST = 2'b01;
  assign m_axi_gmem_host_AWLOCK = 2'b00;
  assign m_axi_gmem_host_AWCACHE = 4'b0011;
  assign m_axi_gmem_host_AWPROT = 3'b000;
  assign m_axi_gmem_host_AWQOS = 4'd0;
  assign m_axi_gmem_host_AWREGION = 4'd0;
  assign m_axi_gmem_host_WSTRB = {AxiBytes{1'b1}};

endmodule

`default_nettype wire
