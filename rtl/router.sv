/// Router of one token: logits of all experts in fixed point, and the expert of the largest (equal ones: the lowest id).
/// The token comes as beats of sixteen 32-bit numbers of which 27 bits count; weights are 18 bits, one scale a layer.
/// Sums are exact, so the choice differs from an exact one only where quantising the operands does.
///
/// Rate: one beat a cycle. `done_o` comes `MaxExperts` + 5 cycles after the last beat; results stay until the next start.
module router #(
    parameter int unsigned MaxExperts = 8,
    parameter int unsigned MaxLayers = 12,
    parameter int unsigned MaxDModel = 1024,
    localparam int unsigned LayerBits = $clog2(MaxLayers),
    localparam int unsigned ExpertBits = $clog2(MaxExperts),
    localparam int unsigned BeatsBits = $clog2(MaxDModel / 16)
) (
    input  logic                     clk_i,
    input  logic                     rst_ni,
    input  logic [     ExpertBits:0] experts_i,
    input  logic [      BeatsBits:0] beats_i,        // of one token
    // Weights: one beat holds sixteen weights of one expert.
    input  logic                     write_i,
    input  logic [    LayerBits-1:0] write_layer_i,
    input  logic [   ExpertBits-1:0] write_expert_i,
    input  logic [    BeatsBits-1:0] write_beat_i,
    input  logic [            511:0] write_data_i,
    // One token.
    input  logic                     start_i,
    input  logic [    LayerBits-1:0] layer_i,
    input  logic                     beat_valid_i,
    input  logic [            511:0] beat_data_i,
    output logic                     done_o,
    output logic [   ExpertBits-1:0] expert_o,
    output logic [32*MaxExperts-1:0] logits_o        // sum / 2^19
);

  localparam int unsigned Depth = MaxLayers * (MaxDModel / 16);
  localparam int unsigned DepthBits = $clog2(Depth);

  logic [BeatsBits:0] beat_q;
  logic [LayerBits-1:0] layer_q;
  logic beat1_valid_q, beat1_first_q, beat1_last_q;
  logic beat2_valid_q, beat2_first_q, beat2_last_q;
  logic sum_done_q, comparing_q, done_q;
  logic [511:0] beat1_q;
  logic [DepthBits-1:0] read_address, write_address;
  logic signed [63:0] sums[MaxExperts];
  logic signed [63:0] best_q;
  logic [ExpertBits-1:0] best_expert_q;
  logic [ExpertBits:0] candidate_q;

  assign read_address = DepthBits'({layer_q, beat_q[BeatsBits-1:0]});
  assign write_address = DepthBits'({write_layer_i, write_beat_i});

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) begin
      beat_q        <= '0;
      layer_q       <= layer_i;
      beat1_valid_q <= 1'b0;
      beat2_valid_q <= 1'b0;
      sum_done_q    <= 1'b0;
    end else begin
      beat1_valid_q <= beat_valid_i;
      beat2_valid_q <= beat1_valid_q;
      sum_done_q    <= beat2_valid_q && beat2_last_q;
      if (beat_valid_i) beat_q <= beat_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (beat_valid_i) begin
      beat1_q       <= beat_data_i;
      beat1_first_q <= beat_q == '0;
      beat1_last_q  <= beat_q + 1'b1 == beats_i;
    end
    beat2_first_q <= beat1_first_q;
    beat2_last_q  <= beat1_last_q;
  end

  for (genvar e = 0; e < MaxExperts; e++) begin : g_expert
    logic [287:0] write_weights, weights;
    logic signed [63:0] products_d, products_q, sum_q;
    for (genvar i = 0; i < 16; i++) begin : g_pack
      assign write_weights[18*i+:18] = write_data_i[32*i+:18];
    end
    ram_1r1w #(
        .Width(288),
        .Depth(Depth)
    ) u_weights (
        .clk_i,
        .write_i(write_i && write_expert_i == ExpertBits'(e)),
        .write_address_i(write_address),
        .write_data_i(write_weights),
        .read_i(beat_valid_i),
        .read_address_i(read_address),
        .read_data_o(weights)
    );
    always_comb begin
      products_d = '0;
      for (int unsigned i = 0; i < 16; i++) begin
        products_d = products_d + 64'($signed(beat1_q[32*i+:27])) * 64'($signed(weights[18*i+:18]));
      end
    end
    always_ff @(posedge clk_i) begin
      if (beat1_valid_q) products_q <= products_d;
      if (beat2_valid_q) sum_q <= beat2_first_q ? products_q : sum_q + products_q;
    end
    assign sums[e] = sum_q;
    assign logits_o[32*e+:32] = sum_q[50:19];
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) begin
      comparing_q   <= 1'b0;
      done_q        <= 1'b0;
      candidate_q   <= '0;
      best_q        <= '0;
      best_expert_q <= '0;
    end else begin
      done_q <= 1'b0;
      if (sum_done_q) begin
        comparing_q <= 1'b1;
        candidate_q <= '0;
      end else if (comparing_q) begin
        if (candidate_q == '0 || sums[candidate_q[ExpertBits-1:0]] > best_q) begin
          best_q <= sums[candidate_q[ExpertBits-1:0]];
          best_expert_q <= candidate_q[ExpertBits-1:0];
        end
        candidate_q <= candidate_q + 1'b1;
        if (candidate_q + 1'b1 == experts_i) begin
          comparing_q <= 1'b0;
          done_q <= 1'b1;
        end
      end
    end
  end

  assign done_o   = done_q;
  assign expert_o = best_expert_q;

endmodule
