/// Brings experts from memory into slots over 1..4 channels at once. Up to `NumContexts` loads are in progress; each runs
/// in all channels, and the channels advance on their own. Contexts are given out in a circle, so scanning from the next
/// one to give out visits them oldest first.
module loader #(
    parameter int unsigned NumContexts = 4,
    parameter int unsigned Channels = 1,
    parameter int unsigned Positions = 1,
    parameter int unsigned BankWords = 4096,
    parameter int unsigned MaxSlots = 64,
    parameter int unsigned BurstBeats = 64,
    parameter int unsigned AxiBytes = 64,
    localparam int unsigned ContextBits = $clog2(NumContexts),
    localparam int unsigned AddressBits = $clog2(BankWords),
    localparam int unsigned SlotBits = $clog2(MaxSlots),
    localparam int unsigned BanksPerChannel = Positions / Channels,
    localparam int unsigned BankBits = $clog2(BanksPerChannel),
    localparam int unsigned BeatCountBits = AddressBits + BankBits + 1
) (
    input  logic                             clk_i,
    input  logic                             rst_ni,
    input  logic [          64*Channels-1:0] channel_base_i,
    input  logic [            AddressBits:0] bank_words_i,
    // Start a load.
    input  logic                             start_i,
    output logic                             ready_o,
    input  logic                             demand_i,
    input  logic [             SlotBits-1:0] slot_i,
    input  logic [          AddressBits-1:0] base_i,
    input  logic [                      7:0] key_i,          // layer * 16 + expert
    input  logic [                     63:0] offset_i,
    // Change one.
    input  logic                             promote_i,
    input  logic [             SlotBits-1:0] promote_slot_i,
    input  logic                             abort_i,
    input  logic [          ContextBits-1:0] abort_context_i,
    // What is in progress.
    output logic [          NumContexts-1:0] active_o,
    output logic [          NumContexts-1:0] demand_o,
    output logic [          NumContexts-1:0] abort_o,
    output logic [        8*NumContexts-1:0] key_o,
    output logic [ SlotBits*NumContexts-1:0] slot_o,
    // A load ended: whole, or dropped.
    output logic                             finished_o,
    output logic                             dropped_o,
    output logic [             SlotBits-1:0] ended_slot_o,
    output logic [                      7:0] ended_key_o,
    // Progress of the slot that the engine runs.
    input  logic [             SlotBits-1:0] watch_slot_i,
    output logic                             watch_active_o,
    output logic [            AddressBits:0] watch_words_o,
    output logic [                      2:0] beats_o,        // arriving this cycle, all channels
    output logic                             error_o,
    // Slot memory, per bank.
    output logic [            Positions-1:0] write_o,
    output logic [AddressBits*Positions-1:0] write_address_o,
    output logic [8*AxiBytes*Positions-1:0] write_data_o,
    // AXI4 read channels.
    output logic [             Channels-1:0] arvalid_o,
    input  logic [             Channels-1:0] arready_i,
    output logic [          64*Channels-1:0] araddr_o,
    output logic [           8*Channels-1:0] arlen_o,
    input  logic [             Channels-1:0] rvalid_i,
    output logic [             Channels-1:0] rready_o,
    input  logic [8*AxiBytes*Channels-1:0] rdata_i,
    input  logic [           2*Channels-1:0] rresp_i,
    input  logic [             Channels-1:0] rlast_i
);

  logic [NumContexts-1:0] active_q, demand_q, abort_q, start_mask;
  logic [SlotBits*NumContexts-1:0] slot_q;
  logic [AddressBits*NumContexts-1:0] base_q;
  logic [8*NumContexts-1:0] key_q;
  logic [64*NumContexts-1:0] offset_q;
  logic [ContextBits-1:0] next_q;
  logic [BeatCountBits-1:0] total_beats;
  logic [NumContexts*Channels-1:0] complete, drained;
  logic [BeatCountBits*NumContexts*Channels-1:0] received;
  logic [Channels-1:0] beat, error;
  logic [NumContexts-1:0] all_complete, all_drained, starting_q;

  assign total_beats = BeatCountBits'(bank_words_i) << BankBits;
  assign ready_o = !active_q[next_q];

  always_comb begin
    start_mask = '0;
    if (start_i && ready_o) start_mask[next_q] = 1'b1;
  end

  for (genvar ch = 0; ch < Channels; ch++) begin : g_channel
    logic [BanksPerChannel-1:0] write;
    logic [AddressBits-1:0] write_address;
    logic [8*AxiBytes-1:0] write_data;
    load_channel #(
        .NumContexts(NumContexts),
        .BanksPerChannel(BanksPerChannel),
        .BankWords(BankWords),
        .BurstBeats(BurstBeats),
        .AxiBytes(AxiBytes)
    ) u_channel (
        .clk_i,
        .rst_ni,
        .channel_base_i(channel_base_i[64*ch+:64]),
        .total_beats_i(total_beats),
        .start_i(start_mask),
        .active_i(active_q),
        .demand_i(demand_q),
        .abort_i(abort_q),
        .oldest_i(next_q),
        .offset_i(offset_q),
        .base_i(base_q),
        .complete_o(complete[NumContexts*ch+:NumContexts]),
        .drained_o(drained[NumContexts*ch+:NumContexts]),
        .received_o(received[BeatCountBits*NumContexts*ch+:BeatCountBits*NumContexts]),
        .beat_o(beat[ch]),
        .error_o(error[ch]),
        .write_o(write),
        .write_address_o(write_address),
        .write_data_o(write_data),
        .arvalid_o(arvalid_o[ch]),
        .arready_i(arready_i[ch]),
        .araddr_o(araddr_o[64*ch+:64]),
        .arlen_o(arlen_o[8*ch+:8]),
        .rvalid_i(rvalid_i[ch]),
        .rready_o(rready_o[ch]),
        .rdata_i(rdata_i[8*AxiBytes*ch+:8*AxiBytes]),
        .rresp_i(rresp_i[2*ch+:2]),
        .rlast_i(rlast_i[ch])
    );
    for (genvar b = 0; b < BanksPerChannel; b++) begin : g_bank
      assign write_o[BanksPerChannel*ch+b] = write[b];
      assign write_address_o[AddressBits*(BanksPerChannel*ch+b)+:AddressBits] = write_address;
      assign write_data_o[8*AxiBytes*(BanksPerChannel*ch+b)+:8*AxiBytes] = write_data;
    end
  end

  // ---- Ends. One a cycle is enough: loads are thousands of cycles long.
  logic ended;
  logic [ContextBits-1:0] ended_context;
  always_comb begin
    all_complete = '1;
    all_drained  = '1;
    for (int unsigned ch = 0; ch < Channels; ch++) begin
      all_complete = all_complete & complete[NumContexts*ch+:NumContexts];
      all_drained  = all_drained & drained[NumContexts*ch+:NumContexts];
    end
    ended = 1'b0;
    ended_context = '0;
    for (int unsigned c = 0; c < NumContexts; c++) begin
      if (active_q[c] && !starting_q[c] && (all_complete[c] || (abort_q[c] && all_drained[c]))) begin
        ended = 1'b1;
        ended_context = ContextBits'(c);
      end
    end
  end
  assign finished_o = ended && all_complete[ended_context] && !abort_q[ended_context];
  assign dropped_o = ended && !finished_o;
  assign ended_slot_o = slot_q[SlotBits*ended_context+:SlotBits];
  assign ended_key_o = key_q[8*ended_context+:8];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      active_q   <= '0;
      demand_q   <= '0;
      abort_q    <= '0;
      starting_q <= '0;
      next_q     <= '0;
    end else begin
      starting_q <= start_mask;
      if (ended) active_q[ended_context] <= 1'b0;
      if (abort_i) abort_q[abort_context_i] <= 1'b1;
      for (int unsigned c = 0; c < NumContexts; c++) begin
        if (promote_i && active_q[c] && !abort_q[c] && slot_q[SlotBits*c+:SlotBits] == promote_slot_i) begin
          demand_q[c] <= 1'b1;
        end
      end
      if (start_i && ready_o) begin
        next_q           <= next_q + 1'b1;
        active_q[next_q] <= 1'b1;
        demand_q[next_q] <= demand_i;
        abort_q[next_q]  <= 1'b0;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i && ready_o) begin
      slot_q[SlotBits*next_q+:SlotBits] <= slot_i;
      base_q[AddressBits*next_q+:AddressBits] <= base_i;
      key_q[8*next_q+:8] <= key_i;
      offset_q[64*next_q+:64] <= offset_i;
    end
  end

  // ---- Progress of the watched slot: the slowest channel counts. Registered: one cycle late, which is safe.
  logic watch_active_d, watch_active_q;
  logic [BeatCountBits-1:0] slowest;
  logic [AddressBits:0] watch_words_q;
  always_comb begin
    watch_active_d = 1'b0;
    slowest = total_beats;
    for (int unsigned c = 0; c < NumContexts; c++) begin
      if (active_q[c] && !abort_q[c] && slot_q[SlotBits*c+:SlotBits] == watch_slot_i) begin
        watch_active_d = 1'b1;
        for (int unsigned ch = 0; ch < Channels; ch++) begin
          if (starting_q[c]) slowest = '0;
          else if (received[BeatCountBits*(NumContexts*ch+c)+:BeatCountBits] < slowest) begin
            slowest = received[BeatCountBits*(NumContexts*ch+c)+:BeatCountBits];
          end
        end
      end
    end
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      watch_active_q <= 1'b0;
      watch_words_q  <= '0;
    end else begin
      watch_active_q <= watch_active_d;
      watch_words_q  <= (AddressBits + 1)'(slowest >> BankBits);
    end
  end
  assign watch_active_o = watch_active_q;
  assign watch_words_o = watch_words_q;

  always_comb begin
    beats_o = '0;
    for (int unsigned ch = 0; ch < Channels; ch++) beats_o = beats_o + 3'(beat[ch]);
  end
  assign error_o = |error;
  assign active_o = active_q;
  assign demand_o = demand_q;
  assign abort_o = abort_q;
  assign key_o = key_q;
  assign slot_o = slot_q;

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && abort_i) begin
      assert (!demand_q[abort_context_i]) else $error("loader: a demand load was aborted");
    end
  end
`endif

endmodule
