/// The N:M PE array: `AxiBytes` rows x `Positions` multipliers. Every cycle with `step_i` it takes one column of kept weights (a
/// byte a row and position), the index bit planes of those weights, and for each position the eight activation bytes the
/// weights of that position may choose from. Sums stay in the rows until the last step of a block; then they move to a
/// shadow register and leave eight rows a cycle, while the array works on the next block.
///
/// Rate: one step a cycle, no bubbles between blocks. A block must not end before the one before it has left (the caller's duty).
/// Latency: the first eight rows appear on `drain_data_o` six cycles after the last step.
module pe_array #(
    parameter int unsigned Positions = 1,
    parameter int unsigned AxiBytes = 64,
    localparam int unsigned Rows = AxiBytes
) (
    input  logic                        clk_i,
    input  logic                        rst_ni,
    input  logic                        step_i,
    input  logic                        first_i,
    input  logic                        last_i,
    input  logic [8*Rows*Positions-1:0] weights_i,     // position-major: byte Rows*p + row
    input  logic [3*Rows*Positions-1:0] planes_i,      // bit Rows*(3*p + plane) + row
    input  logic [64*Positions-1:0]     candidates_i,  // eight bytes a position
    output logic                        drain_o,
    output logic                        drain_last_o,  // of the block
    output logic [255:0]                drain_data_o   // eight int32: rows 0 .. 7 of the block, then 8 .. 15, ...
);

  localparam logic [2:0] LastDrain = 3'(Rows / 8 - 1);

  logic multiply_q, multiply_first_q, multiply_last_q;
  logic sum_q, sum_first_q, sum_last_q;
  logic accumulate_q, accumulate_first_q, accumulate_last_q;
  logic capture_q;
  logic drain_q;
  logic [2:0] drain_index_q;
  logic [31:0] accumulator[Rows];
  logic [32*Rows-1:0] shadow_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      multiply_q        <= 1'b0;
      sum_q             <= 1'b0;
      accumulate_q      <= 1'b0;
      capture_q         <= 1'b0;
      drain_q           <= 1'b0;
      drain_index_q     <= '0;
      multiply_last_q   <= 1'b0;
      sum_last_q        <= 1'b0;
      accumulate_last_q <= 1'b0;
    end else begin
      multiply_q        <= step_i;
      multiply_last_q   <= step_i && last_i;
      sum_q             <= multiply_q;
      sum_last_q        <= multiply_last_q;
      accumulate_q      <= sum_q;
      accumulate_last_q <= sum_last_q;
      capture_q         <= accumulate_last_q;
      if (capture_q) begin
        drain_q       <= 1'b1;
        drain_index_q <= '0;
      end else if (drain_q) begin
        drain_index_q <= drain_index_q + 1'b1;
        if (drain_index_q == LastDrain) drain_q <= 1'b0;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    multiply_first_q   <= first_i;
    sum_first_q        <= multiply_first_q;
    accumulate_first_q <= sum_first_q;
  end

  for (genvar row = 0; row < Rows; row++) begin : g_row
    logic [ 8*Positions-1:0] weight;
    logic [ 3*Positions-1:0] index;
    for (genvar p = 0; p < Positions; p++) begin : g_position
      assign weight[8*p+:8] = weights_i[8*(Rows*p+row)+:8];
      assign index[3*p+:3] = {planes_i[Rows*(3*p+2)+row], planes_i[Rows*(3*p+1)+row], planes_i[Rows*(3*p)+row]};
    end
    pe_row #(
        .Positions(Positions)
    ) u_row (
        .clk_i,
        .step_i,
        .weight_i(weight),
        .index_i(index),
        .candidates_i,
        .multiply_i(multiply_q),
        .sum_i(sum_q),
        .accumulate_i(accumulate_q),
        .first_i(accumulate_first_q),
        .accumulator_o(accumulator[row])
    );
  end

  for (genvar row = 0; row < Rows; row++) begin : g_shadow
    always_ff @(posedge clk_i) begin
      if (capture_q) begin
        shadow_q[32*row+:32] <= accumulator[row];
      end else if (drain_q) begin
        shadow_q[32*row+:32] <= (row + 8 < Rows) ? shadow_q[32*((row+8)%Rows)+:32] : 32'd0;
      end
    end
  end

  assign drain_o = drain_q;
  assign drain_last_o = drain_index_q == LastDrain;
  assign drain_data_o = shadow_q[255:0];

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && capture_q) begin
      assert (!drain_q || drain_index_q == LastDrain) else $error("pe_array: a block ended before the last one was drained");
    end
  end
`endif

endmodule
