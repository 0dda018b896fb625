/// load_channel with two contexts and a memory that answers when it likes: bursts hold until they are taken, stay within
/// 4 KiB, serve demand first, and bring each load exactly its beats.
module load_channel_formal (
    input logic       clk_i,
    input logic       rst_ni,
    input logic [1:0] start_i,
    input logic [1:0] abort_i,
    input logic [1:0] demand_i,
    input logic       arready_i,
    input logic       answer_i
);

  localparam int unsigned BurstBeats = 4;
  localparam int unsigned BankWords = 8;

  logic [1:0] active_q, demand_q, abort_q, complete, drained;
  logic [7:0] received;
  logic beat, error, write, arvalid, rready, rlast;
  logic [2:0] write_address;
  logic [511:0] write_data;
  logic [63:0] araddr;
  logic [7:0] arlen;
  logic [3:0] total;
  assign total = 4'd6;  // a whole burst and a short one

  load_channel #(
      .NumContexts(2),
      .BankWords(BankWords),
      .BurstBeats(BurstBeats),
      .MaxOutstanding(2),
      .MaxOutstandingPrefetch(1)
  ) u_channel (
      .clk_i,
      .rst_ni,
      .channel_base_i(64'd0),
      .total_beats_i(total),
      .start_i(start_i),
      .active_i(active_q),
      .demand_i(demand_q),
      .abort_i(abort_q),
      .oldest_i(1'b0),
      .offset_i({64'd4096, 64'd0}),
      .base_i(6'd0),
      .complete_o(complete),
      .drained_o(drained),
      .received_o(received),
      .beat_o(beat),
      .error_o(error),
      .write_o(write),
      .write_address_o(write_address),
      .write_data_o(write_data),
      .arvalid_o(arvalid),
      .arready_i,
      .araddr_o(araddr),
      .arlen_o(arlen),
      .rvalid_i(answer_i),
      .rready_o(rready),
      .rdata_i(512'd0),
      .rresp_i(2'b00),
      .rlast_i(rlast)
  );

  // The memory: two bursts at most are waiting, answered in order.
  logic [2:0] first_left_q, second_left_q;
  logic taken, held_q, started_q;
  logic [63:0] held_address_q;
  logic [7:0] held_length_q;
  assign taken = arvalid && arready_i;
  assign rlast = first_left_q == 3'd1;

  initial started_q = 1'b0;
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    held_q <= rst_ni && arvalid && !arready_i;
    held_address_q <= araddr;
    held_length_q <= arlen;
    if (!rst_ni) begin
      active_q      <= '0;
      demand_q      <= '0;
      abort_q       <= '0;
      first_left_q  <= '0;
      second_left_q <= '0;
    end else begin
      for (int unsigned c = 0; c < 2; c++) begin
        if (start_i[c]) begin
          active_q[c] <= 1'b1;
          demand_q[c] <= demand_i[c];
          abort_q[c]  <= 1'b0;
        end else begin
          if (complete[c] || (abort_q[c] && drained[c])) active_q[c] <= 1'b0;
          if (abort_i[c] && !demand_q[c]) abort_q[c] <= 1'b1;
        end
      end
      if (answer_i && rlast) begin
        first_left_q  <= (second_left_q != '0) ? second_left_q : taken ? 3'(arlen) + 3'd1 : 3'd0;
        second_left_q <= (second_left_q != '0 && taken) ? 3'(arlen) + 3'd1 : 3'd0;
      end else begin
        if (answer_i) first_left_q <= first_left_q - 3'd1;
        if (taken) begin
          if (first_left_q == '0) first_left_q <= 3'(arlen) + 3'd1;
          else second_left_q <= 3'(arlen) + 3'd1;
        end
      end
    end
  end

  always_comb begin
    if (!started_q) assume (!rst_ni);
    if (started_q) begin
      assume (rst_ni);
      // A context starts when it is free, and the memory answers what was asked.
      assume ((start_i & active_q) == '0);
      if (first_left_q == '0) assume (!answer_i);
      if (held_q) assert (arvalid && araddr == held_address_q && arlen == held_length_q);
      if (arvalid) begin
        assert (7'(araddr[11:6]) + 7'(arlen) < 7'd64);
        assert (arlen < 8'(BurstBeats));
        assert (araddr[63:13] == '0 && araddr[5:0] == '0);
      end
      assert (received[3:0] <= total && received[7:4] <= total);
      // Never more in flight than the queue remembers.
      assert (!(taken && first_left_q != '0 && second_left_q != '0 && !(answer_i && rlast)));
      assert (rready);
    end
  end

endmodule
