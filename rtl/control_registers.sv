/// AXI4-Lite register file with the register map of a Vitis RTL kernel (ap_ctrl_hs): control, interrupts, arguments from
/// 0x10, then read-only status and counters. Argument registers are written by the host before start and are stable
/// while the kernel runs. One transfer at a time in each direction.
module control_registers #(
    localparam int unsigned NumArguments = 32  // 32-bit words from 0x10 to 0x8C
) (
    input  logic                       clk_i,
    input  logic                       rst_ni,
    // AXI4-Lite.
    input  logic                       awvalid_i,
    output logic                       awready_o,
    input  logic [               11:0] awaddr_i,
    input  logic                       wvalid_i,
    output logic                       wready_o,
    input  logic [               31:0] wdata_i,
    input  logic [                3:0] wstrb_i,
    output logic                       bvalid_o,
    input  logic                       bready_i,
    output logic [                1:0] bresp_o,
    input  logic                       arvalid_i,
    output logic                       arready_o,
    input  logic [               11:0] araddr_i,
    output logic                       rvalid_o,
    input  logic                       rready_i,
    output logic [               31:0] rdata_o,
    output logic [                1:0] rresp_o,
    output logic                       interrupt_o,
    // Kernel.
    output logic                       start_o,       // one cycle
    input  logic                       done_i,        // one cycle
    input  logic                       idle_i,
    output logic [32*NumArguments-1:0] arguments_o,
    output logic [               11:0] status_address_o,  // of a read at 0x90 and above
    input  logic [               31:0] status_data_i
);

  logic [31:0] arguments_q[NumArguments];
  logic start_q, done_q, auto_restart_q, ready_q, global_enable_q;
  logic [1:0] enable_q, pending_q;
  logic running_q;

  // ---- Writes.
  logic awheld_q, bvalid_q, write;
  logic [11:0] awaddr_q;
  logic [31:0] mask, word;
  assign awready_o = !awheld_q;
  assign wready_o = awheld_q && !bvalid_q;
  assign write = wvalid_i && wready_o;
  assign mask = {{8{wstrb_i[3]}}, {8{wstrb_i[2]}}, {8{wstrb_i[1]}}, {8{wstrb_i[0]}}};
  assign word = wdata_i & mask;
  assign bvalid_o = bvalid_q;
  assign bresp_o = 2'b00;

  logic argument_write;
  logic [4:0] argument_index;
  assign argument_write = write && awaddr_q >= 12'h010 && awaddr_q < 12'h090;
  assign argument_index = 5'((awaddr_q - 12'h010) >> 2);

  // ---- Reads.
  logic rvalid_q, arheld_q;
  logic [11:0] araddr_q;
  logic [31:0] rdata_q, read_value;
  logic control_read;
  assign arready_o = !arheld_q && !rvalid_q;
  assign rvalid_o = rvalid_q;
  assign rdata_o = rdata_q;
  assign rresp_o = 2'b00;
  assign status_address_o = araddr_q;
  assign control_read = arheld_q && araddr_q == 12'h000;

  always_comb begin
    read_value = 32'd0;
    if (araddr_q == 12'h000) begin
      read_value = {24'd0, auto_restart_q, 3'd0, ready_q, idle_i && !start_q, done_q, start_q};
    end else if (araddr_q == 12'h004) begin
      read_value = {31'd0, global_enable_q};
    end else if (araddr_q == 12'h008) begin
      read_value = {30'd0, enable_q};
    end else if (araddr_q == 12'h00C) begin
      read_value = {30'd0, pending_q};
    end else if (araddr_q >= 12'h010 && araddr_q < 12'h090) begin
      read_value = arguments_q[5'((araddr_q-12'h010)>>2)];
    end else begin
      read_value = status_data_i;
    end
  end

  assign start_o = start_q && idle_i && !running_q;
  assign interrupt_o = global_enable_q && (pending_q & enable_q) != '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      awheld_q        <= 1'b0;
      bvalid_q        <= 1'b0;
      awaddr_q        <= '0;
      arheld_q        <= 1'b0;
      rvalid_q        <= 1'b0;
      araddr_q        <= '0;
      rdata_q         <= '0;
      start_q         <= 1'b0;
      done_q          <= 1'b0;
      ready_q         <= 1'b0;
      auto_restart_q  <= 1'b0;
      running_q       <= 1'b0;
      global_enable_q <= 1'b0;
      enable_q        <= '0;
      pending_q       <= '0;
      for (int unsigned i = 0; i < NumArguments; i++) arguments_q[i] <= '0;
    end else begin
      if (awvalid_i && awready_o) begin
        awheld_q <= 1'b1;
        awaddr_q <= awaddr_i;
      end
      if (write) begin
        awheld_q <= 1'b0;
        bvalid_q <= 1'b1;
      end else if (bready_i) begin
        bvalid_q <= 1'b0;
      end

      if (arvalid_i && arready_o) begin
        arheld_q <= 1'b1;
        araddr_q <= araddr_i;
      end
      if (arheld_q) begin
        arheld_q <= 1'b0;
        rvalid_q <= 1'b1;
        rdata_q  <= read_value;
      end else if (rready_i) begin
        rvalid_q <= 1'b0;
      end

      // Control. ap_start is cleared by the handshake, ap_done by reading it.
      if (start_o) running_q <= 1'b1;
      if (control_read) begin
        done_q  <= 1'b0;
        ready_q <= 1'b0;
      end
      if (done_i) begin
        running_q <= 1'b0;
        done_q    <= 1'b1;
        ready_q   <= 1'b1;
      end
      if (start_o && !auto_restart_q) start_q <= 1'b0;
      if (write && awaddr_q == 12'h000 && wstrb_i[0]) begin
        if (word[0]) start_q <= 1'b1;
        auto_restart_q <= word[7];
      end
      if (write && awaddr_q == 12'h004 && wstrb_i[0]) global_enable_q <= word[0];
      if (write && awaddr_q == 12'h008 && wstrb_i[0]) enable_q <= word[1:0];
      // Interrupt status toggles where the host writes ones.
      if (write && awaddr_q == 12'h00C && wstrb_i[0]) pending_q <= pending_q ^ word[1:0];
      if (done_i) pending_q <= pending_q | enable_q;

      if (argument_write) arguments_q[argument_index] <= (arguments_q[argument_index] & ~mask) | word;
    end
  end

  for (genvar i = 0; i < NumArguments; i++) begin : g_argument
    assign arguments_o[32*i+:32] = arguments_q[i];
  end

`ifndef SYNTHESIS
  logic bwaits_q, rwaits_q;
  logic [31:0] rdata_before_q;
  always_ff @(posedge clk_i) begin
    bwaits_q       <= rst_ni && bvalid_o && !bready_i;
    rwaits_q       <= rst_ni && rvalid_o && !rready_i;
    rdata_before_q <= rdata_o;
    if (rst_ni) begin
      assert (!bwaits_q || bvalid_o) else $error("control_registers: a response was taken back");
      assert (!rwaits_q || (rvalid_o && rdata_o == rdata_before_q)) else $error("control_registers: read data changed before they were taken");
      assert (!start_o || idle_i) else $error("control_registers: started a busy kernel");
      assert (!done_i || running_q) else $error("control_registers: done without a start");
    end
  end
`endif

endmodule
