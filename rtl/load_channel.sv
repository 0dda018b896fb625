/// One memory channel of the loader: turns the loads of the contexts into AXI4 read bursts (INCR, never across 4 KiB since loads
/// start on a 4 KiB boundary and bursts end on multiples of `BurstBeats`, a power of two) and writes the beats to the slot
/// memory banks of this channel. Demand loads go first, then the oldest. An aborted load issues no more bursts; what is in
/// flight still arrives, and a demand load waits for it: so guesses are read in shorter bursts, of which as many are under way
/// as the memory's latency asks for. All requests share one AXI ID, so data come in the order of the requests.
module load_channel #(
    parameter int unsigned NumContexts = 4,
    parameter int unsigned BanksPerChannel = 1,
    parameter int unsigned BankWords = 4096,
    parameter int unsigned BurstBeats = 64,
    parameter int unsigned AxiBytes = 64,
    parameter int unsigned MaxOutstanding = 4,
    parameter int unsigned PrefetchBurstBeats = BurstBeats / 4,
    parameter int unsigned MaxOutstandingPrefetch = 4,
    localparam int unsigned ContextBits = $clog2(NumContexts),
    localparam int unsigned AddressBits = $clog2(BankWords),
    localparam int unsigned BankBits = $clog2(BanksPerChannel),
    localparam int unsigned BeatCountBits = AddressBits + BankBits + 1
) (
    input  logic                                 clk_i,
    input  logic                                 rst_ni,
    // Contexts.
    input  logic [                         63:0] channel_base_i,
    input  logic [            BeatCountBits-1:0] total_beats_i,   // of any load
    input  logic [              NumContexts-1:0] start_i,         // a context begins: counters to zero
    input  logic [              NumContexts-1:0] active_i,
    input  logic [              NumContexts-1:0] demand_i,
    input  logic [              NumContexts-1:0] abort_i,
    input  logic [              ContextBits-1:0] oldest_i,
    input  logic [           64*NumContexts-1:0] offset_i,        // byte offset of the expert in the channel
    input  logic [  AddressBits*NumContexts-1:0] base_i,          // first word of the slot in the banks
    output logic [              NumContexts-1:0] complete_o,      // every beat arrived
    output logic [              NumContexts-1:0] drained_o,       // nothing in flight
    output logic [BeatCountBits*NumContexts-1:0] received_o,
    output logic                                 beat_o,
    output logic                                 error_o,
    // Slot memory.
    output logic [          BanksPerChannel-1:0] write_o,
    output logic [              AddressBits-1:0] write_address_o,
    output logic [               8*AxiBytes-1:0] write_data_o,
    // AXI4 read channels.
    output logic                                 arvalid_o,
    input  logic                                 arready_i,
    output logic [                         63:0] araddr_o,
    output logic [                          7:0] arlen_o,
    input  logic                                 rvalid_i,
    output logic                                 rready_o,
    input  logic [               8*AxiBytes-1:0] rdata_i,
    input  logic [                          1:0] rresp_i,
    input  logic                                 rlast_i
);

  localparam int unsigned OutstandingBits = $clog2(MaxOutstanding + 1);

  logic [BeatCountBits-1:0] issued_q[NumContexts];
  logic [BeatCountBits-1:0] received_q[NumContexts];
  logic arvalid_q;
  logic [63:0] araddr_q;
  logic [7:0] arlen_q;

  // ---- Choose the next burst.
  logic found, found_demand;
  logic [ContextBits-1:0] chosen, scan;
  always_comb begin
    found = 1'b0;
    found_demand = 1'b0;
    chosen = '0;
    scan = '0;
    for (int unsigned i = 0; i < NumContexts; i++) begin
      scan = ContextBits'(32'(oldest_i) + i);
      if (active_i[scan] && !start_i[scan] && !abort_i[scan] && issued_q[scan] < total_beats_i) begin
        if (!found || (demand_i[scan] && !found_demand)) begin
          found = 1'b1;
          found_demand = demand_i[scan];
          chosen = scan;
        end
      end
    end
  end

  logic [BeatCountBits-1:0] remaining, longest, burst;
  logic queue_valid, queue_ready, issue;
  logic [ContextBits-1:0] queue_context;
  logic [OutstandingBits-1:0] outstanding;
  assign remaining = total_beats_i - issued_q[chosen];
  assign longest = found_demand ? BeatCountBits'(BurstBeats) - (issued_q[chosen] & BeatCountBits'(BurstBeats - 1))
                                : BeatCountBits'(PrefetchBurstBeats);
  assign burst = (remaining > longest) ? longest : remaining;
  assign issue = found && (!arvalid_q || arready_i) && queue_ready &&
                 (found_demand || outstanding < OutstandingBits'(MaxOutstandingPrefetch));

  fifo #(
      .Width(ContextBits),
      .Depth(MaxOutstanding)
  ) u_outstanding (
      .clk_i,
      .rst_ni,
      .clear_i(1'b0),
      .valid_i(issue),
      .ready_o(queue_ready),
      .data_i (chosen),
      .valid_o(queue_valid),
      .ready_i(rvalid_i && rlast_i),
      .data_o (queue_context),
      .count_o(outstanding)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      arvalid_q <= 1'b0;
      araddr_q  <= '0;
      arlen_q   <= '0;
    end else if (issue) begin
      arvalid_q <= 1'b1;
      araddr_q  <= channel_base_i + offset_i[64*chosen+:64] + (64'(issued_q[chosen]) << $clog2(AxiBytes));
      arlen_q   <= 8'(burst - 1'b1);
    end else if (arready_i) begin
      arvalid_q <= 1'b0;
    end
  end

  for (genvar c = 0; c < NumContexts; c++) begin : g_context
    always_ff @(posedge clk_i) begin
      if (!rst_ni || start_i[c]) begin
        issued_q[c]   <= '0;
        received_q[c] <= '0;
      end else begin
        if (issue && chosen == ContextBits'(c)) issued_q[c] <= issued_q[c] + burst;
        if (rvalid_i && queue_context == ContextBits'(c)) received_q[c] <= received_q[c] + 1'b1;
      end
    end
    assign complete_o[c] = received_q[c] == total_beats_i;
    assign drained_o[c] = received_q[c] == issued_q[c];
    assign received_o[BeatCountBits*c+:BeatCountBits] = received_q[c];
  end

  // ---- Beats to the banks, one cycle later.
  logic [BanksPerChannel-1:0] write_q;
  logic [AddressBits-1:0] write_address_q;
  logic [8*AxiBytes-1:0] write_data_q;
  logic error_q;
  logic [BeatCountBits-1:0] position;
  assign position = received_q[queue_context];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= '0;
      error_q <= 1'b0;
    end else begin
      for (int unsigned b = 0; b < BanksPerChannel; b++) begin
        write_q[b] <= rvalid_i && (position & BeatCountBits'(BanksPerChannel - 1)) == BeatCountBits'(b);
      end
      error_q <= rvalid_i && rresp_i != 2'b00;
    end
  end

  always_ff @(posedge clk_i) begin
    if (rvalid_i) begin
      write_address_q <= base_i[AddressBits*queue_context+:AddressBits] + AddressBits'(position >> BankBits);
      write_data_q <= rdata_i;
    end
  end

  assign write_o = write_q;
  assign write_address_o = write_address_q;
  assign write_data_o = write_data_q;
  assign beat_o = rvalid_i;
  assign error_o = error_q;
  assign arvalid_o = arvalid_q;
  assign araddr_o = araddr_q;
  assign arlen_o = arlen_q;
  assign rready_o = 1'b1;

`ifndef SYNTHESIS
  logic waiting_q;
  logic [63:0] waiting_address_q;
  logic [7:0] waiting_length_q;
  always_ff @(posedge clk_i) begin
    waiting_q         <= rst_ni && arvalid_q && !arready_i;
    waiting_address_q <= araddr_q;
    waiting_length_q  <= arlen_q;
    if (rst_ni) begin
      assert (!rvalid_i || queue_valid) else $error("load_channel: a beat nobody asked for");
      assert (write_q == '0 || 32'(write_address_q) < BankWords) else $error("load_channel: a word beyond the bank");
      assert (!(waiting_q && (!arvalid_q || araddr_q != waiting_address_q || arlen_q != waiting_length_q)))
      else $error("load_channel: a request changed before it was taken");
      assert (!arvalid_q || 32'(araddr_q[11:0]) + AxiBytes * (32'(arlen_q) + 32'd1) <= 32'd4096)
      else $error("load_channel: a burst crosses a 4 KiB boundary");
    end
  end
`endif

endmodule
