/// control_registers: every AXI4-Lite transfer is answered once, answers hold until they are taken, and the kernel is
/// started only when it is idle.
module control_registers_formal (
    input logic        clk_i,
    input logic        rst_ni,
    input logic        awvalid_i,
    input logic [11:0] awaddr_i,
    input logic        wvalid_i,
    input logic [31:0] wdata_i,
    input logic        bready_i,
    input logic        arvalid_i,
    input logic [11:0] araddr_i,
    input logic        rready_i,
    input logic        done_i,
    input logic [31:0] status_data_i
);

  logic awready, wready, bvalid, arready, rvalid, start, interrupt;
  logic [1:0] bresp, rresp;
  logic [31:0] rdata;
  logic [1023:0] arguments;
  logic [11:0] status_address;
  logic idle_q;
  control_registers u_registers (
      .clk_i,
      .rst_ni,
      .awvalid_i,
      .awready_o(awready),
      .awaddr_i,
      .wvalid_i,
      .wready_o(wready),
      .wdata_i,
      .wstrb_i(4'hF),
      .bvalid_o(bvalid),
      .bready_i,
      .bresp_o(bresp),
      .arvalid_i,
      .arready_o(arready),
      .araddr_i,
      .rvalid_o(rvalid),
      .rready_i,
      .rdata_o(rdata),
      .rresp_o(rresp),
      .interrupt_o(interrupt),
      .start_o(start),
      .done_i,
      .idle_i(idle_q),
      .arguments_o(arguments),
      .status_address_o(status_address),
      .status_data_i
  );

  // The kernel: busy from start to done. The host: what it offers stays until it is taken.
  logic started_q, reset_q, aw_held_q, w_held_q, ar_held_q, b_held_q, r_held_q;
  logic [31:0] rdata_q;
  logic [1:0] addresses_q, data_q, reads_q;  // taken and not answered
  logic aw, w, b, ar, r;
  assign aw = awvalid_i && awready;
  assign w  = wvalid_i && wready;
  assign b  = bvalid && bready_i;
  assign ar = arvalid_i && arready;
  assign r  = rvalid && rready_i;

  initial started_q = 1'b0;
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    reset_q   <= !rst_ni;
    aw_held_q <= rst_ni && awvalid_i && !awready;
    w_held_q  <= rst_ni && wvalid_i && !wready;
    ar_held_q <= rst_ni && arvalid_i && !arready;
    b_held_q  <= rst_ni && bvalid && !bready_i;
    r_held_q  <= rst_ni && rvalid && !rready_i;
    rdata_q   <= rdata;
    if (!rst_ni) begin
      idle_q      <= 1'b1;
      addresses_q <= '0;
      data_q      <= '0;
      reads_q     <= '0;
    end else begin
      if (start) idle_q <= 1'b0;
      else if (done_i) idle_q <= 1'b1;
      addresses_q <= addresses_q + 2'(aw) - 2'(b);
      data_q      <= data_q + 2'(w) - 2'(b);
      reads_q     <= reads_q + 2'(ar) - 2'(r);
    end
  end

  always_comb begin
    if (!started_q) assume (!rst_ni);
    if (started_q) begin
      assume (rst_ni);
      assume (!(done_i && idle_q));
      if (aw_held_q) assume (awvalid_i);
      if (w_held_q) assume (wvalid_i);
      if (ar_held_q) assume (arvalid_i);
      // Nothing is answered that was not asked, and nothing twice.
      if (bvalid) assert (addresses_q != '0 && data_q != '0);
      if (rvalid) assert (reads_q != '0);
      assert (addresses_q <= 2'd2 && data_q <= 2'd1 && reads_q <= 2'd1);
      assert (data_q <= addresses_q);
      // Answers hold.
      if (b_held_q) assert (bvalid);
      if (r_held_q) assert (rvalid && rdata == rdata_q);
      if (start) assert (idle_q);
      assert (bresp == 2'b00 && rresp == 2'b00);
    end
  end

endmodule
