/// One row of the array: `Positions` int8 x int8 products a cycle, summed into one int32 accumulator.
/// At each position the activation is picked from eight candidate bytes by the weight's index (N:M selection).
/// Four stages: select, multiply, sum, accumulate. `step_i` qualifies the inputs, `multiply_i`, `sum_i` and `accumulate_i` the
/// stages one, two and three cycles later; with `first_i` the sum replaces the accumulator, at the first step of a block.
module pe_row #(
    parameter int unsigned Positions = 1
) (
    input  logic                      clk_i,
    input  logic                      step_i,
    input  logic [  8*Positions-1:0]  weight_i,
    input  logic [  3*Positions-1:0]  index_i,
    input  logic [ 64*Positions-1:0]  candidates_i,
    input  logic                      multiply_i,
    input  logic                      sum_i,
    input  logic                      accumulate_i,
    input  logic                      first_i,
    output logic signed [31:0]        accumulator_o
);

  logic [8*Positions-1:0] weight_q, activation_q, activation_d;
  logic signed [15:0] product_q[Positions];
  logic signed [31:0] sum_q, sum_d, accumulator_q;

  for (genvar p = 0; p < Positions; p++) begin : g_select
    logic [63:0] candidates;
    assign candidates = candidates_i[64*p+:64];
    assign activation_d[8*p+:8] = candidates[{index_i[3*p+:3], 3'b000}+:8];
  end

  always_comb begin
    sum_d = '0;
    for (int unsigned p = 0; p < Positions; p++) begin
      sum_d = sum_d + 32'(product_q[p]);
    end
  end

  always_ff @(posedge clk_i) begin
    if (step_i) begin
      weight_q     <= weight_i;
      activation_q <= activation_d;
    end
    if (multiply_i) begin
      for (int unsigned p = 0; p < Positions; p++) begin
        product_q[p] <= 16'($signed(weight_q[8*p+:8])) * 16'($signed(activation_q[8*p+:8]));
      end
    end
    if (sum_i) sum_q <= sum_d;
    if (accumulate_i) accumulator_q <= first_i ? sum_q : accumulator_q + sum_q;
  end

  assign accumulator_o = accumulator_q;

`ifndef SYNTHESIS
  logic settled_q = 1'b0, step_q, multiplied_q, summed_q;
  always_ff @(posedge clk_i) begin
    settled_q    <= 1'b1;
    step_q       <= step_i;
    multiplied_q <= multiply_i;
    summed_q     <= sum_i;
    assert (!settled_q || ((!multiply_i || step_q) && (!sum_i || multiplied_q) && (!accumulate_i || summed_q)))
    else $error("pe_row: a stage without the one before it");
  end
`endif

endmodule
