/// Test top: reciprocal and requantiser, as the engine wires them.
module requantise_bench (
    input  logic        clk_i,
    input  logic        rst_ni,
    input  logic        start_i,
    input  logic [31:0] maximum_i,
    output logic        done_o,
    output logic [ 4:0] shift_o,
    output logic [15:0] reciprocal_o,
    input  logic [31:0] value_i,
    output logic [ 7:0] code_o
);

  logic [63:0] codes;
  logic dividing_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) dividing_q <= 1'b0;
    else if (start_i) dividing_q <= 1'b1;
    else if (done_o) dividing_q <= 1'b0;
  end
  reciprocal u_reciprocal (
      .clk_i,
      .rst_ni,
      .start_i,
      .maximum_i,
      .done_o,
      .shift_o,
      .reciprocal_o
  );
  requantiser #(
      .Width(8)
  ) u_requantiser (
      .clk_i,
      .enable_i(rst_ni && !start_i && (!dividing_q || done_o)),
      .shift_i(shift_o),
      .reciprocal_i(reciprocal_o),
      .values_i({8{value_i}}),
      .codes_o(codes)
  );
  assign code_o = codes[63:56];

endmodule
