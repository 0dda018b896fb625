/// Router of one token: logits of all experts in fixed point, and the expert of the largest (equal ones: the lowest id).
/// The token comes as beats of 32-bit numbers of which 27 bits count; weights are 18 bits, one scale a layer.
/// Sums are exact, so the choice differs from an exact one only where quantising the operands does.
///
/// Rate: one beat a cycle. The products of a beat (sixteen an expert at 64 bytes) are registered, then added in two steps, then accumulated; the
/// largest sum is found by a tree, a level a cycle. `done_o` comes 5 + log2(`MaxExperts`) cycles after the last beat;
/// results stay until the next start.
module router #(
    parameter int unsigned MaxExperts = 8,
    parameter int unsigned MaxLayers = 12,
    parameter int unsigned MaxDModel = 1024,
    parameter int unsigned AxiBytes = 64,
    localparam int unsigned Words = AxiBytes / 4,  // numbers of a beat: 4, 8 or 16
    localparam int unsigned LayerBits = $clog2(MaxLayers),
    localparam int unsigned ExpertBits = $clog2(MaxExperts),
    localparam int unsigned BeatsBits = $clog2(MaxDModel / Words)
) (
    input  logic                     clk_i,
    input  logic                     rst_ni,
    input  logic [     ExpertBits:0] experts_i,
    input  logic [      BeatsBits:0] beats_i,        // of one token
    // Weights: one beat holds as many weights of one expert.
    input  logic                     write_i,
    input  logic [    LayerBits-1:0] write_layer_i,
    input  logic [   ExpertBits-1:0] write_expert_i,
    input  logic [    BeatsBits-1:0] write_beat_i,
    input  logic [   8*AxiBytes-1:0] write_data_i,
    // One token.
    input  logic                     start_i,
    input  logic [    LayerBits-1:0] layer_i,
    input  logic                     beat_valid_i,
    input  logic [   8*AxiBytes-1:0] beat_data_i,
    output logic                     done_o,
    output logic [   ExpertBits-1:0] expert_o,
    output logic [32*MaxExperts-1:0] logits_o        // sum / 2^19
);

  localparam int unsigned Depth = MaxLayers * (MaxDModel / Words);
  localparam int unsigned DepthBits = $clog2(Depth);
  localparam int unsigned Leaves = 2 ** ExpertBits;
  localparam int unsigned SumBits = 45 + $clog2(MaxDModel);

  logic [BeatsBits:0] beat_q;
  logic [LayerBits-1:0] layer_q;
  logic [4:1] valid_q, first_q, last_q;  // of the beat in stage i: operands, products, sums of four, the beat's sum
  logic [ExpertBits:0] settled_q;  // bit i: the sums are final, and so are the i lowest levels of the tree
  logic [8*AxiBytes-1:0] beat1_q;
  logic [DepthBits-1:0] read_address, write_address;
  logic signed [SumBits-1:0] sums[Leaves];

  assign read_address = DepthBits'({layer_q, beat_q[BeatsBits-1:0]});
  assign write_address = DepthBits'({write_layer_i, write_beat_i});

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) begin
      beat_q    <= '0;
      layer_q   <= layer_i;
      valid_q   <= '0;
      settled_q <= '0;
    end else begin
      valid_q   <= {valid_q[3:1], beat_valid_i};
      settled_q <= {settled_q[ExpertBits-1:0], valid_q[4] && last_q[4]};
      if (beat_valid_i) beat_q <= beat_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    first_q <= {first_q[3:1], beat_q == '0};
    last_q  <= {last_q[3:1], beat_q + 1'b1 == beats_i};
    if (beat_valid_i) beat1_q <= beat_data_i;
  end

  for (genvar e = 0; e < Leaves; e++) begin : g_expert
    if (e < MaxExperts) begin : g_unit
      logic [18*Words-1:0] write_weights, weights;
      logic signed [44:0] products_q[Words];
      logic signed [46:0] fours_q[4];  // zero beyond the beat's numbers
      logic signed [48:0] beat_sum_q;
      logic signed [SumBits-1:0] sum_q;
      for (genvar i = 0; i < Words; i++) begin : g_pack
        assign write_weights[18*i+:18] = write_data_i[32*i+:18];
      end
      ram_1r1w #(
          .Width(18 * Words),
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
      always_ff @(posedge clk_i) begin
        if (valid_q[1]) begin
          for (int unsigned i = 0; i < Words; i++) begin
            products_q[i] <= 45'($signed(beat1_q[32*i+:27])) * 45'($signed(weights[18*i+:18]));
          end
        end
        if (valid_q[2]) begin
          for (int unsigned i = Words / 4; i < 4; i++) fours_q[i] <= '0;
          for (int unsigned i = 0; i < Words / 4; i++) begin
            fours_q[i] <= (47'(products_q[4*i]) + 47'(products_q[4*i+1])) + (47'(products_q[4*i+2]) + 47'(products_q[4*i+3]));
          end
        end
        if (valid_q[3]) beat_sum_q <= (49'(fours_q[0]) + 49'(fours_q[1])) + (49'(fours_q[2]) + 49'(fours_q[3]));
        if (valid_q[4]) sum_q <= first_q[4] ? SumBits'(beat_sum_q) : sum_q + SumBits'(beat_sum_q);
      end
      assign sums[e] = sum_q;
      assign logits_o[32*e+:32] = sum_q[50:19];
    end else begin : g_none
      assign sums[e] = '0;
    end
  end

  // ---- The largest: node n of the tree has the children 2n and 2n + 1, the experts are below the last level. The left
  // child has the lower ids, and is there whenever the right one is.
  logic signed [SumBits-1:0] node_sum_q[1:Leaves-1];
  logic [ExpertBits-1:0] node_expert_q[1:Leaves-1];
  logic [Leaves-1:1] node_present_q;
  for (genvar n = 1; n < Leaves; n++) begin : g_node
    localparam int unsigned Left = (2 * n) % Leaves;
    localparam int unsigned Right = Left + 1;
    logic signed [SumBits-1:0] left_sum, right_sum;
    logic [ExpertBits-1:0] left_expert, right_expert;
    logic left_present, right_present, right_wins;
    if (2 * n >= Leaves) begin : g_experts
      assign left_sum = sums[Left];
      assign right_sum = sums[Right];
      assign left_expert = ExpertBits'(Left);
      assign right_expert = ExpertBits'(Right);
      assign left_present = (ExpertBits + 1)'(Left) < experts_i;
      assign right_present = (ExpertBits + 1)'(Right) < experts_i;
    end else begin : g_nodes
      assign left_sum = node_sum_q[Left];
      assign right_sum = node_sum_q[Right];
      assign left_expert = node_expert_q[Left];
      assign right_expert = node_expert_q[Right];
      assign left_present = node_present_q[Left];
      assign right_present = node_present_q[Right];
    end
    assign right_wins = right_present && right_sum > left_sum;
    always_ff @(posedge clk_i) begin
      if (settled_q != '0) begin
        node_sum_q[n]     <= right_wins ? right_sum : left_sum;
        node_expert_q[n]  <= right_wins ? right_expert : left_expert;
        node_present_q[n] <= left_present;
      end
    end
  end

  assign done_o   = settled_q[ExpertBits];
  assign expert_o = node_expert_q[1];

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && !start_i) begin
      assert (!beat_valid_i || beat_q < beats_i) else $error("router: more beats than a token has");
      assert (!done_o || node_present_q[1]) else $error("router: no expert to choose from");
    end
  end
`endif

endmodule
